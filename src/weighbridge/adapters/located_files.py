"""One FileSystem over two: what begins with ``hf://`` is on the Hub, everything else is local."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from weighbridge.application.ports import FileSystem, Reader, Stage

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, Scan

_HUB = "hf://"


@frozen
class LocatedFiles(FileSystem):
    """Hands every call to the file system that the location names."""

    local: FileSystem
    hub: Callable[[], FileSystem]

    def scan(self, root: str) -> Scan:
        """See the port."""
        return self._at(root).scan(root)

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        """See the port."""
        return self._at(root).read(root, path, offset, length)

    def open(self, root: str, path: ArtifactPath) -> AbstractContextManager[Reader]:
        """See the port."""
        return self._at(root).open(root, path)

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        """See the port."""
        return self._at(root).open_stream(root, path)

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        """See the port."""
        return self._at(target or "").stage(target, resume=resume)

    def _at(self, root: str) -> FileSystem:
        return self.hub() if root.startswith(_HUB) else self.local
