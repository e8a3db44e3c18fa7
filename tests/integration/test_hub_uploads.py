"""What becomes of a publication whose large files change, or whose store says no, while they go."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contracts.registry import FIRST, Files, Subject
from tests.hub_server import Fault, HubServer
from tests.integration.test_hub_registry import file_blobs
from weighbridge.adapters.hub import HubRegistry
from weighbridge.domain.errors import ArtifactChanged, RegistryUnreachable
from weighbridge.domain.publication import HubRepo

REPO = "acme/m"
WEIGHTS = "model.safetensors"
NEW: Files = {WEIGHTS: random.Random(1).randbytes(6 << 20), "config.json": b"{}"}

pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture(params=["lfs", "xet"])
def hub(request: pytest.FixtureRequest) -> Iterator[HubServer]:
    with HubServer(xet=request.param == "xet", part_size=1 << 20) as running:
        yield running


@pytest.fixture
def place(hub: HubServer) -> Subject:
    subject = Subject(HubRegistry(hub.url, hub.token), HubRepo(REPO), hub.token)
    subject.publish(FIRST)
    return subject


def other(file: Path) -> None:
    """The same file with another byte at its end; its size and times stay."""
    before, raw = file.stat(), file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    new = file.with_name("new")
    new.write_bytes(bytes(file.stat().st_size))
    new.replace(file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": other,
    "replaced": replaced,
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "removed": Path.unlink,
}


@pytest.mark.parametrize(
    ("change", "late"), [*((each, False) for each in CHANGES), ("rewritten", True), ("cut", True)]
)
def test_a_file_that_changes_while_it_is_sent(
    hub: HubServer, place: Subject, change: str, late: bool, tmp_path: Path
) -> None:
    plan, before = place.plan(NEW), hub.repo(REPO).commits()
    refused: list[ArtifactChanged] = []
    changed: list[int] = []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if not changed and (done > 0 or not late):
            changed.append(done)
            CHANGES[change](weights)

    blobs = file_blobs(plan, NEW, tmp_path)
    weights = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    try:
        place.registry.push(plan, blobs, message="publish", progress=meanwhile)
    except ArtifactChanged as error:
        refused.append(error)
    assert changed
    if refused:
        assert refused[0].path == WEIGHTS
        assert hub.repo(REPO).commits() == before and place.holds(FIRST)
    else:  # What is not read any more when it changes was sent as it had been.
        assert late and place.holds(NEW)


def test_a_store_whose_tokens_run_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Xet's client asks for them by itself, and not for many minutes."""
    xet = pytest.importorskip("huggingface_hub.utils._xet")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    with HubServer(xet=True) as hub:
        place = Subject(HubRegistry(hub.url, hub.token), HubRepo(REPO), hub.token)
        place.publish(FIRST)
        plan, before = place.plan(NEW), hub.repo(REPO).commits()
        struck = hub.inject(Fault(path="/xet-write-token", status=503, skip=1, times=None))
        xet.abort_xet_session()  # It has read the environment of before.
        with pytest.raises(RegistryUnreachable, match="503"):
            place.push(plan, file_blobs(plan, NEW, tmp_path))
        assert struck.hits == 1 + 3
        assert hub.repo(REPO).commits() == before
        hub.clear_faults()
        assert place.push(plan, file_blobs(plan, NEW, tmp_path)).created
        xet.abort_xet_session()
