"""One push: blobs that are missing, then one conditional write of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.adapters.s3_registry.names import Goal, Names, files_of
from weighbridge.adapters.s3_registry.store import Store
from weighbridge.application.uploads import absent, by_sha256, require_kept, send_all
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
from weighbridge.domain.errors import RevisionConflict
from weighbridge.domain.publication import (
    PublicationPlan,
    Receipt,
    S3Prefix,
    read_back_differences,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress


@frozen
class Push:
    """A plan on its way to a prefix."""

    store: Store
    place: S3Prefix
    plan: PublicationPlan
    blobs: Mapping[ArtifactPath, Blob]
    message: str
    progress: Progress

    def run(self) -> Receipt:
        """Carry the plan out."""
        names = Names(self.store)
        index = self.store.index()
        head = names.of(index, self.place.revision)
        if head != self.plan.parent:
            return self._already_there(head)
        if head is not None and self.plan.is_noop:
            return self._receipt(head, created=False)
        kept = files_of(self.store, head) if head else Manifest(())
        manifest = by_sha256(self.plan, self.blobs, kept, self.plan.parent)
        made = modelpack.pack(manifest)
        require_kept(self.plan.destination, manifest, self.blobs, self._has)
        self._send(manifest, made)
        goal = Goal(self.place.revision, made.digest, len(made.manifest), self.message)
        moved = names.move(index, head, goal)
        return self._receipt(made.digest, created=moved and made.digest != self.plan.parent)

    def _send(self, manifest: Manifest, made: modelpack.ModelPack) -> None:
        """Whatever of it is not there. Nobody sees it yet."""
        self.store.require_conditions()
        wanted = absent(manifest, self.blobs, self._has)
        send_all(wanted, self.blobs, self._put, self.progress)
        for content in (made.config, made.manifest):
            digest = modelpack.digest_of(content)
            if not self.store.has_blob(digest, len(content)):
                self.store.put_blob(digest, len(content), partial(list, [content]))

    def _has(self, entry: ManifestEntry) -> bool:
        return self.store.has_blob(modelpack.blob_digest(entry), entry.size)

    def _put(self, entry: ManifestEntry, chunks: Callable[[], Iterator[bytes]]) -> None:
        self.store.put_blob(modelpack.blob_digest(entry), entry.size, chunks)

    def _already_there(self, head: str | None) -> Receipt:
        """The name has moved, which is well if it moved to just this content."""
        if head is None or read_back_differences(self.plan.manifest, files_of(self.store, head)):
            raise self._conflict(head)
        return self._receipt(head, created=False)

    def _conflict(self, actual: str | None) -> RevisionConflict:
        return RevisionConflict(
            destination=str(self.place), expected=self.plan.parent, actual=actual
        )

    def _receipt(self, revision: str, *, created: bool) -> Receipt:
        return Receipt(self.plan.destination, revision, created, self.store.address)
