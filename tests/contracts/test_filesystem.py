"""Both implementations of FileSystem under its contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contracts.filesystem import ReadingContract, Subject
from tests.contracts.filesystem_stages import StagingContract
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.local_files import LocalFiles


def seed_disk(root: str, files: Mapping[str, bytes]) -> None:
    """The back door of the disk: plain pathlib."""
    Path(root).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class TestLocalFiles(ReadingContract, StagingContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(LocalFiles(), str(tmp_path / "place"), seed_disk)


class TestMemoryFiles(ReadingContract, StagingContract):
    @pytest.fixture
    def subject(self) -> Subject:
        memory = MemoryFiles()
        return Subject(memory, "/place", memory.seed)


class TestFaults:
    def test_each_call_can_fail(self) -> None:
        def work(files: MemoryFiles) -> None:
            files.seed("/m", {"f": b"1"})
            with (
                files.stage("/out") as stage,
                files.open("/m", files.scan("/m").files[0].path) as r,
            ):
                buffer = memoryview(bytearray(1))
                r.read_into(buffer, 0)
                stage.write(files.scan("/m").files[0].path, [buffer])
                stage.commit()

        counted = MemoryFiles()
        work(counted)
        assert set(counted.contents()) == {"/m/f", "/out/f"}
        for number in range(1, counted.calls + 1):
            files = MemoryFiles(fail_at=number, failure=KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                work(files)
            assert set(files.contents()) == {"/m/f"}
