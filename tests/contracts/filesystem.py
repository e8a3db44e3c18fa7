"""What every FileSystem must do. A subclass gives the ``subject``; it overrides no test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

import pytest
from attrs import frozen

from weighbridge.application.ports import FileSystem
from weighbridge.domain.artifact import ArtifactPath, Digest, FileEntry
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


class FileSystemContract:
    """Subclass it, with a fixture ``subject``."""

    # --- scan and read -------------------------------------------------------------------------

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

    # --- stages ----------------------------------------------------------------------------------

    def test_a_stage_appears_with_its_commit(self, subject: Subject) -> None:
        target = subject.at("new/deep/out")
        with subject.files.stage(target) as stage:
            entry = stage.write(ArtifactPath("d/f"), [b"ab", b"", memoryview(b"cd")], digest=True)
            assert entry.path == ArtifactPath("d/f") and entry.size == 4
            assert entry.digests == (Digest("sha256", hashlib.sha256(b"abcd").hexdigest()),)
            assert stage.write(ArtifactPath("g"), []).digests == ()
            assert entries(subject, stage.root) == {"d/f": 4, "g": 0}
            assert subject.files.read(stage.root, ArtifactPath("d/f")) == b"abcd"
            with pytest.raises(PathMissing):
                subject.files.scan(target)
            stage.commit()
            assert entries(subject, stage.root) == {"d/f": 4, "g": 0}
        assert entries(subject, subject.at("new")) == {"deep/out/d/f": 4, "deep/out/g": 0}

    @pytest.mark.parametrize("digest", [False, True])
    def test_chunks_are_used_before_the_next_is_asked_for(
        self, subject: Subject, digest: bool
    ) -> None:
        buffer, size = bytearray(200_000), 200_000

        def chunks() -> Iterator[memoryview]:
            for value in range(5):
                buffer[:] = bytes([value]) * size
                yield memoryview(buffer)
            buffer[:] = b"\xff" * size

        expected = b"".join(bytes([value]) * size for value in range(5))
        with subject.files.stage(None) as stage:
            entry = stage.write(ArtifactPath("f"), chunks(), digest=digest)
            assert subject.files.read(stage.root, ArtifactPath("f")) == expected
        wanted = (Digest("sha256", hashlib.sha256(expected).hexdigest()),) if digest else ()
        assert entry.digests == wanted

    @pytest.mark.parametrize("error", [ValueError, OSError, Interrupted])
    def test_an_error_of_the_chunks_passes(
        self, subject: Subject, error: type[BaseException]
    ) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"begun"
            raise error("mine")

        with subject.files.stage(subject.at("out")) as stage:
            for digest in (False, True):
                with pytest.raises(error, match="mine"):
                    stage.write(ArtifactPath("d/f"), chunks(), digest=digest)
            assert entries(subject, stage.root) == {}
            stage.write(ArtifactPath("d"), [b"neither the file nor its directory was left"])

    def test_conflicts_within_a_stage(self, subject: Subject) -> None:
        with subject.files.stage(subject.at("out")) as stage:
            stage.write(ArtifactPath("d/f"), [b"1"])
            for path in ("d/f", "d/f/x", "d/f/x/y", "d"):
                with pytest.raises(PathConflict):
                    stage.write(ArtifactPath(path), [b"2"])
            assert entries(subject, stage.root) == {"d/f": 1}
            assert subject.files.read(stage.root, ArtifactPath("d/f")) == b"1"

    @pytest.mark.parametrize("error", [None, ValueError, Interrupted])
    def test_leaving_without_a_commit_leaves_nothing(
        self, subject: Subject, error: type[BaseException] | None
    ) -> None:
        subject.seed(subject.place, {"other": b"1"})

        def leave() -> None:
            with subject.files.stage(subject.at("new/deep/out")) as stage:
                stage.write(ArtifactPath("d/f"), [b"1"])
                if error:
                    raise error

        if error:
            with pytest.raises(error):
                leave()
        else:
            leave()
        assert entries(subject, subject.place) == {"other": 1}
        with pytest.raises(PathMissing):
            subject.files.scan(subject.at("new"))

    def test_an_error_after_the_commit_leaves_it(self, subject: Subject) -> None:
        with (
            pytest.raises(Interrupted),
            subject.files.stage(subject.at("new/out")) as stage,
        ):
            stage.write(ArtifactPath("f"), [b"1"])
            stage.commit()
            raise Interrupted
        assert entries(subject, subject.place) == {"new/out/f": 1}

    @pytest.mark.parametrize("there", [{}, {"old": b"1"}])
    def test_commit_on_a_directory(self, subject: Subject, there: dict[str, bytes]) -> None:
        target = subject.at("out")
        subject.seed(target, there)
        with subject.files.stage(target) as stage:
            stage.write(ArtifactPath("f"), [b"22"])
            with pytest.raises(PathConflict):
                stage.commit()
            assert entries(subject, target) == {name: 1 for name in there}
            assert entries(subject, stage.root) == {"f": 2}
            stage.commit(replace=True)
        assert entries(subject, subject.place) == {"out/f": 2}

    def test_commit_on_a_file(self, subject: Subject) -> None:
        subject.seed(subject.place, {"out": b"1"})
        with pytest.raises(PathConflict):
            write(subject, subject.at("out"), {"f": b"22"}, replace=False)
        assert entries(subject, subject.place) == {"out": 1}
        write(subject, subject.at("out"), {"f": b"22"}, replace=True)
        assert entries(subject, subject.place) == {"out/f": 2}

    def test_replace_of_nothing(self, subject: Subject) -> None:
        write(subject, subject.at("out"), {"f": b"1"}, replace=True)
        assert entries(subject, subject.place) == {"out/f": 1}

    def test_a_target_below_a_file(self, subject: Subject) -> None:
        subject.seed(subject.place, {"f": b"1"})
        for below in ("f/out", "f/deep/out"):
            with pytest.raises(PathConflict), subject.files.stage(subject.at(below)):
                pass

    def test_a_committed_stage_takes_no_more(self, subject: Subject) -> None:
        with subject.files.stage(subject.at("out")) as stage:
            stage.commit()
            with pytest.raises(StorageError):
                stage.write(ArtifactPath("f"), [b"1"])
            with pytest.raises(StorageError):
                stage.commit(replace=True)
        assert entries(subject, subject.at("out")) == {}

    def test_scratch_room_is_gone_and_never_committed(self, subject: Subject) -> None:
        with subject.files.stage(None) as stage:
            stage.write(ArtifactPath("d/f"), [b"1"])
            with pytest.raises(StorageError):
                stage.commit()
            root = stage.root
            assert entries(subject, root) == {"d/f": 1}
        with pytest.raises(PathMissing):
            subject.files.scan(root)

    def test_two_stages_for_one_target(self, subject: Subject) -> None:
        target = subject.at("out")
        with subject.files.stage(target) as first, subject.files.stage(target) as second:
            first.write(ArtifactPath("f"), [b"1"])
            second.write(ArtifactPath("f"), [b"22"])
            second.commit()
            with pytest.raises(PathConflict):
                first.commit()
            first.commit(replace=True)
        assert entries(subject, subject.place) == {"out/f": 1}
