"""What survives a power failure: files first, then the directories that name them.

A rename is durable once its directory is on the disk; what it names should be there before.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from contextlib import suppress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# Of directories, some network and FUSE file systems say that they cannot be synchronised.
_NO_DIRECTORIES = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_SYNC_FILE_RANGE_WRITE = 2


def start_write_back(descriptor: int, offset: int, length: int) -> None:
    """Let the system begin to write a part of a file to the disk, and do not wait for it.

    Only a head start for sync_tree(), so it is no matter where there is no such call (macOS), and
    none if it fails: an error of the disk is told by the synchronisation.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        begin, count = ctypes.c_int64(offset), ctypes.c_int64(length)
        call(ctypes.c_int(descriptor), begin, count, ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def sync_tree(root: str) -> None:
    """Put all files below a directory on the disk, and all its directories, itself the last."""
    for here, _, names in os.walk(root, topdown=False, onerror=_raise):
        for name in names:
            _sync(os.path.join(here, name), _FILE)
        sync_directory(here)


def sync_directory(path: str) -> None:
    """Put the names in a directory on the disk."""
    try:
        _sync(path, _DIRECTORY)
    except OSError as error:
        if error.errno not in _NO_DIRECTORIES:
            raise


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        if sys.platform == "darwin":
            # There, fsync() leaves what it wrote in the drive's own cache.
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error
