"""What every FileSystem must do with stages. See ``filesystem`` for the other half."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.contracts.filesystem import Interrupted, Subject, entries, write
from weighbridge.domain.artifact import ArtifactPath, Digest
from weighbridge.domain.errors import PathConflict, PathMissing, StorageError, StorageFull


class StagingContract:
    """Writes, commits and leaving. Subclass it, with a fixture ``subject``."""

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

    def test_names_are_tried_before_anything_is_written(self, subject: Subject) -> None:
        target = subject.at("out")
        with subject.files.stage(target) as stage:
            stage.require_names(map(ArtifactPath, ["d/e/f", "d/g", "h"]))
            for names in (["f", "f/g"], ["d/f", "d"], ["f", "f"]):
                with pytest.raises(PathConflict):
                    stage.require_names(map(ArtifactPath, names))
            assert entries(subject, stage.root) == {}
            stage.write(ArtifactPath("d/g"), [b"g"])
            stage.commit()
        assert entries(subject, subject.at("")) == {"out/d/g": 1}

    def test_room_is_looked_for_before_anything_is_written(self, subject: Subject) -> None:
        with subject.files.stage(subject.at("out")) as stage:
            stage.require_room(1)
            with pytest.raises(StorageFull):
                stage.require_room(1 << 60)
            stage.write(ArtifactPath("f"), [b"f"])
            stage.commit()

    @pytest.mark.parametrize("how", ["kept", "not kept", "not resumed"])
    def test_what_was_kept_is_taken_over(self, subject: Subject, how: str) -> None:
        target, path = subject.at("new/out"), ArtifactPath("d/f")
        known = Digest("sha256", hashlib.sha256(b"abcd").hexdigest())
        for _ in range(2):  # what was taken over, or not asked for, is kept once more
            with subject.files.stage(target, resume=True) as stage:
                stage.write(path, [b"abcd"], expected=4, known=known)
                if how != "not kept":
                    stage.keep()
            with pytest.raises(PathMissing):
                subject.files.scan(target)
            with subject.files.stage(target, resume=True) as stage:
                stage.keep()
        if how == "not resumed":
            with subject.files.stage(target):
                pass
        asked: list[bytes] = []

        def chunks() -> Iterator[bytes]:
            asked.append(b"abcd")
            yield b"abcd"

        with subject.files.stage(target, resume=True) as stage:
            entry = stage.write(path, chunks(), digest=True, expected=4, known=known)
            assert bool(asked) is (how != "kept")
            assert (entry.size, entry.digests) == (4, (known,))
            stage.write(ArtifactPath("g"), [b"new"], expected=3, known=known)
            stage.commit()
        assert entries(subject, subject.at("new")) == {"out/d/f": 4, "out/g": 3}
        assert subject.files.read(target, path) == b"abcd"

    def test_other_content_is_not_taken_over(self, subject: Subject) -> None:
        target, path = subject.at("out"), ArtifactPath("f")
        with subject.files.stage(target, resume=True) as stage:
            stage.write(path, [b"wrong"])
            stage.keep()
        known = Digest("sha256", hashlib.sha256(b"right").hexdigest())
        with subject.files.stage(target, resume=True) as stage:
            stage.write(path, [b"right"], expected=5, known=known)
            stage.commit()
        assert subject.files.read(target, path) == b"right"
        assert entries(subject, subject.at("")) == {"out/f": 5}

    def test_a_single_file_appears_alone(self, subject: Subject) -> None:
        target = subject.at("new/one.bin")
        for content, replace in ((b"first", False), (b"second", True)):
            with subject.files.stage(target) as stage:
                stage.write(ArtifactPath("d/f"), [content])
                stage.write(ArtifactPath("other"), [b"not this"])
                stage.commit(replace=replace, only=ArtifactPath("d/f"))
            assert entries(subject, subject.at("new")) == {"one.bin": len(content)}
            found = subject.files.read(subject.at("new"), ArtifactPath("one.bin"))
            assert found == content

    def test_a_single_file_takes_no_place_unasked(self, subject: Subject) -> None:
        write(subject, subject.at("out"), {"x": b"old"}, replace=False)
        with subject.files.stage(subject.at("out")) as stage:
            stage.write(ArtifactPath("f"), [b"new"])
            with pytest.raises(PathConflict):
                stage.commit(only=ArtifactPath("f"))
        assert entries(subject, subject.at("out")) == {"x": 3}

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
        def commit_and_raise() -> None:
            with subject.files.stage(subject.at("new/out")) as stage:
                stage.write(ArtifactPath("f"), [b"1"])
                stage.commit()
                raise Interrupted

        with pytest.raises(Interrupted):
            commit_and_raise()
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

    def test_a_stage_whose_parent_was_replaced(self, subject: Subject) -> None:
        subject.seed(subject.at("a"), {"old": b"1"})
        with subject.files.stage(subject.at("a/out")) as stage:
            write(subject, subject.at("a"), {"new": b"1"}, replace=True)
            with pytest.raises(PathMissing):
                stage.write(ArtifactPath("d/f"), [b"1"])
            with pytest.raises(PathMissing):
                stage.commit()
        assert entries(subject, subject.place) == {"a/new": 1}
