"""What only a real disk has: links, special files, odd names, model caches."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from weighbridge.adapters.local_files import LocalFiles
from weighbridge.adapters.local_files.failures import translated
from weighbridge.domain.artifact import ArtifactPath, IrregularEntry, Oddity
from weighbridge.domain.errors import (
    PathConflict,
    PathMissing,
    StorageDenied,
    StorageError,
    StorageFull,
)

FILES = LocalFiles()
F = ArtifactPath("f")


class TestOddEntries:
    def test_links_are_reported_and_not_followed(self, tmp_path: Path) -> None:
        root = tmp_path / "m"
        (root / "d").mkdir(parents=True)
        (root / "f").write_bytes(b"1")
        (tmp_path / "secret").write_bytes(b"s")
        for name, target in {
            "inside": "f",
            "d/up": "../../secret",
            "absolute": str(tmp_path / "secret"),
            "dir": "d",
            "outdir": "..",
            "broken": "no\nthing",
            "loop": "loop",
            "sibling": "../m2",
        }.items():
            (root / name).symlink_to(target)
        scan = FILES.scan(str(root))
        assert [e.path.text for e in scan.files] == ["f"]
        assert {e.oddity for e in scan.irregular} == {Oddity.SYMLINK}
        assert [e.name for e in scan.irregular] == sorted(e.name for e in scan.irregular)
        escaping = {e.name for e in scan.irregular if e.escapes}
        assert escaping == {"d/up", "absolute", "outdir", "sibling"}
        assert {e.name: e.detail for e in scan.irregular}["d/up"] == "../../secret"
        assert {e.name: e.detail for e in scan.irregular}["broken"] == "no\\nthing"
        for path in ("inside", "d/up", "dir/up", "outdir/secret", "loop", "broken"):
            for attempt in (FILES.read, FILES.open_stream):
                with pytest.raises((PathConflict, PathMissing)):
                    attempt(str(root), ArtifactPath(path))

    def test_the_root_itself_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m/f").write_bytes(b"1")
        (tmp_path / "m/self").symlink_to("f")
        (tmp_path / "link").symlink_to("m")
        scan = FILES.scan(str(tmp_path / "link"))
        assert [e.path for e in scan.files] == [F]
        assert not scan.irregular[0].escapes
        assert FILES.read(str(tmp_path / "link"), F) == b"1"

    def test_special_files(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with socket.socket(socket.AF_UNIX) as server:
            # The name of a socket is limited to some hundred bytes.
            here = os.open(".", os.O_RDONLY)
            os.chdir(tmp_path)
            try:
                server.bind("socket")
            finally:
                os.fchdir(here)
                os.close(here)
            scan = FILES.scan(str(tmp_path))
            assert [(e.name, e.oddity) for e in scan.irregular] == [
                ("fifo", Oddity.SPECIAL),
                ("socket", Oddity.SPECIAL),
            ]
            for name in ("fifo", "socket"):
                with pytest.raises(PathConflict):
                    FILES.read(str(tmp_path), ArtifactPath(name))

    @pytest.mark.skipif(sys.platform == "darwin", reason="APFS refuses names that are not Unicode")
    def test_unportable_names(self, tmp_path: Path) -> None:
        odd = [b"\xff.bin", b"a\nb", b"a:b", b"e\xcc\x81", b"\x1b[31m"]
        for name in odd:
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"1")
        (tmp_path / "dir?").mkdir()
        (tmp_path / "dir?/f").write_bytes(b"1")
        (tmp_path / "link?").symlink_to("a:b")
        scan = FILES.scan(str(tmp_path))
        assert scan.files == ()
        assert {e.name: e.oddity for e in scan.irregular} == {
            "\\udcff.bin": Oddity.NAME,
            "a\\nb": Oddity.NAME,
            "a:b": Oddity.NAME,
            "e\\u0301": Oddity.NAME,
            "\\x1b[31m": Oddity.NAME,
            "dir?": Oddity.NAME,
            "link?": Oddity.SYMLINK,
        }
        assert all(e.name.isascii() and e.name.isprintable() for e in scan.irregular)

    def test_unreadable(self) -> None:
        # Not below tmp_path: pytest makes that private, and root must become somebody else here.
        place = Path(tempfile.mkdtemp())
        root = os.geteuid() == 0
        try:
            place.chmod(0o755)
            (place / "d").mkdir()
            for name in ("d/f", "f", "g"):
                (place / name).write_bytes(b"1")
            (place / "d").chmod(0)
            (place / "f").chmod(0)
            if root:
                os.seteuid(65534)
            scan = FILES.scan(str(place))
            with pytest.raises(StorageDenied):
                FILES.read(str(place), F)
            with pytest.raises(StorageDenied):
                FILES.scan(str(place / "d"))
        finally:
            if root:
                os.seteuid(0)
            (place / "d").chmod(0o700)
            shutil.rmtree(place)
        assert [e.path.text for e in scan.files] == ["g"]
        reason = os.strerror(errno.EACCES)
        assert scan.irregular == (
            IrregularEntry("d", Oddity.UNREADABLE, reason),
            IrregularEntry("f", Oddity.UNREADABLE, reason),
        )

    def test_deeper_than_a_path_may_be_long(self, tmp_path: Path) -> None:
        here, home = tmp_path, os.open(".", os.O_RDONLY)
        try:
            os.chdir(here)
            for _ in range(30):
                os.mkdir("x" * 200)
                os.chdir("x" * 200)
            Path("f").write_bytes(b"deep")
        finally:
            os.fchdir(home)
            os.close(home)
        (found,) = FILES.scan(str(tmp_path)).files
        assert FILES.read(str(tmp_path), found.path) == b"deep"

    def test_a_file_that_shrinks_while_open(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(bytes(10))
        with FILES.open(str(tmp_path), F) as reader:
            os.truncate(tmp_path / "f", 4)
            with pytest.raises(StorageError, match="not there"):
                reader.read_into(memoryview(bytearray(10)), 0)

    def test_a_name_no_file_system_has(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError):
            FILES.scan(f"{tmp_path}/a\0b")


class TestModelCache:
    @pytest.fixture
    def snapshot(self, tmp_path: Path) -> Path:
        model = tmp_path / "hub/models--a--b"
        snapshot = model / "snapshots/0123abc"
        (model / "blobs").mkdir(parents=True)
        (snapshot / "sub").mkdir(parents=True)
        (model / "blobs/b1").write_bytes(b"one")
        (snapshot / "config.json").symlink_to("../../blobs/b1")
        (snapshot / "sub/x").symlink_to("../../../blobs/b1")
        return snapshot

    def test_its_own_links_are_files(self, snapshot: Path) -> None:
        scan = FILES.scan(str(snapshot))
        assert [(e.path.text, e.size) for e in scan.files] == [("config.json", 3), ("sub/x", 3)]
        assert scan.irregular == ()
        assert FILES.read(str(snapshot), ArtifactPath("sub/x")) == b"one"
        assert FILES.read(str(snapshot / "sub"), ArtifactPath("x"), 1, 2) == b"ne"
        with FILES.open_stream(str(snapshot), ArtifactPath("config.json")) as stream:
            assert stream.read() == b"one"

    def test_no_other_link_is(self, snapshot: Path, tmp_path: Path) -> None:
        blobs = snapshot / "../../blobs"
        other = tmp_path / "hub/models--c--d/blobs"
        other.mkdir(parents=True)
        (other / "b2").write_bytes(b"other")
        (tmp_path / "secret").write_bytes(b"s")
        (blobs / "away").symlink_to(tmp_path / "secret")
        (blobs / "deep").mkdir()
        (blobs / "deep/b3").write_bytes(b"3")
        targets = {
            "of-another": "../../../models--c--d/blobs/b2",
            "away": "../../blobs/away",
            "missing": "../../blobs/gone",
            "deep": "../../blobs/deep/b3",
            "directory": "../../blobs/deep",
            "secret": "../../../../secret",
        }
        for name, target in targets.items():
            (snapshot / name).symlink_to(target)
        scan = FILES.scan(str(snapshot))
        assert [e.path.text for e in scan.files] == ["config.json", "sub/x"]
        assert {e.name for e in scan.irregular} == set(targets)
        assert all(e.escapes and e.oddity is Oddity.SYMLINK for e in scan.irregular)
        for name in targets:
            with pytest.raises((PathConflict, PathMissing)):
                FILES.read(str(snapshot), ArtifactPath(name))

    def test_a_blob_directory_that_is_a_link(self, snapshot: Path, tmp_path: Path) -> None:
        blobs = snapshot.parent.parent / "blobs"
        blobs.rename(tmp_path / "elsewhere")
        blobs.symlink_to(tmp_path / "elsewhere")
        assert FILES.scan(str(snapshot)).files == ()


@pytest.mark.parametrize(
    ("number", "family"),
    [
        (errno.ENOENT, PathMissing),
        (errno.EEXIST, PathConflict),
        (errno.ENOTEMPTY, PathConflict),
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EACCES, StorageDenied),
        (errno.EROFS, StorageDenied),
        (errno.EIO, StorageError),
    ],
)
def test_families_of_errors(number: int, family: type[StorageError]) -> None:
    with pytest.raises(StorageError) as caught, translated("read", "p\n"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is family
    assert caught.value.path == "p\\n" and caught.value.reason == os.strerror(number)
