"""The FileSystem port on dictionaries, with a fault at any call."""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from attrs import define, field, frozen

from weighbridge.application.ports import Buffer, FileSystem, Reader, Stage
from weighbridge.domain.artifact import (
    ArtifactPath,
    Digest,
    FileEntry,
    IrregularEntry,
    ManifestEntry,
    Scan,
    sorted_entries,
)
from weighbridge.domain.errors import PathConflict, PathMissing, StorageError, StorageFull

_SCRATCH = "/scratch"
#: No machine has more.
_ROOM = 1 << 50


def _location(path: str) -> str:
    return posixpath.normpath(posixpath.join("/work", path))


@define
class _Tree:
    """Files and directories by absolute location."""

    files: dict[str, bytes] = field(factory=dict)
    directories: set[str] = field(factory=lambda: {"/"})

    def exists(self, location: str) -> bool:
        return location in self.files or location in self.directories

    def below(self, location: str) -> list[str]:
        every = [*self.files, *self.directories]
        return [each for each in every if each.startswith(location.rstrip("/") + "/")]

    def make_directories(self, location: str) -> list[str]:
        made: list[str] = []
        while not self.exists(location):
            made.insert(0, location)
            location = posixpath.dirname(location)
        if location in self.files:
            raise PathConflict(path=location, operation="write", reason="is a file")
        self.directories.update(made)
        return made

    def remove_empty(self, made: list[str]) -> None:
        for each in reversed(made):
            if each not in self.directories or self.below(each):
                return
            self.directories.remove(each)

    def remove(self, location: str) -> None:
        for each in [*self.below(location), location]:
            self.files.pop(each, None)
            self.directories.discard(each)

    def rename(self, source: str, target: str) -> None:
        for each in [*self.below(source), source]:
            new = target + each[len(source) :]
            if each in self.files:
                self.files[new] = self.files.pop(each)
            else:
                self.directories.remove(each)
                self.directories.add(new)


class MemoryFiles(FileSystem):
    """``fail_at`` is the number, from 1, of the call that raises ``failure`` and does nothing.

    Calls of readers and stages count too; ``calls`` tells how many there were, so that a test can
    run once to count and then once for each number.
    """

    def __init__(self, fail_at: int | None = None, failure: BaseException | None = None) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.failure = failure
        self._tree = _Tree()
        self._irregular: dict[str, tuple[IrregularEntry, ...]] = {}
        self._rooms = 0
        # By the target, what its stages kept.
        self.kept: dict[str, dict[str, bytes]] = {}

    def seed(
        self,
        root: str,
        files: Mapping[str, bytes],
        irregular: Iterable[IrregularEntry] = (),
    ) -> None:
        """Put files there, over what there is; no call is counted."""
        home = _location(root)
        self._tree.make_directories(home)
        for path, content in files.items():
            location = posixpath.join(home, ArtifactPath(path).text)
            self._tree.make_directories(posixpath.dirname(location))
            self._tree.files[location] = bytes(content)
        if irregular:
            self._irregular[home] = tuple(sorted(irregular, key=lambda entry: entry.name))

    def contents(self) -> dict[str, bytes]:
        """Every file of every directory by location, stages included; no call is counted."""
        return dict(self._tree.files)

    def count(self, operation: str, path: str) -> None:
        """One more call; raises if it is the one that is to fail."""
        self.calls += 1
        if self.calls == self.fail_at:
            reason = "injected"
            raise self.failure or StorageError(path=path, operation=operation, reason=reason)

    def scan(self, root: str) -> Scan:
        self.count("scan", root)
        home = _location(root)
        if home in self._tree.files:
            raise PathConflict(path=root, operation="scan", reason="is a file")
        if home not in self._tree.directories:
            raise PathMissing(path=root, operation="scan")
        skipped = len(home.rstrip("/")) + 1
        found = [each for each in self._tree.below(home) if each in self._tree.files]
        entries = (FileEntry(ArtifactPath(f[skipped:]), len(self._tree.files[f])) for f in found)
        return Scan(files=sorted_entries(entries), irregular=self._irregular.get(home, ()))

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        self.count("read", path.text)
        content = self._content(root, path)
        wanted = len(content) - offset if length == -1 else length
        return _range(content, offset, wanted, path.text)

    @contextmanager
    def open(self, root: str, path: ArtifactPath) -> Iterator[Reader]:
        self.count("read", path.text)
        yield _MemoryReader(self, path.text, self._content(root, path))

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        self.count("read", path.text)
        return io.BytesIO(self._content(root, path))

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        return self._stage(None if target is None else _location(target), resume)

    @contextmanager
    def _stage(self, target: str | None, resume: bool) -> Iterator[Stage]:
        self.count("stage", target or _SCRATCH)
        if target == "/":
            raise PathConflict(path=target, operation="stage", reason="is the root directory")
        parent, name = posixpath.split(target or f"{_SCRATCH}/room")
        made = self._tree.make_directories(parent)
        self._rooms += 1
        room = f"{parent.rstrip('/')}/.{name}.weighbridge-{self._rooms:016x}"
        self._tree.make_directories(room)
        left = self.kept.pop(target or "", {})
        stage = _MemoryStage(self, self._tree, room, target, left if resume else {})
        try:
            yield stage
        finally:
            stage.leave()
            self._tree.remove(room)
            if not stage.committed:
                self._tree.remove_empty(made)

    def _content(self, root: str, path: ArtifactPath) -> bytes:
        location = posixpath.join(_location(root), path.text)
        if location in self._tree.directories:
            raise PathConflict(path=path.text, operation="read", reason="is a directory")
        if location not in self._tree.files:
            raise PathMissing(path=path.text, operation="read")
        return self._tree.files[location]


def _range(content: bytes, offset: int, length: int, path: str) -> bytes:
    if offset < 0 or length < 0 or offset + length > len(content):
        raise StorageError(path=path, operation="read", reason="so many bytes are not there")
    return content[offset : offset + length]


@frozen
class _MemoryReader:
    owner: MemoryFiles
    path: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        self.owner.count("read", self.path)
        found = _range(self.content, offset, buffer.nbytes, self.path)
        if found:
            buffer.cast("B")[:] = found


@define
class _MemoryStage:
    owner: MemoryFiles
    tree: _Tree
    room: str
    target: str | None
    left: dict[str, bytes]
    committed: bool = False
    kept: bool = False

    @property
    def root(self) -> str:
        return self.target if self.committed and self.target else self.room

    def require_names(self, paths: Iterable[ArtifactPath]) -> None:
        self._require_open("write", self.room)
        names = [path.text for path in paths]
        folders = {folder for path in map(ArtifactPath, names) for folder in path.parents}
        for index, name in enumerate(names):
            if name in folders or name in names[:index]:
                raise PathConflict(path=name, operation="write", reason="is there already")

    def require_room(self, size: int) -> None:
        self._require_open("write", self.room)
        if size > _ROOM:
            raise StorageFull(path=self.room, operation="write", reason=f"{size} bytes to come")

    def write(
        self,
        path: ArtifactPath,
        chunks: Iterable[Buffer],
        *,
        digest: bool = False,
        expected: int = 0,
        known: Digest | None = None,
    ) -> ManifestEntry:
        self._require_open("write", path.text)
        location = posixpath.join(self.room, path.text)
        found = self.left.get(path.text, b"")
        if path.text in self.left and known == Digest("sha256", hashlib.sha256(found).hexdigest()):
            chunks = [found]
        made = self.tree.make_directories(posixpath.dirname(location))
        try:
            if self.tree.exists(location):
                raise PathConflict(path=path.text, operation="write", reason="is there already")
            # Each is copied before the next is asked for: it is valid only until then.
            content = b"".join([bytes(chunk) for chunk in chunks])
        except BaseException:
            self.tree.remove_empty(made)
            raise
        self.tree.files[location] = content
        digests = (Digest("sha256", hashlib.sha256(content).hexdigest()),) if digest else ()
        return ManifestEntry(path, len(content), digests)

    def commit(self, *, replace: bool = False, only: ArtifactPath | None = None) -> None:
        self._require_open("commit", self.room)
        if self.target is None:
            raise StorageError(path=self.room, operation="commit", reason="is scratch room")
        if self.tree.exists(self.target) and not replace:
            raise PathConflict(path=self.target, operation="commit", reason="is there already")
        self.tree.remove(self.target)
        self.tree.rename(self.room if only is None else f"{self.room}/{only}", self.target)
        self.tree.remove(self.room)
        self.committed = True

    def keep(self) -> None:
        self.kept = True

    def leave(self) -> None:
        if self.kept and not self.committed and self.target:
            whole = {
                name.removeprefix(f"{self.room}/"): content
                for name, content in self.tree.files.items()
                if name.startswith(f"{self.room}/")
            }
            self.owner.kept[self.target] = self.left | whole

    def _require_open(self, operation: str, path: str) -> None:
        self.owner.count(operation, path)
        if self.committed:
            reason = "the stage is committed"
            raise StorageError(path=path, operation=operation, reason=reason)
        if self.room not in self.tree.directories:
            raise PathMissing(path=path, operation=operation, reason="a parent was replaced")
