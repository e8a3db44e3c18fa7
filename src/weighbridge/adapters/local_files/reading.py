"""Opening and reading regular files below a root, through no symlink but a model cache's own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from attrs import frozen

from weighbridge.adapters.local_files.failures import printable, translated
from weighbridge.domain.errors import StorageError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a fifo that nobody writes to would wait for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# macOS refuses a single read of 2 GiB or more.
_MOST_AT_ONCE = 1 << 30


def open_directory(root: str, parts: Sequence[str]) -> int:
    """A descriptor of the directory; only ``root`` itself may be reached through symlinks.

    Goes part by part: O_NOFOLLOW guards just the last part of what is opened.
    """
    descriptor = os.open(root, _DIRECTORY)
    for part in parts:
        try:
            deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = deeper
    return descriptor


def open_regular(name: str, directory: int) -> int:
    """A descriptor of the regular file ``name`` in ``directory``; anything else is an OSError."""
    descriptor = os.open(name, _FILE, dir_fd=directory)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EEXIST
    raise OSError(number, "is a directory" if stat.S_ISDIR(mode) else "is no regular file")


def blob_directory(root: str) -> str | None:
    """The blobs of the cached model if ``root`` is in a Hugging Face cache snapshot, else None."""
    parts = os.path.realpath(root).split(os.sep)
    for index in range(len(parts) - 3, 0, -1):
        if parts[index].startswith("models--") and parts[index + 1] == "snapshots":
            return os.path.join(os.sep, *parts[: index + 1], "blobs")
    return None


def open_blob(root: str, path: str) -> int | None:
    """A descriptor of what a snapshot's link at ``path`` stands for; None if it is no such link."""
    blobs = blob_directory(root)
    resolved = os.path.realpath(os.path.join(os.path.realpath(root), path))
    if blobs is None or os.path.dirname(resolved) != blobs:
        return None
    directory = os.open(blobs, _DIRECTORY | os.O_NOFOLLOW)
    try:
        return open_regular(os.path.basename(resolved), directory)
    finally:
        os.close(directory)


def open_file(root: str, path: str) -> int:
    """A descriptor of the file at ``path`` below ``root``."""
    *parents, name = path.split("/")
    try:
        directory = open_directory(root, parents)
    except NotADirectoryError as error:
        reason = "a part of the path is no directory"
        raise FileNotFoundError(errno.ENOENT, reason) from error
    try:
        return open_regular(name, directory)
    except OSError as error:
        blob = open_blob(root, path) if error.errno == errno.ELOOP else None
        if blob is None:
            raise
        return blob
    finally:
        os.close(directory)


@frozen
class LocalReader:
    """Ranged reads of one open descriptor, which the opener closes."""

    descriptor: int
    size: int
    shown: str

    @classmethod
    def of(cls, descriptor: int, shown: str) -> LocalReader:
        """A reader of that descriptor as large as it is now."""
        return cls(descriptor, os.fstat(descriptor).st_size, printable(shown))

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset``; all of it or StorageError."""
        self._require(offset, buffer.nbytes)
        if not buffer.nbytes:
            return
        rest = buffer.cast("B")
        while rest:
            with translated("read", self.shown):
                count = os.preadv(self.descriptor, [rest[:_MOST_AT_ONCE]], offset)
            if not count:
                raise self._short(offset, len(rest))
            rest, offset = rest[count:], offset + count

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; -1 means to the end."""
        wanted = self.size - offset if length == -1 else length
        # Asked first, so that a length out of a broken file allocates nothing.
        self._require(offset, wanted)
        content = bytearray(wanted)
        self.read_into(memoryview(content), offset)
        return bytes(content)

    def _require(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self._short(offset, length)

    def _short(self, offset: int, length: int) -> StorageError:
        reason = f"{length} bytes from {offset} are not there; the size is {self.size}"
        return StorageError(path=self.shown, operation="read", reason=reason)
