"""What a committed stage has put on the disk, and in which order: as the system was told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weighbridge.adapters.local_files import LocalFiles, durability, renames
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import StorageError

FILES = LocalFiles()
Log = list[tuple[str, str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """What is synchronised, renamed and removed below ``tmp_path``; each is really done."""
    log: Log = []
    unlink = os.unlink

    def shown(path: str) -> str:
        """The path below ``tmp_path``, with ROOM for the stage's own directory."""
        parts = os.path.relpath(path, tmp_path).split(os.sep)
        return "/".join("ROOM" if ".weighbridge-" in part else part for part in parts)

    def sync(path: str, flags: int, real: Callable[[str, int], None] = durability._sync) -> None:
        real(path, flags)
        log.append(("sync", shown(path)))

    def renamed(name: str) -> None:
        real = getattr(renames, name)

        def spy(old: str, new: str, *more: str) -> None:
            real(old, new, *more)
            log.append(("rename", shown(new)))

        monkeypatch.setattr(renames, name, spy)

    def removed(path: str, *args: Any, **options: Any) -> None:
        unlink(path, *args, **options)
        log.append(("remove", str(path)))

    monkeypatch.setattr(durability, "_sync", sync)
    monkeypatch.setattr(os, "unlink", removed)
    renamed("rename_to_free")
    renamed("exchange")
    return log


def commit(target: Path, *, replace: bool = False) -> None:
    with FILES.stage(str(target)) as stage:
        for name in ("d/e/f", "g"):
            stage.write(ArtifactPath(name), [b"1"])
        stage.commit(replace=replace)


def test_files_then_directories_then_the_rename_then_its_directory(
    tmp_path: Path, told: Log
) -> None:
    commit(tmp_path / "new/deep/out")
    room = "new/deep/ROOM"
    assert told == [
        ("sync", f"{room}/d/e/f"),
        ("sync", f"{room}/d/e"),
        ("sync", f"{room}/d"),
        ("sync", f"{room}/g"),
        ("sync", room),
        ("rename", "new/deep/out"),
        ("sync", "new/deep"),
        ("sync", "new"),
        ("sync", "."),
    ]


def test_what_is_replaced_goes_when_the_new_name_is_on_the_disk(tmp_path: Path, told: Log) -> None:
    commit(tmp_path / "out")
    told.clear()
    commit(tmp_path / "out", replace=True)
    verbs = [verb for verb, _ in told]
    assert told[verbs.index("rename") : verbs.index("remove")] == [
        ("rename", "out"),
        ("sync", "."),
    ]
    assert "sync" not in verbs[verbs.index("remove") :]


def test_scratch_room_is_not_worth_it(told: Log) -> None:
    with FILES.stage(None) as stage:
        stage.write(ArtifactPath("f"), [bytes(1 << 20)] * 20)
    assert not [entry for entry in told if entry[0] == "sync"]


def test_a_disk_that_fails_keeps_the_target_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match="commit"):
        commit(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_directories_that_cannot_be_synchronised_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f"/dev/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    commit(tmp_path / "out")
    assert (tmp_path / "out/g").read_bytes() == b"1"


def test_an_early_start_changes_nothing_of_a_file(tmp_path: Path) -> None:
    content = os.urandom(20 << 20)
    with FILES.stage(str(tmp_path / "out")) as stage:
        pieces = [content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]
        stage.write(ArtifactPath("f"), pieces)
        stage.commit()
    assert (tmp_path / "out/f").read_bytes() == content
