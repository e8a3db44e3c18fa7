"""Stages on a real disk: dead processes, limits, modes, and file systems that know less."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from weighbridge.adapters.local_files import LocalFiles, renames
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    PathConflict,
    StorageError,
    StorageFull,
)

FILES = LocalFiles()
F = ArtifactPath("f")


def names(directory: Path) -> list[str]:
    """What is in a directory, hidden names included."""
    return sorted(os.listdir(directory))


def run(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A Python process that has ``FILES`` and ``P``."""
    head = (
        "import sys\n"
        "from weighbridge.adapters.local_files import LocalFiles\n"
        "from weighbridge.domain.artifact import ArtifactPath as P\n"
        "FILES = LocalFiles()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,  # type: ignore[call-overload]
    )
    return process


HOLD = """
with FILES.stage(sys.argv[1]) as stage:
    def chunks():
        yield b"begun"
        print(stage.root, flush=True)
        sys.stdin.read() if len(sys.argv) > 2 else __import__("time").sleep(60)
    stage.write(P("f"), chunks())
"""


@pytest.mark.parametrize("two", [("LICENSE", "license"), ("Weights/a", "weights/b")])
def test_names_that_are_one_on_this_file_system(
    two: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on most Macs, and on what is mounted from Windows."""
    real_open, real_mkdir, real_lstat = os.open, os.mkdir, os.lstat

    def folded(path: str) -> str:
        head, found, tail = str(path).partition(".weighbridge-")
        return head + found + tail.lower()

    monkeypatch.setattr(os, "open", lambda p, *a, **n: real_open(folded(p), *a, **n))
    monkeypatch.setattr(os, "mkdir", lambda p, *a, **n: real_mkdir(folded(p), *a, **n))
    monkeypatch.setattr(os, "lstat", lambda p, *a, **n: real_lstat(folded(p), *a, **n))
    with (
        FILES.stage(str(tmp_path / "out")) as stage,
        pytest.raises(PathConflict, match="capitals from small letters") as refused,
    ):
        stage.require_names(map(ArtifactPath, two))
    assert refused.value.path in two and names(tmp_path) == []


def test_a_name_that_is_too_long_for_this_system(tmp_path: Path) -> None:
    path = ArtifactPath("/".join(["d" * 250] * 20))
    with (
        FILES.stage(str(tmp_path / "out")) as stage,
        pytest.raises(StorageError, match="too long"),
    ):
        stage.require_names([F, path])
    assert names(tmp_path) == []


class TestStages:
    def test_killed_in_mid_stage(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        process = run(HOLD, str(target))
        assert process.stdout is not None
        room = Path(process.stdout.readline().strip())
        with FILES.stage(str(target)):
            assert room.exists(), "it lives: its lock is held"
        process.kill()
        process.communicate()
        assert room.exists() and not target.exists()
        with FILES.stage(str(tmp_path / "other")):
            assert room.exists(), "it is another target's"
        with FILES.stage(str(target)) as stage:
            assert not room.exists()
            stage.commit()
        assert names(tmp_path) == ["out"]

    def test_interrupted_from_the_keyboard(self, tmp_path: Path) -> None:
        process = run(HOLD, str(tmp_path / "new/out"), stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert names(tmp_path) == []

    def test_what_only_looks_stale_is_left(self, tmp_path: Path) -> None:
        similar = [".out.weighbridge-x", ".out.weighbridge-1.weighbridge-" + "0" * 16]
        for name in similar:
            (tmp_path / name).mkdir()
        (tmp_path / "victim").mkdir()
        link = ".out.weighbridge-" + "1" * 16
        (tmp_path / link).symlink_to("victim")
        with FILES.stage(str(tmp_path / "out")):
            pass
        assert names(tmp_path) == sorted([*similar, link, "victim"])

    def test_no_file_larger_than_the_limit(self, tmp_path: Path) -> None:
        code = """
from weighbridge.domain.errors import StorageFull
for digest in (False, True):
    with FILES.stage(sys.argv[1]) as stage:
        stage.write(P("small"), [b"1"])
        try:
            stage.write(P("d/f"), [bytes(70_000)] * 9, digest=digest)
        except StorageFull as error:
            print(error.path, [e.path.text for e in FILES.scan(stage.root).files])
"""
        limit = (100_000, 100_000)
        process = run(
            code,
            str(tmp_path / "out"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        )
        output, _ = process.communicate(timeout=60)
        assert output == "d/f ['small']\n" * 2
        assert names(tmp_path) == []

    def test_scratch_room_that_is_full_is_named(self) -> None:
        code = """
from weighbridge.domain.errors import StorageFull
with FILES.stage(None) as stage:
    try:
        stage.write(P("d/f"), [bytes(200_000)])
    except StorageFull as error:
        print(error.path == stage.root + "/d/f")
"""
        limit = (100_000, 100_000)
        process = run(code, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        assert process.communicate(timeout=60)[0] == "True\n"

    def test_modes_obey_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            with FILES.stage(str(tmp_path / "out")) as stage:
                stage.write(ArtifactPath("d/f"), [b"1"])
                stage.commit()
        finally:
            os.umask(before)
        modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("out", "out/d", "out/d/f")]
        assert modes == [0o750, 0o750, 0o640]
        with FILES.stage(None) as scratch:
            assert os.stat(scratch.root).st_mode & 0o777 == 0o700

    def test_a_target_that_is_a_link_is_replaced_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real/old").write_bytes(b"1")
        (tmp_path / "out").symlink_to("real")
        with FILES.stage(str(tmp_path / "out")) as stage:
            with pytest.raises(PathConflict):
                stage.commit()
            stage.commit(replace=True)
        assert not (tmp_path / "out").is_symlink()
        assert names(tmp_path / "real") == ["old"]

    def test_a_pipe_or_device_is_no_output_to_replace(self, tmp_path: Path) -> None:
        """``-o /dev/null --force`` would leave the machine without it."""
        target = tmp_path / "out"
        os.mkfifo(target)
        with pytest.raises(PathConflict, match="a pipe"), FILES.stage(str(target)):
            pass
        assert target.is_fifo() and names(tmp_path) == ["out"]

    def test_write_protected_directories_go_too(self, tmp_path: Path) -> None:
        with FILES.stage(str(tmp_path / "out")) as stage:
            stage.write(ArtifactPath("d/e/f"), [b"1"])
            for directory in ("d/e", "d"):
                os.chmod(os.path.join(stage.root, directory), 0)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("name", ["x" * 255, "é" * 127, ".hidden", "a b"])
    def test_any_name_that_fits(self, tmp_path: Path, name: str) -> None:
        with FILES.stage(str(tmp_path / name)) as stage:
            stage.commit()
        assert names(tmp_path) == [name]

    def test_relative_targets_survive_a_change_of_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with FILES.stage("out") as stage:
            monkeypatch.chdir("/")
            stage.commit()
        assert names(tmp_path) == ["out"]

    def test_root_is_no_target(self) -> None:
        with pytest.raises(PathConflict), FILES.stage("/"):
            pass


class TestReplace:
    @staticmethod
    def replace_often(target: Path, count: int) -> None:
        for number in range(count):
            with FILES.stage(str(target)) as stage:
                stage.write(F, [b"%d" % number])
                stage.commit(replace=True)

    def test_there_is_no_moment_without_the_target(self, tmp_path: Path) -> None:
        target, missing, done = tmp_path / "out", [], threading.Event()
        self.replace_often(target, 1)

        def watch() -> None:
            while not done.is_set():
                if not target.exists():
                    missing.append(1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.replace_often(target, 300)
        finally:
            done.set()
            watcher.join()
        assert not missing
        assert names(tmp_path) == ["out"] and (target / "f").read_bytes() == b"299"


class TestWithoutFlaggedRenames:
    """File systems that know neither an exchange nor a rename to a free name."""

    @pytest.fixture(autouse=True)
    def _old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renames, "_system_call", lambda _flag: None)

    def test_commit_and_replace(self, tmp_path: Path) -> None:
        TestReplace.replace_often(tmp_path / "out", 3)
        with FILES.stage(str(tmp_path / "out")) as stage, pytest.raises(PathConflict):
            stage.commit()
        assert names(tmp_path) == ["out"] and (tmp_path / "out/f").read_bytes() == b"2"

    @pytest.mark.parametrize("fatal", [1, 2, 3])
    def test_a_failure_at_each_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
    ) -> None:
        TestReplace.replace_often(tmp_path / "out", 1)
        rename, steps = os.rename, iter(range(1, 9))

        def failing(old: str, new: str) -> None:
            if next(steps) == fatal:
                raise OSError(errno.EIO, "injected")
            rename(old, new)

        with FILES.stage(str(tmp_path / "out")) as stage:
            stage.write(F, [b"new"])
            monkeypatch.setattr(os, "rename", failing)
            with pytest.raises(StorageError):
                stage.commit(replace=True)
        monkeypatch.setattr(os, "rename", rename)
        assert (tmp_path / "out/f").read_bytes() == (b"new" if fatal == 3 else b"0")
        with FILES.stage(str(tmp_path / "out")):
            pass
        assert names(tmp_path) == ["out"]

    def test_killed_between_the_two_renames(self, tmp_path: Path) -> None:
        aside = tmp_path / ".out.replaced-by-weighbridge"
        aside.mkdir()
        (aside / "f").write_bytes(b"the only copy")
        with FILES.stage(str(tmp_path / "out")):
            assert (tmp_path / "out/f").read_bytes() == b"the only copy"
        assert names(tmp_path) == ["out"]


class TestExpectedSize:
    @pytest.mark.skipif(sys.platform != "linux", reason="no fallocate")
    def test_a_disk_too_small_is_told_before_anything_is_made(self, tmp_path: Path) -> None:
        asked = []
        chunks = (asked.append(n) or b"x" for n in range(3))
        with FILES.stage(str(tmp_path / "out")) as stage:
            before = len(os.listdir("/proc/self/fd"))
            with pytest.raises(StorageFull):
                stage.write(F, chunks, expected=1 << 62)
            assert not asked and len(os.listdir("/proc/self/fd")) == before
            assert os.listdir(stage.root) == []
        assert names(tmp_path) == []

    def test_the_file_is_what_was_written(self, tmp_path: Path) -> None:
        with FILES.stage(str(tmp_path / "out")) as stage:
            entry = stage.write(F, [b"abc"], expected=64 << 20)
            stage.commit()
        assert entry.size == 3 and (tmp_path / "out/f").read_bytes() == b"abc"
