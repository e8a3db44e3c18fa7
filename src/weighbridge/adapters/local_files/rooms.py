"""Temporary directories that say by a lock that they are in use; those of the dead are removed."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from attrs import frozen

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Room:
    """A locked directory, and the prefix of its name that all rooms of the same purpose share."""

    path: str
    descriptor: int


def make_room(parent: str, prefix: str, mode: int) -> Room:
    """A new locked directory in ``parent``."""
    while True:
        path = os.path.join(parent, prefix + secrets.token_hex(8))
        os.mkdir(path, mode)
        descriptor = _lock(path)
        if descriptor is not None:
            return Room(path, descriptor)
        # Somebody swept it between the two calls: try again under another name.


def scratch_room() -> tuple[str, int]:
    """The directory for temporary files, and the bytes that we may still write there."""
    place = tempfile.gettempdir()
    status = os.statvfs(place)
    return place, status.f_bavail * status.f_frsize


def sweep(parent: str, prefix: str) -> None:
    """Remove rooms whose process is dead: nobody holds their lock. Never fails."""
    for room in claim(parent, prefix):
        remove(room.path)
        os.close(room.descriptor)


def claim(parent: str, prefix: str) -> list[Room]:
    """Take over the rooms whose process is dead, locked. Never fails."""
    pattern = re.compile(re.escape(prefix) + "[0-9a-f]{16}")
    found: list[Room] = []
    with suppress(OSError):
        for name in sorted(n for n in os.listdir(parent) if pattern.fullmatch(n)):
            path = os.path.join(parent, name)
            if (descriptor := _claimed(path)) is not None:
                found.append(Room(path, descriptor))
    return found


def _claimed(path: str) -> int | None:
    """A locked descriptor of our own room that nobody else has locked; None for any other."""
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return None
        descriptor = os.open(path, _DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _lock(path: str) -> int | None:
    """A locked descriptor of ``path``; None if it was swept before the lock was had."""
    try:
        descriptor = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        # No locks on this file system; then sweep() cannot lock either, and removes nothing.
        return descriptor
    if os.path.lexists(path):
        return descriptor
    os.close(descriptor)
    return None


def remove(path: str) -> None:
    """Remove whatever is at ``path``, write-protected directories included. Never fails."""
    if os.path.islink(path) or not os.path.isdir(path):
        with suppress(OSError):
            os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    with suppress(OSError):
        os.chmod(path, 0o700)
    for here, directories, _ in os.walk(path):
        for each in (os.path.join(here, name) for name in directories):
            if not os.path.islink(each):
                with suppress(OSError):
                    os.chmod(each, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def make_directories(path: str) -> list[str]:
    """Make ``path`` and its missing parents; those that were made, outermost first."""
    missing: list[str] = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    made: list[str] = []
    with removed_on_failure(made):
        for each in reversed(missing):
            try:
                os.mkdir(each)
            except FileExistsError:
                if not os.path.isdir(each):
                    raise
            else:
                made.append(each)
    return made


def remove_empty(directories: Sequence[str]) -> None:
    """Remove those that are empty, innermost first."""
    with suppress(OSError):
        for each in reversed(directories):
            os.rmdir(each)


@contextmanager
def removed_on_failure(made: Sequence[str]) -> Iterator[None]:
    """Remove the directories in ``made``, if empty, when the block raises."""
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise
