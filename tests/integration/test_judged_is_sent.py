"""What was judged is what is sent: a report's fingerprint, and files that change after it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from dependency_injector import providers

import weighbridge
from tests.builders import fused_files, lora_files, write
from tests.fakes.memory_registry import MemoryRegistry
from weighbridge.application.convert import Wanted
from weighbridge.application.publish import PublishRequest
from weighbridge.domain.errors import ArtifactChanged
from weighbridge.domain.publication import Destination, LocalRegistry, RemoteHead
from weighbridge.entrypoints.container import build


def test_a_fingerprint_is_that_of_sha256sum(tmp_path: Path) -> None:
    run = write(tmp_path / "run", lora_files("adapters"))
    report = weighbridge.validate(run)
    paths = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    done = subprocess.run(("sha256sum", *paths), cwd=run, capture_output=True, check=True)
    assert report.manifest.fingerprint == hashlib.sha256(done.stdout).hexdigest()
    assert weighbridge.validate(run) == report
    (run / paths[0]).write_bytes((run / paths[0]).read_bytes() + b" ")
    assert weighbridge.validate(run).manifest.fingerprint != report.manifest.fingerprint


class _Meanwhile(MemoryRegistry):
    """Somebody writes into the model while it is on its way."""

    def __init__(self, file: Path, content: bytes) -> None:
        super().__init__()
        self._file, self._content = file, content

    def head(self, destination: Destination) -> RemoteHead | None:
        self._file.write_bytes(self._content)
        return super().head(destination)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changes_after_the_check_is_not_sent(name: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run", fused_files())
    content = (run / name).read_bytes()
    registry = _Meanwhile(run / name, content[:-1] + bytes([content[-1] ^ 1]))
    container = build()
    container.directory_registry.override(providers.Object(registry))
    request = PublishRequest(str(run), LocalRegistry("shelf", "acme/bot"), Wanted())
    with pytest.raises(ArtifactChanged, match=name):
        container.publish()(request)
    assert registry.pushes == 0


def test_headers_alone_are_checked_without_numpy(tmp_path: Path) -> None:
    run = write(tmp_path / "run", fused_files())
    code = (
        "import sys, weighbridge;"
        f"r = weighbridge.validate({str(run)!r}, weights=False);"
        "print(r.kind.value, r.complete, 'numpy' in sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fused", "True", "False"]
