"""Publish under a crash at every port call: the destination holds the old state or the new one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeVar

import pytest
from hypothesis import given, settings, strategies as st

from tests.builders import fused_files, lora_files, peft_files
from tests.fakes.memory_files import MemoryFiles
from tests.fakes.memory_registry import MemoryRegistry
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.convert import Wanted
from weighbridge.application.ports import Blob, Progress, ProofRequest, no_progress
from weighbridge.application.publish import Publish, PublishOutcome, PublishRequest
from weighbridge.application.validate import Validate
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import StorageError
from weighbridge.domain.proof import ProofLevel, ProofStep
from weighbridge.domain.publication import (
    Destination,
    LocalRegistry,
    PublicationPlan,
    Receipt,
    RemoteHead,
)

DESTINATION = LocalRegistry("reg", "acme/bot")
T = TypeVar("T")
KINDS: Mapping[str, Callable[..., dict[str, bytes]]] = {
    "lora": lora_files,
    "peft": peft_files,
    "fused": fused_files,
}


class Crash(BaseException):
    """The process dies here."""


class Believer:
    """A prover over nothing: what it proves is tested with the real one."""

    level = ProofLevel.ALGEBRA

    def obstacle(self, request: ProofRequest) -> str | None:
        return None

    def prove(self, request: ProofRequest, progress: Progress = no_progress) -> ProofStep:
        return ProofStep(self.level, True)


class CrashingRegistry:
    """Counts its calls together with those of the files, and dies before or after one."""

    def __init__(self, inner: MemoryRegistry, files: MemoryFiles, after: bool) -> None:
        self.inner, self.files, self.after = inner, files, after

    def _call(self, name: str, work: Callable[[], T]) -> T:
        if not self.after:
            self.files.count(name, "registry")
        done = work()
        if self.after:
            self.files.count(name, "registry")
        return done

    def head(self, destination: Destination) -> RemoteHead | None:
        return self._call("head", lambda: self.inner.head(destination))

    def start(self, destination: Destination) -> RemoteHead | None:
        return self._call("start", lambda: self.inner.start(destination))

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        self._call(
            "check",
            lambda: self.inner.check(destination, pull_request=pull_request, writing=writing),
        )

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        return self._call("recorded", lambda: self.inner.recorded(destination, revision))

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        return self._call("manifest", lambda: self.inner.manifest(destination, revision))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        return self.inner.open(destination, revision, path)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        return self._call(
            "push", lambda: self.inner.push(plan, blobs, message=message, progress=progress)
        )


def publish(
    files: MemoryFiles, registry: MemoryRegistry, run: str, *, after: bool = False
) -> PublishOutcome:
    service = Publish(
        files,
        NumpyConverter(),
        Validate(files, NumpySurveyor(), JinjaTemplateReader()),
        (Believer(),),
        {LocalRegistry: CrashingRegistry(registry, files, after)},
    )
    return service(PublishRequest(run, DESTINATION, Wanted(base_model="acme/base")))


def seeded(old: str, new: str) -> MemoryFiles:
    files = MemoryFiles()
    files.seed("old", {**KINDS[old](), "LICENSE": b"one"})
    files.seed("new", {**KINDS[new](), "LICENSE": b"two"})
    return files


def state(registry: MemoryRegistry) -> Any:
    head = registry.head(DESTINATION)
    return head and head.manifest


@pytest.mark.parametrize("failure", [Crash(), StorageError(path="p", operation="o")], ids=repr)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("new", list(KINDS))
def test_every_call(new: str, after: bool, failure: BaseException) -> None:
    counting, reference = seeded("lora", new), MemoryRegistry()
    publish(counting, reference, "old")
    old, first = state(reference), counting.calls
    publish(counting, reference, "new")
    wanted = state(reference)
    calls = counting.calls - first
    assert calls > 10 and wanted != old
    for number in range(1, calls + 1):
        files, registry = seeded("lora", new), MemoryRegistry()
        publish(files, registry, "old")
        visible = set(files.contents())
        files.fail_at, files.failure = files.calls + number, failure
        with pytest.raises(type(failure)):
            publish(files, registry, "new", after=after)
        assert state(registry) in (old, wanted)
        assert set(files.contents()) == visible, "a stage was left behind"
        again = publish(files, registry, "new")
        assert state(registry) == wanted and again.receipt is not None
        last = publish(files, registry, "new")
        assert last.receipt is not None and not last.receipt.created


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["old", "new"]), st.integers(1, 60), st.booleans()),
           max_size=4),
    st.sampled_from(list(KINDS)),
)  # fmt: skip
def test_any_history_of_crashes(history: list[tuple[str, int, bool]], new: str) -> None:
    files, registry = seeded("lora", new), MemoryRegistry()
    states = [None]
    for run in ("old", "new"):
        reference = MemoryRegistry()
        publish(seeded("lora", new), reference, run)
        states.append(state(reference))
    for run, number, after in history:
        files.fail_at, files.failure = files.calls + number, Crash()
        with contextlib.suppress(Crash):
            publish(files, registry, run, after=after)
        files.fail_at = None
        assert state(registry) in states
    publish(files, registry, "new")
    assert state(registry) == states[2]
