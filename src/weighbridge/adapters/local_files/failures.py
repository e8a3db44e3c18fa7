"""What the operating system says, in the words of the port."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from weighbridge.domain.errors import (
    PathConflict,
    PathMissing,
    StorageDenied,
    StorageError,
    StorageFull,
)

_FAMILIES: dict[type[StorageError], tuple[int, ...]] = {
    PathMissing: (errno.ENOENT,),
    # ENXIO is what opening a socket gives.
    PathConflict: (
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENXIO,
    ),
    # EFBIG also is what a process with a file size limit gets.
    StorageFull: (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    StorageDenied: (errno.EACCES, errno.EPERM, errno.EROFS),
}
_BY_NUMBER = {number: family for family, numbers in _FAMILIES.items() for number in numbers}


def printable(text: str) -> str:
    """``text`` as it is if it can be printed; else escaped, so that no terminal obeys it."""
    return text if text.isprintable() else escaped(text)


def escaped(text: str) -> str:
    """``text`` in ASCII; undecodable bytes of a file name come out as \\udcXX."""
    return text.encode("unicode_escape").decode("ascii")


@contextmanager
def translated(operation: str, path: str) -> Iterator[None]:
    """Raises errors of the operating system as those of the StorageError family."""
    try:
        yield
    except OSError as error:
        family = _BY_NUMBER.get(error.errno or 0, StorageError)
        reason = error.strerror or str(error)
        raise family(path=printable(path), operation=operation, reason=reason) from error
    except ValueError as error:
        # A zero byte or a lone surrogate: no file system has such a name.
        raise StorageError(path=printable(path), operation=operation, reason=str(error)) from error
