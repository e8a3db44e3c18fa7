"""A registry in memory, which runs the same contract suite as the real ones."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping
from typing import BinaryIO

from weighbridge.application.ports import Blob, Progress
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged, DestinationMissing, RevisionConflict
from weighbridge.domain.publication import (
    Destination,
    PublicationPlan,
    Receipt,
    RemoteHead,
    read_back_differences,
)

Files = dict[ArtifactPath, bytes]


class MemoryRegistry:
    """Keeps every revision; a revision's name is the digest of its content and its parent."""

    def __init__(self) -> None:
        self._heads: dict[Destination, str] = {}
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

    def manifest(self, destination: Destination, revision: str) -> RemoteHead:
        """The digests of the bytes that are kept."""
        files = self._revisions.get((destination, revision))
        if files is None:
            raise DestinationMissing(destination=str(destination), reason=f"no {revision}")
        entries = [entry_of(path, content) for path, content in files.items()]
        return RemoteHead(revision, Manifest(entries), self._private.get(destination))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The bytes that are kept."""
        content = self._revisions.get((destination, revision), {}).get(path)
        if content is None:
            raise DestinationMissing(destination=str(destination), reason=f"no {path}")
        return io.BytesIO(content)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """All or nothing: what is read is only kept when everything was read."""
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
            return self._keep(plan, self._read(plan, blobs), progress)

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

    def _keep(self, plan: PublicationPlan, files: Files, progress: Progress) -> Receipt:
        progress("upload", plan.upload_bytes, plan.upload_bytes)
        entries = sorted((str(p), sha256(c)) for p, c in files.items())
        revision = hashlib.sha1(repr((plan.parent, entries)).encode()).hexdigest()
        self._revisions[plan.destination, revision] = files
        self._heads[plan.destination] = revision
        self._private[plan.destination] = plan.private
        self.pushes += 1
        return Receipt(plan.destination, revision, True, f"memory:{revision}")


def sha256(content: bytes) -> str:
    """The hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def entry_of(path: ArtifactPath, content: bytes) -> ManifestEntry:
    """A file's manifest entry with both digests."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    digests = (Digest("sha256", sha256(content)), Digest("git-sha1", git))
    return ManifestEntry(path, len(content), digests)
