"""The operating system's calls of the directory registry, made durable and given typed errors.

Decides which errno means which error, and that a rename counts once its directory is on disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weighbridge.domain.errors import (
    PathConflict,
    PathMissing,
    StorageDenied,
    StorageError,
    StorageFull,
)

_KINDS: dict[int | None, type[StorageError]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), StorageFull),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), StorageDenied),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY), PathConflict),
    errno.ENOENT: PathMissing,
}
# Of directories, some network and FUSE file systems say that they cannot be synchronised.
_NO_DIRECTORIES = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
#: What a file system without symlinks says when asked for one.
_NO_SYMLINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


@contextmanager
def typed_errors(where: Path, operation: str) -> Iterator[None]:
    """Turn an OSError into the StorageError that says whose turn it is to act."""
    try:
        yield
    except OSError as error:
        kind = _KINDS.get(error.errno, StorageError)
        path = error.filename if isinstance(error.filename, str) else str(where)
        raise kind(path=path, operation=operation, reason=error.strerror or str(error)) from error


def lacks_room(error: BaseException) -> bool:
    """Whether the disk, or what is allowed of it, is full."""
    return isinstance(error, OSError) and _KINDS.get(error.errno) is StorageFull


def require_room(where: Path, size: int) -> None:
    """Raises OSError if so many bytes are more than are free, as far as the file system tells."""
    status = os.statvfs(where)
    free = status.f_bavail * status.f_frsize
    if status.f_blocks and size > free:
        reason = f"{os.strerror(errno.ENOSPC)}: {size} bytes are to come, and {free} are free"
        raise OSError(errno.ENOSPC, reason, str(where))


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file; waits for another writer. The system frees it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync_directory(path: Path) -> None:
    """Put the entries of a directory on disk, where the file system knows how to."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_DIRECTORIES:
            raise
    finally:
        os.close(handle)


def sync_tree(root: Path) -> None:
    """Put the entries of a directory and of all below it on disk."""
    for folder, _, _ in os.walk(root):
        sync_directory(Path(folder))


def write_text(path: Path, text: str) -> None:
    """Write a new file, durably."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def link_or_copy(target: str, link: Path) -> None:
    """Make a relative symlink, or a copy where the file system has no symlinks."""
    try:
        os.symlink(target, link)
    except OSError as error:
        if error.errno not in _NO_SYMLINKS:
            raise
        shutil.copyfile(link.parent / target, link)
        with link.open("rb") as file:
            os.fsync(file.fileno())
