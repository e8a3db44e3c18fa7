"""What was judged is what is sent: a report's fingerprint, and files that change after it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve, frozen
from dependency_injector import providers

import weighbridge
from tests.builders import fused_files, lora_files, peft_files, write
from tests.fakes.memory_registry import MemoryRegistry
from weighbridge.application.convert import Wanted
from weighbridge.application.ports import Progress, no_progress
from weighbridge.application.publish import Publish, PublishRequest
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.errors import ArtifactChanged
from weighbridge.domain.findings import ValidationReport
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


def rewritten(file: Path) -> None:
    """Another byte; the size and the times stay."""
    before, raw = file.stat(), file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    elsewhere.write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(elsewhere)


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewritten,
    "grown": lambda file: file.write_bytes(file.read_bytes() + b" "),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "replaced by a link": linked,
    "removed": Path.unlink,
}
CARD = {"README.md": b"---\nlicense: mit\nbase_model: acme/base\n---\n# Bot\n\nIt answers.\n"}
KINDS = {
    "lora": (lora_files, ("adapters.safetensors", "adapter_config.json", "README.md")),
    "peft": (peft_files, ("adapter_model.safetensors", "adapter_config.json", "README.md")),
    "fused": (fused_files, ("model.safetensors", "config.json", "tokenizer.json", "README.md")),
}
FILES = [(kind, name) for kind, (_, names) in KINDS.items() for name in names]


@frozen
class _JustAfter(Validate):
    """A judge after whom, once, somebody writes into what was judged."""

    judge: Validate | None = None
    change: Callable[[], object] | None = None

    def __call__(
        self, request: ValidateRequest, progress: Progress = no_progress
    ) -> ValidationReport:
        assert self.judge is not None and self.change is not None
        report = self.judge(request, progress)
        if request.location.endswith("run"):
            self.change()
        return report


def changed_after_the_check(run: Path, change: Callable[[], object]) -> tuple[Publish, object]:
    registry = MemoryRegistry()
    container = build()
    container.directory_registry.override(providers.Object(registry))
    publish = container.publish()
    of = publish.validate
    later = _JustAfter(of.files, of.surveyor, of.templates, judge=of, change=change)
    return evolve(publish, validate=later), registry


def request_of(run: Path) -> PublishRequest:
    return PublishRequest(str(run), LocalRegistry("shelf", "acme/bot"), Wanted())


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_what_changes_right_after_the_check_is_not_sent(
    kind: str, name: str, change: str, tmp_path: Path
) -> None:
    run = write(tmp_path / "run", KINDS[kind][0]() | CARD)
    publish, registry = changed_after_the_check(run, lambda: CHANGES[change](run / name))
    with pytest.raises(ArtifactChanged, match=name):
        publish(request_of(run))
    assert registry.pushes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_nobody_has_judged_is_not_sent(kind: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run", KINDS[kind][0]() | CARD)
    publish, registry = changed_after_the_check(run, lambda: (run / "NOTICE").write_text("hf_x"))
    with pytest.raises(ArtifactChanged, match="NOTICE"):
        publish(request_of(run))
    assert registry.pushes == 0
    publish, registry = changed_after_the_check(run, lambda: None)
    assert publish(request_of(run)).receipt is not None
    # What does not ship may change: training goes on beside what is published.
    publish, registry = changed_after_the_check(run, lambda: (run / "x.log").write_text("x"))
    assert publish(request_of(run)).receipt is not None


class _OnItsWay(MemoryRegistry):
    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self._change: Callable[[], object] | None = change

    def head(self, destination: Destination) -> RemoteHead | None:
        if self._change is not None:
            change, self._change = self._change, None
            change()
        return super().head(destination)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, n in FILES if k != "lora"])
def test_what_changes_on_its_way_is_not_sent(
    kind: str, name: str, change: str, tmp_path: Path
) -> None:
    run = write(tmp_path / "run", KINDS[kind][0]() | CARD)
    registry = _OnItsWay(lambda: CHANGES[change](run / name))
    container = build()
    container.directory_registry.override(providers.Object(registry))
    with pytest.raises(ArtifactChanged, match=name):
        container.publish()(request_of(run))
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
