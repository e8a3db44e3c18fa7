"""One push: blobs that are missing, then the manifest under its digest, then the tag.

Decides when the parent is compared: before anything is sent, again right before the tag, and by the
registry itself if it knows HTTP's conditions. OCI has no compare-and-swap, so with a registry that
does not, a writer on another machine can still come between the last two requests.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.adapters.oci_registry import patience
from weighbridge.adapters.oci_registry.log import Log
from weighbridge.adapters.oci_registry.repository import Repository, Stored
from weighbridge.application.uploads import absent, by_sha256, require_kept, send_all
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    TooLarge,
)
from weighbridge.domain.publication import OciRepo, PublicationPlan, Receipt, read_back_differences

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress

#: How often a tag is looked at that seems not to have moved.
_LOOKS = 4
#: The writers of one process take turns at a tag, so that among them nothing can come between.
_turns: defaultdict[OciRepo, threading.Lock] = defaultdict(threading.Lock)


@frozen
class Push:
    """A plan on its way to a repository."""

    repository: Repository
    place: OciRepo
    plan: PublicationPlan
    blobs: Mapping[ArtifactPath, Blob]
    message: str
    progress: Progress

    def run(self) -> Receipt:
        """Carry the plan out."""
        head = self.repository.manifest(self.place.revision)
        if (head.digest if head else None) != self.plan.parent:
            return self._already_there(head)
        if head is not None and self.plan.is_noop:
            return self._receipt(head.digest, created=False)
        kept = self.files(head) if head else Manifest(())
        manifest = by_sha256(self.plan, self.blobs, kept, self.plan.parent)
        made = modelpack.pack(manifest)
        self._require_small(made)
        require_kept(self.plan.destination, manifest, self.blobs, self._has)
        self._send(manifest, made)
        with turn(self.place):
            try:
                before = require_head(self.repository, self.place, self.plan.parent)
                point(self.repository, self.place, before, made.digest, made.manifest)
            except RevisionConflict as error:
                if error.actual != made.digest:
                    raise
                return self._receipt(made.digest, created=False)  # by another who sent the same
            log = Log(self.repository, self.place.revision)
            log.add(self.plan.parent, made.digest, self.message)
        return self._receipt(made.digest, created=made.digest != self.plan.parent)

    def _require_small(self, made: modelpack.ModelPack) -> None:
        """Before the first byte: no registry has to take more, and nobody here would read it."""
        if len(made.manifest) > modelpack.MOST_BYTES:
            reason = f"the names of {len(self.plan.manifest.entries)} files make a manifest of "
            reason += f"{len(made.manifest)} bytes, and registries take {modelpack.MOST_BYTES}"
            raise TooLarge(destination=str(self.place), reason=reason)

    def files(self, stored: Stored) -> Manifest:
        """What a manifest of the repository names."""
        try:
            return modelpack.unpack(stored.content)
        except ValueError as error:
            raise RegistryRejected(destination=str(self.place), reason=str(error)) from error

    def _send(self, manifest: Manifest, made: modelpack.ModelPack) -> None:
        """Whatever of it is not there. Nobody sees it yet."""
        wanted = absent(manifest, self.blobs, self._is_there)
        send_all(wanted, self.blobs, self._upload, self.progress)
        config = modelpack.digest_of(made.config)
        if not self.repository.has_blob(config, len(made.config)):
            self.repository.upload(config, len(made.config), lambda: [made.config])

    def _has(self, entry: ManifestEntry) -> bool:
        return self.repository.has_blob(modelpack.blob_digest(entry), entry.size)

    def _is_there(self, entry: ManifestEntry) -> bool:
        """Whether the repository has the file, or now takes it over from another that has it."""
        digest, held = modelpack.blob_digest(entry), self.blobs[entry.path].held
        if self._has(entry):
            return True
        if not isinstance(held, OciRepo) or held.host != self.place.host:
            return False
        return held.name != self.place.name and self.repository.mount(digest, held.name)

    def _upload(self, entry: ManifestEntry, body: Callable[[], Iterator[bytes]]) -> None:
        if entry.size == 0:  # nothing would be asked of the body
            list(body())
        self.repository.upload(modelpack.blob_digest(entry), entry.size, body)

    def _already_there(self, head: Stored | None) -> Receipt:
        """The tag has moved, which is well if it moved to just this content."""
        if head is None:
            raise self._conflict(None)
        if read_back_differences(self.plan.manifest, self.files(head)):
            raise self._conflict(head.digest)
        return self._receipt(head.digest, created=False)

    def _conflict(self, actual: str | None) -> RevisionConflict:
        return RevisionConflict(
            destination=str(self.place), expected=self.plan.parent, actual=actual
        )

    def _receipt(self, revision: str, *, created: bool) -> Receipt:
        where = f"{self.place.host}/{self.place.name}@{revision}"
        return Receipt(self.plan.destination, revision, created, where)


def turn(place: OciRepo) -> threading.Lock:
    """The lock of this process for a tag."""
    return _turns[place]


def require_head(repository: Repository, place: OciRepo, expected: str | None) -> Stored | None:
    """What the tag names. Raises RevisionConflict if it is something else by now."""
    head = repository.manifest(place.revision)
    actual = head.digest if head else None
    if actual != expected:
        raise RevisionConflict(destination=str(place), expected=expected, actual=actual)
    return head


def point(
    repository: Repository, place: OciRepo, before: Stored | None, digest: str, manifest: bytes
) -> None:
    """Move the tag from ``before``: the one request that readers see, and what became of it.

    Raises RegistryUnreachable if the answer was lost and the tag names its parent still, or cannot
    be read; RevisionConflict if it names something else by now.
    """
    parent = before.digest if before else None
    lost: RegistryUnreachable | None = None
    try:
        _put(repository, place, before, manifest)
    except RegistryUnreachable as error:
        error.applied = None  # until it is known
        lost = error
    try:
        actual = _named_now(repository, place, digest, parent, again=lost is None)
    except RegistryError:
        if lost is None:
            return  # we were told that it is there
        raise lost from None
    if actual == digest:
        return
    if lost is not None and actual == parent:
        lost.applied = False
        raise lost
    if actual == parent:
        reason = f"took the manifest {digest}, but the tag still names {parent or 'nothing'}"
        raise RegistryRejected(destination=str(place), reason=reason)
    raise _overtaken(place, parent, digest, actual, known=lost is None)


def _put(repository: Repository, place: OciRepo, before: Stored | None, manifest: bytes) -> None:
    """On the condition that the tag is as it was: few registries know that, the others take no
    notice."""
    only_if = {"If-None-Match": "*"} if before is None else {"If-Match": before.etag}
    if before is not None and not before.etag:
        only_if = {}
    if not repository.put_manifest(place.revision, manifest, only_if):
        require_head(repository, place, before.digest if before else None)
        # It is as it was. What was compared is something else, or the tag may not be moved at all.
        repository.put_manifest(place.revision, manifest)


def _named_now(
    repository: Repository, place: OciRepo, digest: str, parent: str | None, *, again: bool
) -> str | None:
    """What the tag names after it was moved to ``digest``. If that is what it did ``again`` and
    again: some registries tell for some seconds what was."""
    looks, actual = _LOOKS if again else 1, parent
    for attempt in range(1, looks + 1):
        head = repository.manifest(place.revision)
        actual = head.digest if head else None
        if actual == digest or actual not in (parent, None):
            return actual
        if attempt < looks:
            patience.pause(attempt)
    return actual


def _overtaken(
    place: OciRepo, parent: str | None, digest: str, actual: str | None, *, known: bool
) -> RevisionConflict:
    if actual is None:
        return RevisionConflict(destination=str(place), expected=parent)
    now = f"another writer to {actual}, which it names now"
    if known:
        reason = f"the tag was moved to {digest}, and at the same moment by {now}"
    else:
        reason = f"the tag was moved by {now}; the answer to moving it to {digest} was lost"
    return RevisionConflict(
        destination=str(place), expected=parent, actual=actual,
        reason=f"{reason}. OCI cannot prevent that; what the tag names is whole",
    )  # fmt: skip
