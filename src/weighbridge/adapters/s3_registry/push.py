"""One push: blobs that are missing, then one conditional write of the index.

Decides what a lost condition means: another writer of this name is a conflict, one of another name
is a reason to write again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from weighbridge.adapters.s3_registry.store import Index, Store
from weighbridge.application.uploads import checked, identified
from weighbridge.domain import modelpack, oci_layout
from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
)
from weighbridge.domain.publication import (
    PublicationPlan,
    Receipt,
    S3Prefix,
    read_back_differences,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress

_ATTEMPTS = 20


@define
class Push:
    """A plan on its way to a prefix."""

    store: Store
    place: S3Prefix
    plan: PublicationPlan
    blobs: Mapping[ArtifactPath, Blob]
    progress: Progress
    _done: int = field(default=0, init=False)

    def run(self) -> Receipt:
        """Carry the plan out."""
        index = self.store.index()
        head = self.head(index)
        if head != self.plan.parent:
            return self._already_there(head)
        if head is not None and self.plan.is_noop:
            return self._receipt(head, created=False)
        manifest = self._manifest(head)
        made = modelpack.pack(manifest)
        self.progress("upload", 0, self.plan.upload_bytes)
        self._send(manifest, made)
        self._point(index, made)
        return self._receipt(made.digest, created=made.digest != self.plan.parent)

    def head(self, index: Index | None) -> str | None:
        """The revision that an index has for our name."""
        try:
            return oci_layout.named(index.content if index else None, self.place.revision)
        except ValueError as error:
            raise RegistryRejected(destination=str(self.place), reason=str(error)) from error

    def _manifest(self, head: str | None) -> Manifest:
        """What will be there, each file by its sha256."""
        kept = files_of(self.store, head) if head else Manifest(())
        return Manifest(self._entry(entry, kept) for entry in self.plan.manifest.entries)

    def _entry(self, entry: ManifestEntry, kept: Manifest) -> ManifestEntry:
        blob = self.blobs.get(entry.path)
        if blob is None:
            there = kept.find(entry.path)
            if there is None:
                raise self._conflict(self.plan.parent)
            return there
        return entry if entry.digest("sha256") else identified(blob)

    def _send(self, manifest: Manifest, made: modelpack.ModelPack) -> None:
        """Whatever of it is not there. Nobody sees it yet."""
        for entry in manifest.entries:
            digest, blob = modelpack.blob_digest(entry), self.blobs.get(entry.path)
            if blob is None:
                continue
            if not self.store.has_blob(digest, entry.size):
                self.store.put_blob(digest, entry.size, checked(blob, self._advance))
            self._done += entry.size
            self.progress("upload", self._done, self.plan.upload_bytes)
        for content in (made.config, made.manifest):
            digest = modelpack.digest_of(content)
            if not self.store.has_blob(digest, len(content)):
                self.store.put_blob(digest, len(content), [content])
        self.store.write_layout()

    def _advance(self, taken: int) -> None:
        self.progress("upload", self._done + taken, self.plan.upload_bytes)

    def _point(self, index: Index | None, made: modelpack.ModelPack) -> None:
        """Write the index on the one that was read; anew while only other names have moved."""
        lost: RegistryError = self._conflict(self.plan.parent)
        for _ in range(_ATTEMPTS):
            before = index.content if index else None
            try:
                self.store.write_index(
                    oci_layout.with_name(before, self.place.revision, made), index
                )
                return
            except RevisionConflict as error:
                lost = error
            except RegistryUnreachable as error:
                error.applied = None  # until it is known
                lost = error
            index = self._after(lost)
            head = self.head(index)
            # The answer to our own write may have been lost, and the client have tried it again.
            if head == made.digest:
                return
            if head != self.plan.parent:
                raise self._conflict(head)
            if isinstance(lost, RegistryUnreachable):
                lost.applied = False
                raise lost
        raise lost

    def _after(self, lost: RegistryError) -> Index | None:
        try:
            return self.store.index()
        except RegistryError:
            raise lost from None

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
        where = f"s3://{self.place.bucket}/{self.place.prefix}/index.json"
        return Receipt(self.plan.destination, revision, created, where)


def files_of(store: Store, revision: str) -> Manifest:
    """What the manifest of that digest names. Raises DestinationMissing, RegistryRejected."""
    content = store.read_blob(revision)
    try:
        if modelpack.digest_of(content) != revision:
            raise ValueError(f"the manifest {revision} holds other bytes")
        return modelpack.unpack(content)
    except ValueError as error:
        raise RegistryRejected(destination=str(store.place), reason=str(error)) from error
