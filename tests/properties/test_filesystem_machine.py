"""The disk and the dictionary take the same steps and must not differ in any answer or error."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.local_files import LocalFiles
from weighbridge.application.ports import FileSystem, Stage
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import StorageError

# Few names, so that steps meet: files that are prefixes of others, targets inside of targets.
_PATHS = st.sampled_from(["f", "g", "d", "d/f", "d/e", "d/e/f", "f/x"]).map(ArtifactPath)
_PLACES = st.sampled_from(["a", "b", "a/d", "a/d/e", "a/f", "p/q/r", "a/f/x"])
_CHUNKS = st.lists(st.binary(max_size=4), max_size=3)

T = TypeVar("T")

# The chance part of a stage's hidden name differs.
_CHANCE = re.compile("weighbridge-[0-9a-f]{16}")


def _found(system: FileSystem, root: str) -> object:
    scan = system.scan(root)
    assert list(scan.files) == sorted(scan.files, key=lambda entry: entry.path)
    return sorted((_CHANCE.sub("*", e.path.text), e.size) for e in scan.files), scan.irregular


class _Opened(NamedTuple):
    context: AbstractContextManager[Stage]
    stage: Stage


class Stop(Exception):
    """What a broken source of chunks raises."""


class FileSystemMachine(RuleBasedStateMachine):
    """Two places, one on each file system, and up to two stages open at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = tempfile.mkdtemp(prefix="machine-")
        self.systems: list[tuple[FileSystem, str]] = [
            (LocalFiles(), f"{self.disk}/place"),
            (MemoryFiles(), "/place"),
        ]
        self.open_stages: list[list[_Opened]] = []

    def teardown(self) -> None:
        while self.open_stages:
            self._leave(0)
        shutil.rmtree(self.disk)

    def both(self, step: Callable[[FileSystem, str, int], T]) -> list[T]:
        """Take the step on both; answers, or types of errors, must be equal."""
        outcomes: list[object] = []
        answers: list[T] = []
        for index, (system, place) in enumerate(self.systems):
            try:
                answer = step(system, place, index)
            except (StorageError, Stop) as error:
                outcomes.append(type(error))
                continue
            answers.append(answer)
            # Stages and contexts are compared by what can be done with them.
            outcomes.append("open" if isinstance(answer, _Opened) else answer)
        assert outcomes[0] == outcomes[1]
        return answers

    def _leave(self, number: int) -> None:
        for opened in self.open_stages.pop(number):
            opened.context.__exit__(None, None, None)

    @precondition(lambda self: len(self.open_stages) < 2)
    @rule(where=st.none() | _PLACES)
    def stage(self, where: str | None) -> None:
        def step(system: FileSystem, place: str, _: int) -> _Opened:
            context = system.stage(None if where is None else f"{place}/{where}")
            return _Opened(context, context.__enter__())

        opened = self.both(step)
        if opened:
            self.open_stages.append(opened)

    @precondition(lambda self: self.open_stages)
    @rule(
        number=st.integers(0, 1),
        path=_PATHS,
        chunks=_CHUNKS,
        digest=st.booleans(),
        broken=st.sampled_from([False, False, False, True]),
    )
    def write(
        self, number: int, path: ArtifactPath, chunks: list[bytes], digest: bool, broken: bool
    ) -> None:
        def source() -> Iterator[bytes]:
            yield from chunks
            if broken:
                raise Stop

        pair = self.open_stages[number % len(self.open_stages)]
        self.both(lambda _s, _p, index: pair[index].stage.write(path, source(), digest=digest))
        self.both(lambda system, _p, index: _found(system, pair[index].stage.root))

    @precondition(lambda self: self.open_stages)
    @rule(number=st.integers(0, 1), replace=st.booleans())
    def commit(self, number: int, replace: bool) -> None:
        pair = self.open_stages[number % len(self.open_stages)]
        self.both(lambda _s, _p, index: pair[index].stage.commit(replace=replace))

    @precondition(lambda self: self.open_stages)
    @rule(number=st.integers(0, 1))
    def leave(self, number: int) -> None:
        self._leave(number % len(self.open_stages))

    @rule(where=_PLACES)
    def scan(self, where: str) -> None:
        self.both(lambda system, place, _: _found(system, f"{place}/{where}"))

    @rule(
        where=_PLACES,
        path=_PATHS,
        offset=st.integers(-1, 8),
        length=st.integers(-2, 8),
    )
    def read(self, where: str, path: ArtifactPath, offset: int, length: int) -> None:
        def ranged(system: FileSystem, place: str, _: int) -> object:
            buffer = bytearray(max(length, 0))
            with system.open(f"{place}/{where}", path) as reader:
                reader.read_into(memoryview(buffer), offset)
                return reader.size, bytes(buffer)

        def streamed(system: FileSystem, place: str, _: int) -> object:
            with system.open_stream(f"{place}/{where}", path) as stream:
                return stream.read()

        self.both(lambda system, place, _: system.read(f"{place}/{where}", path, offset, length))
        self.both(ranged)
        self.both(streamed)

    @invariant()
    def the_same_is_visible(self) -> None:
        """Everything that is not in a stage, with its content."""

        def visible(system: FileSystem, place: str, _: int) -> object:
            found = system.scan(place).files
            shown = [e.path for e in found if ".weighbridge-" not in e.path.text]
            return {path.text: system.read(place, path) for path in shown}

        self.both(visible)


TestFileSystemMachine = FileSystemMachine.TestCase
TestFileSystemMachine.settings = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
