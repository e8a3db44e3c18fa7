"""Renames that Python does not offer: to a free name only, and the exchange of two names.

Both are one system call on Linux and macOS. Where the file system knows neither, they are made of
ordinary renames, with a moment in which a crash leaves the old directory under its aside name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from enum import IntEnum

_AT_FDCWD = -100
# What kernels and file systems say that do not know the flags.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


class _Linux(IntEnum):
    NOREPLACE = 1
    EXCHANGE = 2


class _MacOS(IntEnum):
    EXCHANGE = 2
    NOREPLACE = 4


def rename_to_free(source: str, target: str) -> None:
    """Rename if nothing is at ``target``, else FileExistsError.

    os.rename alone would silently take the place of an empty directory.
    """
    if _flagged(source, target, "NOREPLACE"):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(source, target)


def exchange(source: str, target: str, aside: str) -> None:
    """Exchange two names. ``aside`` is a free name, used only if there is no atomic way."""
    if _flagged(source, target, "EXCHANGE"):
        return
    os.rename(target, aside)
    try:
        os.rename(source, target)
    except BaseException:
        os.rename(aside, target)
        raise
    os.rename(aside, source)


def _flagged(source: str, target: str, flag: str) -> bool:
    """Do it by one system call; False if that is not to be had here."""
    call = _system_call(flag)
    if call is None:
        return False
    if call(os.fsencode(source), os.fsencode(target)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


def _system_call(flag: str) -> Callable[[bytes, bytes], int] | None:
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        swap = getattr(libc, "renamex_np", None)
        number = ctypes.c_uint(_MacOS[flag])
        return swap and (lambda old, new: int(swap(old, new, number)))
    renameat2 = getattr(libc, "renameat2", None)
    here, bits = ctypes.c_int(_AT_FDCWD), ctypes.c_uint(_Linux[flag])
    return renameat2 and (lambda old, new: int(renameat2(here, old, here, new, bits)))
