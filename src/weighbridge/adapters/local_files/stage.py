"""A directory in the making: a locked temporary sibling of its target, until one rename."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from weighbridge.adapters.local_files import durability, renames, rooms
from weighbridge.adapters.local_files.failures import printable, translated
from weighbridge.adapters.local_files.reading import open_file
from weighbridge.adapters.local_files.trial import try_names
from weighbridge.adapters.local_files.writing import fill
from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry
from weighbridge.domain.errors import PathConflict, PathMissing, StorageError, StorageFull

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer

_LONGEST_LABEL = 200
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class _Names:
    """The target, and the hidden names beside it that belong to it."""

    target: str

    @property
    def parent(self) -> str:
        return os.path.dirname(self.target)

    @property
    def label(self) -> str:
        name = os.path.basename(self.target)
        encoded = os.fsencode(name)
        # The hidden names are longer, and no name may have more than 255 bytes.
        return name if len(encoded) <= _LONGEST_LABEL else hashlib.sha256(encoded).hexdigest()

    @property
    def prefix(self) -> str:
        return f".{self.label}.weighbridge-"

    @property
    def aside(self) -> str:
        """One fixed name, outside of what is swept: it may be the only copy of the target."""
        return os.path.join(self.parent, f".{self.label}.replaced-by-weighbridge")

    def recover(self) -> None:
        """Finish what a crash in the two-step exchange left: back or away with the old one."""
        if not os.path.lexists(self.aside):
            return
        with suppress(OSError):
            try:
                renames.rename_to_free(self.aside, self.target)
            except FileExistsError:
                rooms.remove(self.aside)


@contextmanager
def open_stage(target: str | None, *, resume: bool = False) -> Iterator[LocalStage]:
    """A stage for ``target``, or scratch room; what is not committed or kept is gone afterwards."""
    if target is None:
        with _scratch() as stage:
            yield stage
        return
    names = _Names(os.path.abspath(target))
    if names.target == os.path.dirname(names.target):
        raise PathConflict(path=target, operation="stage", reason="is the root directory")
    with translated("stage", names.target):
        _require_replaceable(names.target)
        made = rooms.make_directories(names.parent)
        with rooms.removed_on_failure(made):
            left = rooms.claim(names.parent, names.prefix) if resume else []
            rooms.sweep(names.parent, names.prefix)
            names.recover()
            room = rooms.make_room(names.parent, names.prefix, 0o777)
    stage = LocalStage(room, names, made, left)
    try:
        yield stage
    finally:
        stage.leave()
        if not stage.committed:
            rooms.remove_empty(made)


def _require_replaceable(target: str) -> None:
    """Of a device like /dev/null the machine would be without it."""
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        reason = "is a device, a pipe or a socket, which no output replaces"
        raise PathConflict(path=printable(target), operation="stage", reason=reason)


@contextmanager
def _scratch() -> Iterator[LocalStage]:
    parent = tempfile.gettempdir()
    with translated("stage", parent):
        rooms.sweep(parent, "weighbridge-scratch-")
        room = rooms.make_room(parent, "weighbridge-scratch-", 0o700)
    stage = LocalStage(room, None, ())
    try:
        yield stage
    finally:
        stage.leave()


@define
class LocalStage:
    """See the port. After the commit ``root`` is the target, and the stage takes no more."""

    _room: rooms.Room
    _names: _Names | None
    # Parents of the target that were made for it, outermost first.
    _made: Sequence[str]
    # Rooms of stages before, which may be taken over from.
    _left: Sequence[rooms.Room] = ()
    committed: bool = False
    _kept: bool = field(default=False, init=False)
    # A directory that one thread makes may be where another is about to write.
    _placing: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @property
    def root(self) -> str:
        """Where the files are now."""
        return self._names.target if self.committed and self._names else self._room.path

    def require_names(self, paths: Iterable[ArtifactPath]) -> None:
        """Tried out in the room itself, which is where they will be."""
        self._require_open("write", self._room.path)
        try_names(self._room.path, paths)

    def require_room(self, size: int) -> None:
        """As far as the file system tells: of quotas it does not."""
        self._require_open("write", self._room.path)
        with translated("write", self._room.path):
            status = os.statvfs(self._room.path)
        free = status.f_bavail * status.f_frsize
        if status.f_blocks and size - sum(map(_size, self._left)) > free:
            reason = f"{size} bytes are to come, and {free} are free"
            raise StorageFull(path=printable(self.root), operation="write", reason=reason)

    def write(
        self,
        path: ArtifactPath,
        chunks: Iterable[Buffer],
        *,
        digest: bool = False,
        expected: int = 0,
        known: Digest | None = None,
    ) -> ManifestEntry:
        """Write one new file; if that fails nothing of it is left."""
        self._require_open("write", path.text)
        location = os.path.join(self._room.path, path.text)
        shown = self._shown(path)
        with self._placing:
            with translated("write", shown):
                made = rooms.make_directories(os.path.dirname(location))
            with rooms.removed_on_failure(made):
                if known is not None:
                    wanted = ManifestEntry(path, expected, (known,))
                    if self._take_over(wanted):
                        return wanted
                with translated("write", shown):
                    descriptor = os.open(location, _NEW_FILE, 0o666)
        try:
            size, digests = fill(
                descriptor, shown, chunks,
                digest=digest, durable=self._names is not None, expected=expected,
            )  # fmt: skip
        except BaseException:
            with self._placing:
                rooms.remove(location)
                rooms.remove_empty(made)
            raise
        return ManifestEntry(path, size, digests)

    def _shown(self, path: ArtifactPath) -> str:
        """What a file is called in errors; in scratch room by where it is, for who sees an error
        named no such place, and it may be that disk which is full."""
        return path.text if self._names else os.path.join(self._room.path, path.text)

    def commit(self, *, replace: bool = False, only: ArtifactPath | None = None) -> None:
        """Appear at the target, by one rename; a replaced target is removed afterwards.

        A power failure leaves the old state or the new one: what is renamed is on the disk before,
        and the new name is before the old files are removed.
        """
        self._require_open("commit", self._room.path)
        if self._names is None:
            raise StorageError(path=self.root, operation="commit", reason="is scratch room")
        with translated("commit", self._names.target):
            durability.sync_tree(self._room.path)
            made = self._room.path if only is None else os.path.join(self._room.path, only.text)
            self.committed = True
            try:
                if not (replace and self._exchange(made, self._names)):
                    renames.rename_to_free(made, self._names.target)
            except BaseException:
                self.committed = False
                raise
            for parent in (self._names.parent, *map(os.path.dirname, reversed(self._made))):
                durability.sync_directory(parent)
        # After an exchange, this is where the old one is; after a single file, its empty room.
        rooms.remove(self._room.path)

    def _exchange(self, made: str, names: _Names) -> bool:
        """Change places with the target; False if there is none."""
        if not os.path.lexists(names.target):
            return False
        renames.exchange(made, names.target, names.aside)
        return True

    def _take_over(self, entry: ManifestEntry) -> bool:
        """Move the file here from a stage before, if there is just that content at its path."""
        location = os.path.join(self._room.path, entry.path.text)
        for room in self._left:
            if not os.path.lexists(location) and _is(room.path, entry):
                with translated("write", self._shown(entry.path)):
                    os.rename(os.path.join(room.path, entry.path.text), location)
                return True
        return False

    def keep(self) -> None:
        """Leave what is whole to the next stage, as a process that dies does."""
        self._kept = True

    def leave(self) -> None:
        """Remove what was not committed or kept, and give the locks back."""
        kept = self._kept and not self.committed
        for room in (self._room, *self._left):
            if not (kept and _holds_files(room.path)):
                rooms.remove(room.path)
            with suppress(OSError):
                os.close(room.descriptor)

    def _require_open(self, operation: str, path: str) -> None:
        if self.committed:
            reason = "the stage is committed"
            raise StorageError(path=printable(path), operation=operation, reason=reason)
        # Gone if a parent was replaced. A write would make it again, with no lock and no commit.
        if not os.path.isdir(self._room.path):
            reason = "the stage is gone; a parent was replaced"
            raise PathMissing(path=printable(path), operation=operation, reason=reason)


def _size(room: rooms.Room) -> int:
    """The bytes of all files in a room; those that vanish have none."""
    total = 0
    for here, _, names in os.walk(room.path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(here, name)).st_size
    return total


def _holds_files(path: str) -> bool:
    return any(files for _, _, files in os.walk(path))


def _is(root: str, entry: ManifestEntry) -> bool:
    """Whether the regular file at the entry's path is just what it says; it is read for that."""
    try:
        with os.fdopen(open_file(root, entry.path.text), "rb") as stream:
            return os.fstat(stream.fileno()).st_size == entry.size and entry.digests == (
                Digest("sha256", hashlib.file_digest(stream, "sha256").hexdigest()),
            )
    except (OSError, StorageError):
        return False
