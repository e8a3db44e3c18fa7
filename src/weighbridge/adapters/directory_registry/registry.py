"""The directory registry: a content-addressed, locked, atomic publication into a local cache.

Decides what a revision is (the sha1 over the sorted lines of path, size and blob name, so equal
content has an equal revision) and what a push may assume of the head.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import define, field

from weighbridge.adapters.directory_registry.hashing import (
    BOTH,
    Hashes,
    has_content,
    naming_algorithm,
    read_through,
)
from weighbridge.adapters.directory_registry.layout import ModelDirectory
from weighbridge.adapters.directory_registry.storage import (
    require_room,
    sync_directory,
    typed_errors,
)
from weighbridge.application.ports import Blob, Progress, no_progress
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryRejected,
    RevisionConflict,
    TagTaken,
    Unsupported,
    UsageError,
)
from weighbridge.domain.publication import (
    Destination,
    LocalRegistry,
    PublicationPlan,
    Receipt,
    RemoteHead,
    Revision,
    read_back_differences,
    require_no_branch,
    tagged,
)

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry


class DirectoryRegistry:
    """A Registry for ``LocalRegistry`` destinations."""

    def head(self, destination: Destination) -> RemoteHead | None:
        """What the ref points to; digests are taken from the names of the blobs."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "reading the registry"):
            revision = model.current()
            if revision is None:
                return None
            return RemoteHead(revision, model.manifest(revision, rehash=None))

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """The revision with digests from the names of its blobs."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "reading the registry"):
            found = model.resolve(revision)
            return RemoteHead(found, model.manifest(found, rehash=None))

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """The revision with every file hashed anew, so that damaged blobs show."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "reading the registry"):
            found = model.resolve(revision)
            return RemoteHead(found, model.manifest(found, rehash=progress))

    def start(self, destination: Destination) -> RemoteHead | None:
        """A branch begins with nothing; blobs are shared by all branches anyway."""
        return None

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """What the disk refuses shows in the push, which writes nothing visible before its end."""
        place = _local(destination)
        if pull_request:
            reason = "a directory registry has no pull requests; publish to a --branch instead"
            raise Unsupported(destination=str(destination), reason=reason)
        model = ModelDirectory(place)
        with typed_errors(model.path, "reading the registry"):
            _require_no_tag(model, place)

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """What this program published to the branch, and what is there now."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "reading the registry"):
            return tagged(islice(model.history(), limit), model.record.tags())

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The refs that were made as tags."""
        place = _local(destination)
        model = ModelDirectory(place)
        with typed_errors(model.path, "reading the registry"):
            require_no_branch(
                place, wanted, lambda n: n == place.revision or model.names_a_branch(n)
            )
            return model.record.tags()

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """A ref beside the branches, by which loaders find the revision."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "tagging"), _writing(model) as work:
            found = model.resolve(revision)
            if model.names_a_branch(name):
                reason = f"{name} is a branch already"
                raise RegistryRejected(destination=str(destination), reason=reason)
            now = model.record.tags().get(name, found)
            if now != found and not move:
                raise TagTaken(destination=str(destination), tag=name, revision=now)
            model.tag(work, name, found)

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """Move the ref back; the old snapshot was there all the time."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "restoring"), _writing(model) as work:
            found, head = model.resolve(revision), model.current()
            if head != parent:
                raise RevisionConflict(destination=str(destination), expected=parent, actual=head)
            if not model.whole(found):
                reason = f"files of revision {found} are missing in the directory"
                raise RegistryRejected(destination=str(destination), reason=reason)
            if found != head:
                model.point(work, found, message)
            return Receipt(destination, found, found != head, str(model.snapshot(found)))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The file itself: it has a path, and can be rewound."""
        model = ModelDirectory(_local(destination))
        with typed_errors(model.path, "reading the registry"):
            try:
                return model.file(model.resolve(revision), path).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                reason = f"no {path} in revision {revision}"
                raise DestinationMissing(destination=str(destination), reason=reason) from error

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Publish under the lock."""
        self.check(plan.destination, pull_request=plan.pull_request)
        model = ModelDirectory(_local(plan.destination))
        with typed_errors(model.path, "publishing"), model.lock():
            model.prepare(keep=True)
            _require_no_tag(model, _local(plan.destination))
            head = model.current()
            if head != plan.parent:
                return _already_there(model, plan, head)
            if plan.is_noop and head is not None:
                return Receipt(plan.destination, head, False, str(model.snapshot(head)))
            with model.workshop() as work:
                return _Push(model, plan, blobs, message, progress, work).run()


def _local(destination: Destination) -> LocalRegistry:
    if not isinstance(destination, LocalRegistry):
        raise UsageError(problem=f"{destination} is not a directory registry")
    return destination


@contextmanager
def _writing(model: ModelDirectory) -> Iterator[Path]:
    """The lock, and room to write in; raises DestinationMissing if there is no model."""
    if not model.path.is_dir():
        raise DestinationMissing(destination=str(model.path), reason="there is nothing")
    with model.lock():
        model.prepare()
        with model.workshop() as work:
            yield work


def _require_no_tag(model: ModelDirectory, place: LocalRegistry) -> None:
    if place.revision in model.record.tags():
        reason = f"{place.revision} is a tag, and tags are not published to"
        raise RegistryRejected(destination=str(place), reason=reason)


def _already_there(model: ModelDirectory, plan: PublicationPlan, head: str | None) -> Receipt:
    """The receipt of a push that somebody made before us, byte by byte; else a conflict."""
    if head is None or read_back_differences(
        plan.manifest, model.manifest(head, rehash=no_progress)
    ):
        raise RevisionConflict(destination=str(plan.destination), expected=plan.parent, actual=head)
    return Receipt(plan.destination, head, False, str(model.snapshot(head)))


@define
class _Push:
    """One push on its way, holding the lock."""

    _model: ModelDirectory
    _plan: PublicationPlan
    _blobs: Mapping[ArtifactPath, Blob]
    _message: str
    _progress: Progress
    _work: Path
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)

    def run(self) -> Receipt:
        """Store what is new, then show it."""
        entries = self._plan.manifest.entries
        names = {e.path: name for e in entries if (name := self._here(e)) is not None}
        self._total = sum(e.size for e in entries if e.path not in names)
        require_room(self._work, self._total)
        self._progress("upload", 0, self._total)
        names |= {e.path: self._stored(e) for e in entries if e.path not in names}
        revision = _revision(self._plan.manifest.entries, names)
        self._adopt()
        self._model.publish(self._work, revision, names, self._message)
        created = revision != self._plan.parent
        where = str(self._model.snapshot(revision))
        return Receipt(self._plan.destination, revision, created, where)

    def _here(self, entry: ManifestEntry) -> str | None:
        """The name of the blob that has this content already, by a former push or by one that broke
        off. It is read, for it may be damaged."""
        known = entry.digest(naming_algorithm(entry.path.text, entry.size))
        if known is None:
            return None

        def checking(done: int) -> None:
            self._progress("checking what is there", done, entry.size)

        if has_content(self._model.blobs / known.value, entry, checking):
            return known.value
        left = self._model.left().get(known.value)
        if left is None or not has_content(left, entry, checking):
            return None
        self._finished(left, known.value)
        return known.value

    def _stored(self, entry: ManifestEntry) -> str:
        """The name of the blob with the content of ``entry``, which is now in a blob."""
        algorithm = naming_algorithm(entry.path.text, entry.size)
        blob = self._blobs.get(entry.path)
        if blob is None:
            name = self._kept(entry)
            if name is not None and name.algorithm == algorithm:
                return name.value
            # Named by another rule, or a copy: one content has one name, or revisions would differ.
            blob = Blob(entry, lambda: self._file(entry).open("rb"))
        return self._ingest(entry, blob, algorithm)

    def _kept(self, entry: ManifestEntry) -> Digest | None:
        if self._plan.parent is None or not self._file(entry).exists():
            raise RevisionConflict(
                destination=str(self._plan.destination), expected=self._plan.parent
            )
        return self._model.blob_name(self._plan.parent, entry.path)

    def _file(self, entry: ManifestEntry) -> Path:
        return self._model.snapshot(self._plan.parent or "") / entry.path.text

    def _ingest(self, entry: ManifestEntry, blob: Blob, algorithm: str) -> str:
        """Copy a content in, hashing it; it must be what the plan says."""
        known = {d.algorithm for d in entry.digests}
        hashes = Hashes(entry.size, {algorithm, *known} & {*BOTH})
        incoming = self._work / "incoming"
        with blob.open() as stream, incoming.open("wb") as out:

            def take(chunk: bytes) -> None:
                out.write(chunk)
                self._advance(len(chunk))

            read_through(stream, hashes, take)
            out.flush()
            os.fsync(out.fileno())
        hashes.check(entry)
        name = next(d.value for d in hashes.digests() if d.algorithm == algorithm)
        self._finished(incoming, name)
        return name

    def _finished(self, file: Path, name: str) -> None:
        """A whole blob waits for the others; it outlives this process."""
        (self._work / "blobs").mkdir(exist_ok=True)
        os.replace(file, self._work / "blobs" / name)

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress("upload", self._done, self._total)

    def _adopt(self) -> None:
        """Move the new blobs in. One that is there already is replaced: it may be damaged."""
        for incoming in (self._work / "blobs").glob("*"):
            os.replace(incoming, self._model.blobs / incoming.name)
        sync_directory(self._model.blobs)


def _revision(entries: tuple[ManifestEntry, ...], names: Mapping[ArtifactPath, str]) -> str:
    lines = (f"{e.path}\0{e.size}\0{names[e.path]}\n" for e in entries)
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()
