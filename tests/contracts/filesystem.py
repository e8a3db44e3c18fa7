"""What every FileSystem must do. A subclass gives the ``subject``; it overrides no test."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from attrs import frozen

from weighbridge.application.ports import FileSystem
from weighbridge.domain.artifact import ArtifactPath, FileEntry
from weighbridge.domain.errors import PathConflict, PathMissing, StorageError


@frozen
class Subject:
    """The file system, a place to work in, and a back door that puts files there."""

    files: FileSystem
    place: str
    seed: Callable[[str, Mapping[str, bytes]], None]

    def at(self, name: str) -> str:
        """A location in the place."""
        return f"{self.place}/{name}"


class Interrupted(BaseException):
    """Like KeyboardInterrupt: no Exception."""


def entries(subject: Subject, root: str) -> dict[str, int]:
    """Paths and sizes that a scan finds."""
    return {entry.path.text: entry.size for entry in subject.files.scan(root).files}


def write(subject: Subject, target: str, files: Mapping[str, bytes], *, replace: bool) -> None:
    """Stage and commit those files."""
    with subject.files.stage(target) as stage:
        for path, content in files.items():
            stage.write(ArtifactPath(path), [content])
        stage.commit(replace=replace)


class ReadingContract:
    """Scans and reads. Subclass it, with a fixture ``subject``."""

    def test_scan_is_recursive_and_sorted(self, subject: Subject) -> None:
        subject.seed(subject.at("m"), {"b": b"22", "a/z": b"1", "a.txt": b"", "é": b"333"})
        scan = subject.files.scan(subject.at("m"))
        paths = sorted([("a.txt", 0), ("a/z", 1), ("b", 2), ("é", 3)])
        assert scan.files == tuple(FileEntry(ArtifactPath(p), n) for p, n in paths)
        assert scan.irregular == ()

    def test_scan_of_nothing_and_of_a_file(self, subject: Subject) -> None:
        subject.seed(subject.at("m"), {"f": b"1"})
        for missing in ("none", "m/none", "m/f/below", "none/below"):
            with pytest.raises(PathMissing):
                subject.files.scan(subject.at(missing))
        with pytest.raises(PathConflict):
            subject.files.scan(subject.at("m/f"))

    def test_scan_of_an_empty_directory(self, subject: Subject) -> None:
        subject.seed(subject.at("m"), {})
        assert subject.files.scan(subject.at("m")).files == ()

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, -1, b"0123456789"),
            (3, -1, b"3456789"),
            (10, -1, b""),
            (2, 3, b"234"),
            (0, 10, b"0123456789"),
            (10, 0, b""),
            (0, 0, b""),
        ],
    )
    def test_read_is_exact(
        self, subject: Subject, offset: int, length: int, expected: bytes
    ) -> None:
        root, path = subject.at("m"), ArtifactPath("d/f")
        subject.seed(root, {"d/f": b"0123456789"})
        assert subject.files.read(root, path, offset, length) == expected
        buffer = bytearray(len(expected))
        with subject.files.open(root, path) as reader:
            assert reader.size == 10
            reader.read_into(memoryview(buffer), offset)
        assert buffer == expected

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 11), (5, 6), (11, -1), (11, 0), (-1, 1), (0, -2), (0, 1 << 60)]
    )
    def test_read_of_what_is_not_there(self, subject: Subject, offset: int, length: int) -> None:
        subject.seed(subject.at("m"), {"f": b"0123456789"})
        with pytest.raises(StorageError):
            subject.files.read(subject.at("m"), ArtifactPath("f"), offset, length)
        if 0 <= length < 100:
            with subject.files.open(subject.at("m"), ArtifactPath("f")) as reader:
                buffer = memoryview(bytearray(length))
                with pytest.raises(StorageError):
                    reader.read_into(buffer, offset)

    def test_read_into_typed_memory(self, subject: Subject) -> None:
        subject.seed(subject.at("m"), {"f": bytes(range(8))})
        buffer = memoryview(bytearray(8))
        with subject.files.open(subject.at("m"), ArtifactPath("f")) as reader:
            reader.read_into(buffer.cast("I"), 0)
        assert bytes(buffer) == bytes(range(8))

    def test_missing_and_conflicting_paths_of_reads(self, subject: Subject) -> None:
        root = subject.at("m")
        subject.seed(root, {"d/f": b"1"})
        for path, family in (("none", PathMissing), ("d/f/x", PathMissing), ("d", PathConflict)):
            with pytest.raises(family):
                subject.files.read(root, ArtifactPath(path))
            with pytest.raises(family), subject.files.open(root, ArtifactPath(path)):
                pass
            with pytest.raises(family):
                subject.files.open_stream(root, ArtifactPath(path))
        with pytest.raises(PathMissing):
            subject.files.read(subject.at("none"), ArtifactPath("f"))

    def test_each_stream_is_a_new_one(self, subject: Subject) -> None:
        subject.seed(subject.at("m"), {"f": b"abc"})
        for _ in range(2):
            with subject.files.open_stream(subject.at("m"), ArtifactPath("f")) as stream:
                assert stream.read(1) == b"a"
                stream.seek(2)
                assert stream.read() == b"c"
