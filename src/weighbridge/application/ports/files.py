"""Where artifacts are read, and where what is made of them is written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Protocol

from weighbridge.application.ports.progress import Buffer

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry, Scan


class Reader(Protocol):
    """One open file; reads are exact or fail."""

    @property
    def size(self) -> int:
        """Bytes at the time of opening."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset``. Raises StorageError if so many bytes are not there."""


class Stage(Protocol):
    """A directory in the making: invisible until committed, gone if not."""

    @property
    def root(self) -> str:
        """Where the staged files can be scanned and read, as any other directory."""

    def require_names(self, paths: Iterable[ArtifactPath]) -> None:
        """Raise now what ``write`` would raise later for any of these names, in an empty stage.

        PathConflict also if two of them, different as they are, are one to this file system.
        """

    def require_room(self, size: int) -> None:
        """Raise StorageFull now if ``size`` bytes in all are more than there is room for, besides
        what can be taken over from a stage before."""

    def write(
        self,
        path: ArtifactPath,
        chunks: Iterable[Buffer],
        *,
        digest: bool = False,
        expected: int = 0,
        known: Digest | None = None,
    ) -> ManifestEntry:
        """Write one file, consuming ``chunks`` once and keeping none of them. Threads may write
        several at a time.

        Returns path and size of what was written, and its sha256 if ``digest``. ``expected`` bytes,
        if so many are known to come, may be set aside before the first is asked for. If ``chunks``
        raises, the error passes through and the file is not part of the stage. Raises PathConflict
        if the path, or a prefix of it, is already a file there; StorageFull, StorageDenied.

        If a stage that this one resumes left ``expected`` bytes at the path whose sha256 is
        ``known``, they are taken over, and ``chunks`` are not asked for.
        """

    def keep(self) -> None:
        """If there is no commit, leave the files that are whole to the next stage that resumes."""

    def commit(self, *, replace: bool = False, only: ArtifactPath | None = None) -> None:
        """Make the whole directory appear at the target, by one rename; or ``only`` one file of it.

        With ``replace`` an existing target is exchanged for it. What returned survives a power
        failure, and one in the middle leaves the old state or the new. Raises PathConflict if the
        target exists and ``replace`` is False; then nothing has changed.
        """


class FileSystem(Protocol):
    """Directories by location; files by artifact path below one. Never follows a symlink."""

    def scan(self, root: str) -> Scan:
        """All files below ``root``, sorted. Symlinks and special files are reported as irregular.

        Raises PathMissing if there is nothing, PathConflict if it is no directory.
        """

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``offset``, exactly; -1 means to the end.

        Raises PathMissing, or StorageError if so many bytes are not there.
        """

    def open(self, root: str, path: ArtifactPath) -> AbstractContextManager[Reader]:
        """The file for ranged reads. Raises PathMissing."""

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        """The file as a new binary stream, which the caller closes. Raises PathMissing."""

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        """A stage that commits to ``target``; None gives scratch room that is never committed.

        Leaving the context without a commit removes everything, whatever the exception, but for
        what is kept. With ``resume`` it can take over what was kept for the target before, or left
        by a process that died; without it, both are removed.
        """
