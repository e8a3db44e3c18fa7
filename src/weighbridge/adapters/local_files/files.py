"""The FileSystem port on the local disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.adapters.local_files.failures import translated
from weighbridge.adapters.local_files.reading import LocalReader, open_file
from weighbridge.adapters.local_files.scanning import scan_directory
from weighbridge.adapters.local_files.stage import open_stage
from weighbridge.application.ports import FileSystem, Reader, Stage

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, Scan


class LocalFiles(FileSystem):
    """Follows no symlink below a root, with one exception.

    The snapshots of a Hugging Face cache are made of links into the ``blobs`` directory of the same
    model; below such a root, those links and no others are files.
    """

    def scan(self, root: str) -> Scan:
        """All files below ``root``, and all that is odd."""
        return scan_directory(root)

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        """Exactly so many bytes."""
        with self.open(root, path) as reader:
            assert isinstance(reader, LocalReader)
            return reader.read(offset, length)

    @contextmanager
    def open(self, root: str, path: ArtifactPath) -> Iterator[Reader]:
        """The file for ranged reads."""
        shown = os.path.join(root, path.text)
        with translated("read", shown):
            descriptor = open_file(root, path.text)
        try:
            yield LocalReader.of(descriptor, shown)
        finally:
            os.close(descriptor)

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        """The file as a buffered stream, which the caller closes."""
        with translated("read", os.path.join(root, path.text)):
            return os.fdopen(open_file(root, path.text), "rb")

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        """A stage beside ``target``; in the system's temporary directory for None."""
        return open_stage(target, resume=resume)
