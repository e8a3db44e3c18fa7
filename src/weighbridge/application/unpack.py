"""Archives of a model's files, taken apart while they come.

Decides what of a stranger's archive becomes a file: regular files below the output, once each, and
no more bytes than such a model can have. Links, devices and sparse files are refused by name. What
was written is worth nothing before the last byte came, for the digest is of the whole archive.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from attrs import define, field, frozen

from weighbridge.application.published import Published
from weighbridge.application.streams import stream_of
from weighbridge.domain.artifact import Archive, ArtifactPath, ManifestEntry
from weighbridge.domain.errors import MissingExtra, RegistryRejected

if TYPE_CHECKING:
    from weighbridge.application.ports import Stage

_CHUNK = 1 << 20
#: Of the words about one file; the library has them in memory.
_MOST_WORDS = 1 << 20
_MOST_FILES = 100_000
#: Weights shrink by a third and text to a tenth; what is all zeros shrinks to a thousandth.
_MOST_TIMES = 200
_ANY_SIZE = 16 << 20
_END = bytes(512)
OF_GIT = "{!r}, from which git would run commands that a stranger wrote"
_UNREADABLE: tuple[type[Exception], ...] = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, RecursionError,
    OverflowError,
)  # fmt: skip


class _Excess(Exception):
    """More than a model can have; the argument says of what."""


def require_known(archives: tuple[Archive, ...]) -> None:
    """Raises MissingExtra if an archive cannot be taken apart by what is installed here."""
    if any(archive.form == "tar+zstd" for archive in archives):
        _zstd()


def _zstd() -> Any:
    """The library's own module, or what brings it to a Python before 3.14."""
    try:
        return import_module(
            "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        )
    except ImportError as error:
        problem = "it is packed by zstd: pip install 'weighbridge[oci]'"
        raise MissingExtra(problem=problem, extra="oci") from error


def unpack(
    published: Published, archive: Archive, stage: Stage, advance: Callable[[int], None]
) -> Iterator[ManifestEntry]:
    """Write the files of an archive; each with the sha256 of its bytes on the disk.

    Raises RegistryRejected for what is no archive of ordinary files, and ContentMismatch after the
    last file if it is not the archive that was announced.
    """
    with stream_of(published.chunks(archive.entry, advance)) as came:
        with _typed(published, archive, came):
            yield from _Unpacking(published, archive, stage, _opened(archive, came)).files()
        _to_the_end(came)


def _opened(archive: Archive, came: BinaryIO) -> _Forward:
    if archive.form == "tar":
        return _Forward(came, archive.entry.size)
    # Of zstd's windows those of up to 128 MiB, as its own tools have it.
    zipped: Any = gzip.GzipFile(fileobj=came) if "gzip" in archive.form else _zstd().ZstdFile(came)
    return _Forward(cast(BinaryIO, zipped), _MOST_TIMES * archive.entry.size + _ANY_SIZE)


@define
class _Forward:
    """A stream as the library wants one that can be rewound, which it never does. Of what it reads
    by itself no more than ``words`` bytes are given."""

    stream: BinaryIO
    left: int
    words: int = _MOST_WORDS
    #: What was last read.
    last: bytes = b""
    _position: int = field(default=0, init=False)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence or offset < self._position:
            raise ValueError("leads back to what was read already")
        while self._position < offset and self.content(min(_CHUNK, offset - self._position)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.words:
            raise _Excess(f"more than {_MOST_WORDS} bytes of words about one file")
        self.words -= size
        self.last = self.content(size)
        return self.last

    def content(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        self.require(size)
        found = self.stream.read(size)
        self._position += len(found)
        self.left -= len(found)
        return found

    def require(self, size: int) -> None:
        """Raises _Excess unless ``size`` more bytes may come."""
        # The library looks for an end behind the last byte; and it reads sizes below zero.
        if not 0 <= size <= max(self.left, 1024):
            raise _Excess("more bytes than it can hold")


@frozen
class _Unpacking:
    published: Published
    archive: Archive
    stage: Stage
    stream: _Forward
    _seen: set[str] = field(factory=set, init=False)

    def files(self) -> Generator[ManifestEntry, None, None]:
        with tarfile.open(fileobj=cast(IO[bytes], self.stream), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or all are remembered
                if not member.isdir():
                    yield self._written(member)
                self.stream.words = _MOST_WORDS
        if self.stream.last != _END:  # which the library takes for an end too
            raise EOFError("what comes after its last file is no end")

    def _written(self, member: tarfile.TarInfo) -> ManifestEntry:
        name = member.name.removeprefix("./")
        if not member.isreg() or member.issparse():
            raise self._refused(f"holds {name!r}, which is no ordinary file")
        if (problem := ArtifactPath.problem_with(name)) is not None:
            raise self._refused(f"holds the path {name!r}, which {problem}")
        if (path := ArtifactPath(name)).is_of_git:
            raise self._refused(f"holds {OF_GIT.format(name)}")
        if name in self._seen:
            raise self._refused(f"holds {name!r} twice")
        if len(self._seen) == _MOST_FILES:
            raise _Excess(f"more than {_MOST_FILES} files")
        self._seen.add(name)
        self.stream.require(member.size)
        content = self._content(member.size)
        return self.stage.write(path, content, digest=True, expected=member.size)

    def _content(self, left: int) -> Iterator[bytes]:
        while left:
            chunk = self.stream.content(min(left, _CHUNK))
            if not chunk:
                raise EOFError("it ends within a file")
            left -= len(chunk)
            yield chunk

    def _refused(self, reason: str) -> RegistryRejected:
        return _refused(self.published, self.archive, reason)


@contextmanager
def _typed(published: Published, archive: Archive, came: BinaryIO) -> Iterator[None]:
    try:
        yield
    except _Excess as error:
        raise _refused(published, archive, f"has {error}: that is no model") from None
    except _unreadable(archive) as error:
        _to_the_end(came)  # for it may be that it is not what was announced
        words = " ".join(str(error).split())[:200]
        raise _refused(published, archive, f"cannot be unpacked: {words}") from None


def _unreadable(archive: Archive) -> tuple[type[Exception], ...]:
    return (*_UNREADABLE, _zstd().ZstdError) if archive.form == "tar+zstd" else _UNREADABLE


def _to_the_end(came: BinaryIO) -> None:
    while came.read(_CHUNK):
        pass


def _refused(published: Published, archive: Archive, reason: str) -> RegistryRejected:
    where = f"{archive.entry.path} of revision {published.revision} {reason}"
    return RegistryRejected(destination=str(published.place), reason=where)
