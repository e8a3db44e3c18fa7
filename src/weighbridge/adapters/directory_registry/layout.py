"""One model in a Hugging Face cache: blobs, snapshots, refs.

Decides the names of directories and the meaning of a snapshot's links. Readers never wait: what
they can see through ``refs`` is complete, because refs are written last.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.adapters.directory_registry import storage
from weighbridge.adapters.directory_registry.hashing import (
    Hashes,
    digest_of_name,
    read_through,
    wanted_algorithms,
)
from weighbridge.adapters.directory_registry.record import Record, iso
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import DestinationMissing, RegistryRejected
from weighbridge.domain.publication import Revision, full_id

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress
    from weighbridge.domain.publication import LocalRegistry

#: Whatever starts so was left by an interrupted push; the next push takes over what is whole of it
#: and removes the rest.
TEMPORARY = ".weighbridge-"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelDirectory:
    """The directory of one model, and what a loader would find there."""

    def __init__(self, destination: LocalRegistry) -> None:
        self._destination = destination
        folder = "models--" + destination.name.replace("/", "--")
        root = Path(destination.root)
        self._locks = root / ".locks" / folder
        self.path = root / folder
        self.blobs = self.path / "blobs"
        self.record = Record(self.path)
        self._refs = self.path / "refs"
        self._branch = destination.revision

    def snapshot(self, revision: str) -> Path:
        """Where the files of a revision are."""
        return self.path / "snapshots" / revision

    def current(self) -> str | None:
        """The revision that the ref names; None if there is none, or if its files are gone."""
        return self._named(self._branch)

    def _named(self, ref: str) -> str | None:
        try:
            revision = (self._refs / ref).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return revision if self.snapshot(revision).is_dir() else None

    def resolve(self, revision: str) -> str:
        """The revision of that id, beginning of an id, tag or branch. Raises DestinationMissing."""
        found: str | None = None
        if _COMMIT.fullmatch(revision):
            found = revision if self.snapshot(revision).is_dir() else None
        elif ArtifactPath.problem_with(revision) is None:
            found = self._named(revision) or self._lengthened(revision)
        if found is None:
            reason = f"no revision {revision}"
            raise DestinationMissing(destination=str(self._destination), reason=reason)
        return found

    def _lengthened(self, start: str) -> str | None:
        return full_id((each.name for each in (self.path / "snapshots").glob("*")), start)

    def history(self) -> Iterator[Revision]:
        """What the branch named, the last first, as far as it is still there."""
        current = self.current()
        if current is None:
            return
        told = [e for e in self.record.history(self._branch) if self.snapshot(e.id).is_dir()]
        at = next((n for n, each in enumerate(told) if each.id == current), None)
        if at is None:  # Somebody else's tool put the ref there.
            moment = datetime.fromtimestamp((self._refs / self._branch).stat().st_mtime, UTC)
            yield Revision(current, iso(moment), "")
        yield from told[at or 0 :]

    def whole(self, revision: str) -> bool:
        """Whether no file of a snapshot lacks its blob."""
        snapshot = self.snapshot(revision)
        return all((snapshot / path.text).exists() for path in self._paths(snapshot))

    def manifest(self, revision: str, *, rehash: Progress | None) -> Manifest:
        """The files of a revision: digests as the blobs' names have them, or with ``rehash``, which
        is told how far that is, from their bytes.

        A file whose blob is missing is not there.
        """
        snapshot = self.snapshot(revision)
        sizes = {
            path: size
            for path in self._paths(snapshot)
            if (size := _size(snapshot / path.text)) is not None
        }
        done, total = 0, sum(sizes.values())

        def advance(chunk: bytes) -> None:
            nonlocal done
            done += len(chunk)
            assert rehash is not None
            rehash("reading back", done, total)

        return Manifest(
            ManifestEntry(
                path, size,
                self._digests(snapshot / path.text, size, advance if rehash else None),
            ) for path, size in sizes.items()
        )  # fmt: skip

    def blob_name(self, revision: str, path: ArtifactPath) -> Digest | None:
        """The digest that names the blob behind a file; None for a copy without a blob."""
        file = self.snapshot(revision) / path.text
        return digest_of_name(os.path.basename(os.readlink(file))) if file.is_symlink() else None

    def file(self, revision: str, path: ArtifactPath) -> Path:
        """Where the bytes of a file are. Raises RegistryRejected if a link leads to others' files:
        what is opened here is sent to other places."""
        found = (self.snapshot(revision) / path.text).resolve()
        if not found.is_relative_to(self.path.resolve()):
            reason = f"{path} is a link that leads out of the registry"
            raise RegistryRejected(destination=str(self._destination), reason=reason)
        return found

    def _digests(
        self, file: Path, size: int, advance: Callable[[bytes], object] | None
    ) -> tuple[Digest, ...]:
        if advance is None and file.is_symlink():
            name = digest_of_name(os.path.basename(os.readlink(file)))
            if name is not None:
                return (name,)
        hashes = Hashes(size, wanted_algorithms(file.name, size))
        with file.open("rb") as stream:
            read_through(stream, hashes, advance or len)
        return hashes.digests()

    def _paths(self, snapshot: Path) -> Iterator[ArtifactPath]:
        for folder, _, files in os.walk(snapshot, onerror=_raise):
            for name in files:
                text = (Path(folder) / name).relative_to(snapshot).as_posix()
                problem = ArtifactPath.problem_with(text)
                if problem is not None:
                    reason = f"holds the path {text!r}, which {problem}"
                    raise RegistryRejected(destination=str(self._destination), reason=reason)
                yield ArtifactPath(text)

    # --- writing -------------------------------------------------------------------------------

    def lock(self) -> AbstractContextManager[None]:
        """The right to write; every writer of this model waits here for the one before."""
        return storage.exclusive_lock(self._locks / "weighbridge.lock")

    def prepare(self, *, keep: bool = False) -> None:
        """Make the directories, and remove what interrupted pushes left; with ``keep``, not the
        blobs that ``left`` gives. Needs the lock.

        A new model appears by one rename: the Hub's client calls one without ``snapshots`` corrupt.
        """
        for holder in (self._locks, self.path):
            for left in holder.glob(f"{TEMPORARY}*"):
                if not (keep and (left / "blobs").is_dir()):
                    shutil.rmtree(left)
        if not self.path.exists():
            made = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._locks)) / self.path.name
            (made / "snapshots").mkdir(parents=True)
            os.rename(made, self.path)
            made.parent.rmdir()
        for folder in (self.blobs, self.path / "snapshots", self.path / "refs"):
            folder.mkdir(exist_ok=True)
        storage.sync_directory(self.path)

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A temporary directory on the same file system, gone afterwards with what others left.

        After a failure its ``blobs`` stay for the next push, unless it was the room that lacked.
        """
        work = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.path))
        try:
            yield work
        except BaseException as error:
            if storage.lacks_room(error):
                self._clear()
            raise
        self._clear()

    def left(self) -> dict[str, Path]:
        """Blobs that interrupted pushes had finished, by their names. They are on the disk."""
        return {each.name: each for each in self.path.glob(f"{TEMPORARY}*/blobs/*")}

    def _clear(self) -> None:
        for left in self.path.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left)

    def publish(
        self, work: Path, revision: str, names: dict[ArtifactPath, str], message: str
    ) -> None:
        """Show a revision whose blobs are in place: the snapshot first, the ref last."""
        made = work / "snapshot"
        made.mkdir()
        for path, name in names.items():
            (made / path.text).parent.mkdir(parents=True, exist_ok=True)
            # As deep below the model as the snapshot will be, so links hold before the rename too.
            target = "../" * (path.text.count("/") + 2) + f"blobs/{name}"
            storage.link_or_copy(target, made / path.text)
        storage.sync_tree(made)
        snapshot = self.snapshot(revision)
        if snapshot.exists() and not self._shows(snapshot, names):
            os.rename(snapshot, work / "damaged")
        if not snapshot.exists():
            os.rename(made, snapshot)
        storage.sync_directory(snapshot.parent)
        self.point(work, revision, message)

    def _shows(self, snapshot: Path, names: dict[ArtifactPath, str]) -> bool:
        """Whether a snapshot of that revision is already there and whole."""
        revision = snapshot.name
        found = {path: self.blob_name(revision, path) for path in self._paths(snapshot)}
        return {p: d.value for p, d in found.items() if d is not None} == names

    def point(self, work: Path, revision: str, message: str) -> None:
        """Make the branch name a revision: the one step that readers see."""
        if revision != self.current():
            self.record.add(self._branch, revision, message)
        self._write_ref(work, self._branch, revision)

    def tag(self, work: Path, name: str, revision: str) -> None:
        """Make a tag name a revision, for loaders too."""
        self.record.set_tag(work, name, revision)
        self._write_ref(work, name, revision)

    def names_a_branch(self, name: str) -> bool:
        """Whether a ref of that name is there that is no tag."""
        return name not in self.record.tags() and (self._refs / name).exists()

    def _write_ref(self, work: Path, name: str, revision: str) -> None:
        storage.write_text(work / "ref", revision)
        ref = self._refs / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work / "ref", ref)
        storage.sync_directory(ref.parent)


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _raise(error: OSError) -> None:
    raise error
