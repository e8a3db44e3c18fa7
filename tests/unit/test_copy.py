"""A copy to the Hub needs room for what its client sends from the disk."""

from __future__ import annotations

import pytest

from tests.contracts.registry import Subject
from tests.fakes.memory_registry import MemoryRegistry
from weighbridge.application.copy import Copy, CopyRequest
from weighbridge.domain.errors import StorageFull
from weighbridge.domain.publication import Destination, HubRepo, LocalRegistry, OciRepo

OCI, HUB, LOCAL = OciRepo("r.lan", "acme/m", "v1"), HubRepo("acme/m"), LocalRegistry("s", "acme/m")
FILES = {"config.json": b"{}", "w.safetensors": bytes(999)}


@pytest.mark.parametrize(
    ("source", "target", "free", "enough"),
    [
        (OCI, HUB, 1000, False),
        (OCI, HUB, 1001, True),
        (LOCAL, HUB, 0, True),  # whose files are on the disk
        (OCI, LOCAL, 0, True),
    ],
)
def test_room_is_looked_for_before_anything_moves(
    source: Destination, target: Destination, free: int, enough: bool
) -> None:
    registry = MemoryRegistry()
    Subject(registry, source).publish(FILES)
    copy = Copy(dict.fromkeys((OciRepo, HubRepo, LocalRegistry), registry), lambda: ("/t", free))
    if not enough:
        assert copy(CopyRequest(source, target, dry_run=True)).plan.changes
        with pytest.raises(StorageFull, match=r"/t: 1001 bytes .* 1000 are free.*TMPDIR"):
            copy(CopyRequest(source, target))
        assert registry.head(target) is None
    else:
        assert copy(CopyRequest(source, target)).receipt is not None
        # What is there already needs no room.
        assert copy(CopyRequest(source, target)).plan.is_noop
