"""One new file out of chunks: hashed in passing, on its way to the disk while more is made."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field

from weighbridge.adapters.local_files.durability import start_write_back
from weighbridge.adapters.local_files.failures import translated
from weighbridge.domain.artifact import Digest

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer

# Begun in larger parts than the disk needs: each call takes locks that the next write waits for.
_WRITE_BACK = 32 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE: what is set aside and not written is no part of the file
_WORTH_SETTING_ASIDE = 16 << 20


def fill(
    descriptor: int,
    shown: str,
    chunks: Iterable[Buffer],
    *,
    digest: bool,
    durable: bool,
    expected: int = 0,
) -> tuple[int, tuple[Digest, ...]]:
    """Write all chunks and close the descriptor, whatever happens; the size and the digest.

    ``shown`` names the file in errors of the StorageError family. With ``durable`` the disk is set
    to work at once, so that a later synchronisation finds little to do.
    """
    file = _File(descriptor, shown, durable, hashlib.sha256() if digest else None)
    try:
        with translated("write", shown):
            _set_aside(descriptor, expected)
        # One thread each for the hash and the disk.
        with ThreadPoolExecutor(max_workers=2) as pool:
            for chunk in chunks:
                file.append(_flat(chunk), pool)
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    # Network file systems tell of a full disk only here.
    with translated("write", shown):
        os.close(descriptor)
    return file.size, file.digests


def _set_aside(descriptor: int, expected: int) -> None:
    """Reserve room for a large file: one extent is found faster than a thousand small ones.

    Raises OSError if the disk has no such room, before anything was made to put there. Not by
    posix_fallocate(), which writes to every block where the file system knows of no such thing.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is None or expected < _WORTH_SETTING_ASIDE:
        return
    start, length = ctypes.c_int64(0), ctypes.c_int64(expected)
    failed = call(ctypes.c_int(descriptor), ctypes.c_int(_KEEP_SIZE), start, length)
    if failed and (number := ctypes.get_errno()) in _FULL:
        raise OSError(number, os.strerror(number))


@define
class _File:
    """An open file and what has been written of it."""

    descriptor: int
    shown: str
    durable: bool
    hasher: Any
    size: int = 0
    _begun: int = field(default=0, init=False)
    _beginning: Future[None] | None = field(default=None, init=False)

    def append(self, view: memoryview, pool: ThreadPoolExecutor) -> None:
        """Write a chunk, and hash it in another thread; return when both are done."""
        hashed = None
        if self.hasher is not None:
            hashed = pool.submit(self.hasher.update, view)
        try:
            self._write(view)
        finally:
            if hashed is not None:
                hashed.result()
        if self.durable and self.size - self._begun >= _WRITE_BACK:
            self._begin_write_back(pool)

    def _begin_write_back(self, pool: ThreadPoolExecutor) -> None:
        """In its own thread, for it waits while the disk is busy; the next time with more."""
        if self._beginning is None or self._beginning.done():
            part = (self._begun, self.size - self._begun)
            self._beginning = pool.submit(start_write_back, self.descriptor, *part)
            self._begun = self.size

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The sha256 of all that was written, if it was asked for."""
        return (Digest("sha256", self.hasher.hexdigest()),) if self.hasher is not None else ()

    def _write(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            with translated("write", self.shown):
                # macOS refuses a single write of 2 GiB or more.
                done += os.write(self.descriptor, view[done : done + (1 << 30)])
        self.size += done


def _flat(chunk: Buffer) -> memoryview:
    view = memoryview(chunk)
    # A view of no bytes cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")
