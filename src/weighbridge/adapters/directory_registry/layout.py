"""One model in a Hugging Face cache: blobs, snapshots, refs.

Decides the names of directories and the meaning of a snapshot's links. Readers never wait: what
they can see through ``refs`` is complete, because refs are written last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.adapters.directory_registry import storage
from weighbridge.adapters.directory_registry.hashing import Hashes, digest_of_name, read_through
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import RegistryRejected

if TYPE_CHECKING:
    from weighbridge.domain.publication import LocalRegistry

#: Whatever starts so was left by an interrupted push; the next push removes it.
TEMPORARY = ".weighbridge-"


class ModelDirectory:
    """The directory of one model, and what a loader would find there."""

    def __init__(self, destination: LocalRegistry) -> None:
        self._destination = destination
        folder = "models--" + destination.name.replace("/", "--")
        root = Path(destination.root)
        self._locks = root / ".locks" / folder
        self.path = root / folder
        self.blobs = self.path / "blobs"
        self.ref = self.path / "refs" / destination.revision

    def snapshot(self, revision: str) -> Path:
        """Where the files of a revision are."""
        return self.path / "snapshots" / revision

    def current(self) -> str | None:
        """The revision that the ref names; None if there is none, or if its files are gone."""
        try:
            revision = self.ref.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return revision if self.snapshot(revision).is_dir() else None

    def manifest(self, revision: str, *, rehash: bool) -> Manifest:
        """The files of a revision: digests as the blobs' names have them, or from their bytes.

        A file whose blob is missing is not there.
        """
        snapshot = self.snapshot(revision)
        return Manifest(
            ManifestEntry(path, size, self._digests(snapshot / path.text, size, rehash))
            for path in self._paths(snapshot)
            if (size := _size(snapshot / path.text)) is not None
        )

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

    def _digests(self, file: Path, size: int, rehash: bool) -> tuple[Digest, ...]:
        if not rehash and file.is_symlink():
            name = digest_of_name(os.path.basename(os.readlink(file)))
            if name is not None:
                return (name,)
        hashes = Hashes(size)
        with file.open("rb") as stream:
            read_through(stream, hashes, len)
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

    def prepare(self) -> None:
        """Make the directories, and remove what interrupted pushes left. Needs the lock.

        A new model appears by one rename: the Hub's client calls one without ``snapshots`` corrupt.
        """
        for holder in (self._locks, self.path):
            for left in holder.glob(f"{TEMPORARY}*"):
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
        """A temporary directory on the same file system, gone afterwards."""
        work = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.path))
        try:
            yield work
        finally:
            shutil.rmtree(work)

    def publish(self, work: Path, revision: str, names: dict[ArtifactPath, str]) -> None:
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
        self._point(work, revision)

    def _shows(self, snapshot: Path, names: dict[ArtifactPath, str]) -> bool:
        """Whether a snapshot of that revision is already there and whole."""
        revision = snapshot.name
        found = {path: self.blob_name(revision, path) for path in self._paths(snapshot)}
        return {p: d.value for p, d in found.items() if d is not None} == names

    def _point(self, work: Path, revision: str) -> None:
        """Make the ref name the revision: the one step that readers see."""
        storage.write_text(work / "ref", revision)
        self.ref.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work / "ref", self.ref)
        storage.sync_directory(self.ref.parent)


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _raise(error: OSError) -> None:
    raise error
