"""A registry in memory, which runs the same contract suite as the real ones."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from weighbridge.application.ports import Blob, Progress, no_progress
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    ArtifactChanged,
    DestinationMissing,
    RevisionConflict,
    TagTaken,
    Unsupported,
)
from weighbridge.domain.publication import (
    Destination,
    PublicationPlan,
    Receipt,
    RemoteHead,
    Revision,
    full_id,
    read_back_differences,
    require_no_branch,
    tagged,
)

Files = dict[ArtifactPath, bytes]


class MemoryRegistry:
    """Keeps every revision; a revision's name is the digest of its content and its parent."""

    def __init__(self) -> None:
        self._heads: dict[Destination, str] = {}
        self._logs: dict[Destination, list[Revision]] = {}
        self._tags: dict[Destination, dict[str, str]] = {}
        self._revisions: dict[tuple[Destination, str], Files] = {}
        self._private: dict[Destination, bool] = {}
        self._lock = threading.RLock()
        #: How many pushes were carried out, for tests that must see none.
        self.pushes = 0

    def head(self, destination: Destination) -> RemoteHead | None:
        """What was published last."""
        with self._lock:
            revision = self._heads.get(destination)
            return None if revision is None else self.manifest(destination, revision)

    def start(self, destination: Destination) -> RemoteHead | None:
        """A branch begins empty."""
        return None

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """Anybody may write; nothing is reviewed."""
        if pull_request:
            reason = "there are no pull requests in memory"
            raise Unsupported(destination=str(destination), reason=reason)

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """The same: nothing is ever lost."""
        return self.manifest(destination, revision)

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """The digests of the bytes that are kept."""
        found, files = self._found(destination, revision)
        entries = [entry_of(path, content) for path, content in files.items()]
        return RemoteHead(found, Manifest(entries), self._private.get(destination))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The bytes that are kept."""
        files = self._found(destination, revision)[1]
        if path not in files:
            raise DestinationMissing(destination=str(destination), reason=f"no {path}")
        return io.BytesIO(files[path])

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """What was published, the last first."""
        with self._lock:
            told = self._logs.get(destination, [])[::-1][:limit]
            return tagged(told, self._tags.get(destination, {}))

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """Those that were set."""
        others = {d.revision for d in self._heads if d.name == destination.name}
        require_no_branch(destination, wanted, {destination.revision, *others}.__contains__)
        return dict(self._tags.get(destination, {}))

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """Set it in one step."""
        with self._lock:
            found = self._found(destination, revision)[0]
            tags = self._tags.setdefault(destination, {})
            if tags.get(name, found) != found and not move:
                raise TagTaken(destination=str(destination), tag=name, revision=tags[name])
            tags[name] = found

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """A new revision with the old content."""
        with self._lock:
            _, files = self._found(destination, revision)
            head = self._heads[destination]
            if head != parent:
                raise RevisionConflict(destination=str(destination), expected=parent, actual=head)
            if files == self._revisions[destination, head]:
                return Receipt(destination, head, False, f"memory:{head}")
            return self._show(destination, files, head, message)

    def _found(self, destination: Destination, revision: str) -> tuple[str, Files]:
        ids = [each for place, each in self._revisions if place == destination]
        found = full_id(ids, revision) or revision
        found = self._tags.get(destination, {}).get(revision, found)
        if (destination, found) not in self._revisions:
            raise DestinationMissing(destination=str(destination), reason=f"no {revision}")
        return found, self._revisions[destination, found]

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """All or nothing: what is read is only kept when everything was read."""
        self.check(plan.destination, pull_request=plan.pull_request)
        with self._lock:
            head = self.head(plan.destination)
            if head is not None and not read_back_differences(plan.manifest, head.manifest):
                return Receipt(plan.destination, head.revision, False)
            if plan.parent != (head.revision if head else None):
                raise RevisionConflict(
                    destination=str(plan.destination),
                    expected=plan.parent,
                    actual=head.revision if head else None,
                )
            files = self._read(plan, blobs)
            progress("upload", plan.upload_bytes, plan.upload_bytes)
            self._private[plan.destination] = plan.private
            return self._show(plan.destination, files, plan.parent, message)

    def _read(self, plan: PublicationPlan, blobs: Mapping[ArtifactPath, Blob]) -> Files:
        before = self._revisions.get((plan.destination, plan.parent or ""), {})
        files: Files = {}
        for entry in plan.manifest.entries:
            if entry.path not in blobs:
                files[entry.path] = before[entry.path]
                continue
            with blobs[entry.path].open() as stream:
                files[entry.path] = stream.read()
            actual = entry_of(entry.path, files[entry.path])
            if not entry.same_content(actual):
                raise ArtifactChanged(
                    path=entry.path.text, expected=str(entry.digests), actual=str(actual.digests)
                )
        return files

    def _show(
        self, destination: Destination, files: Files, parent: str | None, message: str
    ) -> Receipt:
        entries = sorted((str(p), sha256(c)) for p, c in files.items())
        revision = hashlib.sha1(repr((parent, entries)).encode()).hexdigest()
        self._revisions[destination, revision] = files
        self._heads[destination] = revision
        when = f"2026-01-01T00:00:{self.pushes % 60:02}Z"
        self._logs.setdefault(destination, []).append(Revision(revision, when, message))
        self.pushes += 1
        return Receipt(destination, revision, True, f"memory:{revision}")


def sha256(content: bytes) -> str:
    """The hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def entry_of(path: ArtifactPath, content: bytes) -> ManifestEntry:
    """A file's manifest entry with both digests."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    digests = (Digest("sha256", sha256(content)), Digest("git-sha1", git))
    return ManifestEntry(path, len(content), digests)
