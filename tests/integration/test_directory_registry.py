"""The directory registry against the real cache reader, real crashes and real competitors."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound

import weighbridge
from tests.contracts.registry import FIRST, LARGE, SECOND, WEIGHTS, Files, Subject, blobs_of
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.directory_registry.layout import TEMPORARY
from weighbridge.application.ports import Blob
from weighbridge.domain.errors import (
    PathConflict,
    ReadBackMismatch,
    RegistryRejected,
    StorageDenied,
    StorageError,
    StorageFull,
    UsageError,
)
from weighbridge.domain.publication import HubRepo, LocalRegistry, read_back_differences

MODEL = "models--acme--m"


def at(root: Path, revision: str = "main") -> Subject:
    """A directory registry below ``root``."""
    return Subject(DirectoryRegistry(), LocalRegistry(str(root), "acme/m", revision))


@pytest.fixture
def place(tmp_path: Path) -> Subject:
    return at(tmp_path)


def leftovers(root: Path) -> list[Path]:
    """What only an interrupted push may leave."""
    return [path for path in root.rglob("*") if path.name.startswith(TEMPORARY)]


def clean(root: Path) -> bool:
    """Whether the real client has nothing to complain about."""
    try:
        info = scan_cache_dir(root)
    except CacheNotFound:
        return True
    return not info.warnings and not info.incomplete_files


# --- the layout, as others see it ----------------------------------------------------------------


def test_the_real_client_finds_the_model(tmp_path: Path, place: Subject) -> None:
    old, new = place.publish(FIRST), place.publish(SECOND)
    info = scan_cache_dir(tmp_path)
    assert info.warnings == []
    (repo,) = info.repos
    assert (repo.repo_id, repo.repo_type) == ("acme/m", "model")
    assert {(r.commit_hash, r.refs) for r in repo.revisions} == {
        (old.revision, frozenset()),
        (new.revision, frozenset({"main"})),
    }
    shown = {
        f.file_path.relative_to(new.url).as_posix()
        for r in repo.revisions
        for f in r.files
        if r.commit_hash == new.revision
    }
    assert shown == set(SECOND)


@pytest.mark.parametrize("revision", ["main", "feature/x"])
def test_loaders_find_the_files_offline(tmp_path: Path, revision: str) -> None:
    receipt = at(tmp_path, revision).publish(FIRST)
    options: dict[str, Any] = {
        "cache_dir": tmp_path,
        "local_files_only": True,
        "revision": revision,
    }
    for name, content in FIRST.items():
        assert Path(hf_hub_download("acme/m", name, **options)).read_bytes() == content
    assert snapshot_download("acme/m", **options) == receipt.url


def test_the_command_line_lists_and_deletes(tmp_path: Path, place: Subject) -> None:
    place.publish(FIRST)
    receipt = place.publish(SECOND)
    hf = Path(sys.executable).parent / "hf"

    def call(*args: str) -> str:
        command = [str(hf), "cache", *args, "--cache-dir", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "acme/m" in call("ls")
    call("prune", "--yes")
    assert place.holds(SECOND)
    assert [p.name for p in (tmp_path / MODEL / "snapshots").iterdir()] == [receipt.revision]
    call("rm", "model/acme/m", "--yes")
    assert place.registry.head(place.destination) is None
    assert place.publish(FIRST).created


def test_links_are_relative_and_blobs_named_like_etags(tmp_path: Path, place: Subject) -> None:
    receipt = place.publish(FIRST)
    link = os.readlink(Path(receipt.url, "weights/more/part.safetensors"))
    assert link.startswith("../../../../blobs/")
    assert len(Path(link).name) == 64
    assert len(Path(os.readlink(Path(receipt.url, "config.json"))).name) == 40
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert at(moved).holds(FIRST)


def test_blob_names_agree_with_git(tmp_path: Path, place: Subject) -> None:
    receipt = place.publish(FIRST)
    file = Path(receipt.url, "config.json")
    done = subprocess.run(["git", "hash-object", file.resolve()], capture_output=True, text=True)
    assert done.stdout.strip() == file.resolve().name


def test_equal_content_has_an_equal_revision_whatever_came_before(tmp_path: Path) -> None:
    straight, detour = at(tmp_path / "1"), at(tmp_path / "2")
    detour.publish(FIRST)
    assert straight.publish(SECOND).revision == detour.publish(SECOND).revision


def test_going_back_reuses_the_old_revision(place: Subject) -> None:
    first = place.publish(FIRST)
    place.publish(SECOND)
    back = place.publish(FIRST)
    assert (back.revision, back.created) == (first.revision, True)
    assert place.holds(FIRST)


def test_a_cache_that_a_download_filled_is_continued(tmp_path: Path, place: Subject) -> None:
    files = {"config.json": b"{}", "weights.bin": b"w" * 100}
    revision = place.publish(files).revision
    blob = Path(tmp_path, MODEL, "snapshots", revision, "weights.bin")
    named = place.plan(files).manifest.entries[1].digests[0].value
    blob.resolve().rename(blob.resolve().with_name(named))
    blob.unlink()
    blob.symlink_to(f"../../blobs/{named}")
    more = {**files, "more.txt": b"more"}
    assert place.publish(more).revision == at(tmp_path / "fresh").publish(more).revision
    assert place.holds(more)


def test_without_symlinks_files_are_copied(
    tmp_path: Path, place: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no symlinks here")

    monkeypatch.setattr(os, "symlink", refuse)
    place.publish(FIRST)
    receipt = place.publish(SECOND)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert place.holds(SECOND)
    assert clean(tmp_path)
    assert place.publish(SECOND).created is False
    assert snapshot_download("acme/m", cache_dir=tmp_path, local_files_only=True) == receipt.url


# --- damage --------------------------------------------------------------------------------------


def test_a_rotten_blob_shows_in_the_read_back_and_is_healed(place: Subject) -> None:
    receipt = place.publish(FIRST)
    blob = Path(receipt.url, "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:-1] + b"!")
    head = place.registry.head(place.destination)
    assert head is not None
    assert not read_back_differences(place.plan(FIRST).manifest, head.manifest)
    read = place.registry.manifest(place.destination, receipt.revision)
    (difference,) = read_back_differences(place.plan(FIRST).manifest, read.manifest)
    assert difference.startswith("model.safetensors:")
    blob.unlink()
    again = place.publish(FIRST)
    assert (again.revision, again.created) == (receipt.revision, False)
    assert place.holds(FIRST)


def test_going_back_to_a_rotten_revision_is_no_success(tmp_path: Path, place: Subject) -> None:
    receipt = place.publish(FIRST)
    place.publish(SECOND)
    Path(receipt.url, "model.safetensors").resolve().write_bytes(WEIGHTS[:-1] + b"!")
    with pytest.raises(ReadBackMismatch, match=r"model\.safetensors"):
        weighbridge.rollback(place.destination, receipt.revision)


def test_a_damaged_snapshot_is_replaced(place: Subject) -> None:
    receipt = place.publish(FIRST)
    Path(receipt.url, "config.json").unlink()
    Path(receipt.url, "stray.txt").write_text("stray")
    again = place.publish(FIRST)
    assert again.revision == receipt.revision
    assert place.holds(FIRST)


def test_a_ref_without_its_snapshot_is_nothing(tmp_path: Path, place: Subject) -> None:
    place.publish(FIRST)
    (tmp_path / MODEL / "refs/main").write_text("0" * 40)
    assert place.registry.head(place.destination) is None
    place.publish(SECOND)
    assert place.holds(SECOND)
    assert clean(tmp_path)


def test_a_path_outside_our_grammar_is_named(place: Subject) -> None:
    Path(place.publish(FIRST).url, "a:b").write_text("x")
    with pytest.raises(RegistryRejected, match="a:b"):
        place.registry.head(place.destination)


# --- errors --------------------------------------------------------------------------------------

FAILURES: list[tuple[int, type[StorageError]]] = [
    (errno.ENOSPC, StorageFull),
    (errno.EDQUOT, StorageFull),
    (errno.EFBIG, StorageFull),
    (errno.EACCES, StorageDenied),
    (errno.EPERM, StorageDenied),
    (errno.EROFS, StorageDenied),
    (errno.EIO, StorageError),
]


CALLED = ("fsync", "replace", "rename", "mkdir", "symlink")
#: A refused symlink with EPERM means that there are none, and is no error.
REFUSALS = [(c, n, k) for c in CALLED for n, k in FAILURES if (c, n) != ("symlink", errno.EPERM)]


@pytest.mark.parametrize(("call", "number", "kind"), REFUSALS)
def test_what_the_system_refuses_is_typed(
    place: Subject, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[Exception]
) -> None:
    place.publish(FIRST)
    plan = place.plan(SECOND)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/some/where")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StorageError) as failed:
            place.push(plan, blobs_of(plan, SECOND))
    assert type(failed.value) is kind
    assert os.strerror(number) in str(failed.value)
    assert place.holds(FIRST)
    assert place.push(plan, blobs_of(plan, SECOND)).created


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_directories_that_cannot_be_synchronised(
    place: Subject, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As some network and FUSE file systems say."""
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    assert place.publish(FIRST).created and place.publish(SECOND).created and place.holds(SECOND)


def test_a_disk_that_is_too_small_is_found_before_anything_is_read(
    tmp_path: Path, place: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(FIRST)
    plan = place.plan(SECOND)
    new = blobs_of(plan, SECOND)
    size = sum(blob.entry.size for blob in new.values())
    opened: list[str] = []

    def watched(blob: Blob) -> Blob:
        def opening() -> BinaryIO:
            opened.append(blob.entry.path.text)
            return blob.open()

        return Blob(blob.entry, opening)

    def free(count: int) -> Callable[[object], os.statvfs_result]:
        return lambda _: os.statvfs_result((512, 1, 100, 100, count, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", free(size - 1))
    with pytest.raises(StorageFull, match=f"{size} bytes are to come, and {size - 1} are free"):
        place.push(plan, {path: watched(blob) for path, blob in new.items()})
    assert not opened and place.holds(FIRST) and not leftovers(tmp_path)
    monkeypatch.setattr(os, "statvfs", free(size))
    assert place.push(plan, {path: watched(blob) for path, blob in new.items()}).created and opened


def test_a_real_size_limit(tmp_path: Path, place: Subject) -> None:
    place.publish(FIRST)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _exit_with(lambda: place.publish(SECOND), {StorageFull: 7})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert place.holds(FIRST)
    assert not leftovers(tmp_path)


def test_something_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PathConflict):
        at(tmp_path / "file").publish(FIRST)
    at(tmp_path, "a/b").publish(FIRST)
    with pytest.raises(PathConflict):
        at(tmp_path, "a").publish(FIRST)


def test_other_destinations_are_refused() -> None:
    with pytest.raises(UsageError):
        DirectoryRegistry().head(HubRepo("acme/m"))


# --- crashes and competitors ---------------------------------------------------------------------

CALLS = ("fsync", "replace", "rename", "mkdir", "symlink", "rmdir", "unlink", "open")


def _exit_with(work: Callable[[], object], codes: dict[type[Exception], int]) -> None:
    """In a forked child: do the work and leave without any cleaning up."""
    try:
        work()
    except Exception as error:
        os._exit(codes.get(type(error), 1))
    os._exit(0)


def _die_at(number: int) -> None:
    """In a forked child: be killed at that call to the operating system."""
    count = 0

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return wrapper

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Whether a child that does the work was killed at its n-th call."""
    child = os.fork()
    if child == 0:
        _die_at(number)
        _exit_with(work, {})
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("before", [None, FIRST], ids=["nothing before", "something before"])
def test_killed_at_every_call_there_is_the_old_or_the_new(
    tmp_path: Path, before: Files | None
) -> None:
    number, outcomes = 0, []
    while True:
        number += 1
        root = tmp_path / str(number)
        place = at(root)
        if before:
            place.publish(before)
        alive = not killed_at(number, lambda place=place: place.publish(SECOND))  # type: ignore[misc]
        head = place.registry.head(place.destination)
        is_new = head is not None and place.holds(SECOND)
        outcomes.append(is_new)
        assert is_new or (place.holds(before) if before else head is None)
        assert clean(root)
        assert place.publish({"next.txt": b"next"}).created
        assert not leftovers(root)
        if alive:
            break
    assert number > 20
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]


def test_killed_at_random_moments(tmp_path: Path) -> None:
    place = at(tmp_path)
    place.publish(FIRST)
    chance = random.Random(20261123)
    big = {**SECOND, "big.safetensors": LARGE * 8}
    for _ in range(12):
        child = os.fork()
        if child == 0:
            _exit_with(lambda: [place.publish(f) for f in (big, FIRST) * 50], {})
        time.sleep(chance.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert place.holds(FIRST) or place.holds(big)
        assert clean(tmp_path)
    place.publish(SECOND)
    assert place.holds(SECOND)
    assert not leftovers(tmp_path)


WRITER = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from tests.integration.test_directory_registry import at, blobs_of
from weighbridge.domain.errors import RevisionConflict
from pathlib import Path
place, wins = at(Path(sys.argv[2])), 0
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    files = {"who": sys.argv[3].encode() + b"%d" % number, "w.safetensors": b"w" * 300_000}
    plan = place.plan(files)
    try:
        wins += place.push(plan, blobs_of(plan, files)).created
    except RevisionConflict:
        pass
print(wins)
"""


def test_two_processes_and_every_revision_has_one_winner(tmp_path: Path) -> None:
    here = json.dumps([str(Path.cwd()), str(Path.cwd() / "src")])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, here, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    won = sum(int(writer.communicate(timeout=60)[0]) for writer in writers)
    snapshots = list((tmp_path / MODEL / "snapshots").iterdir())
    assert len(snapshots) == won >= 20
    assert clean(tmp_path)
    assert not leftovers(tmp_path)
