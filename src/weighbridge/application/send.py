"""The end of a publication: compare with what is there, push, read back, tag."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.application.digests import feed
from weighbridge.application.ports import Blob, Progress, Registry
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest
from weighbridge.domain.errors import (
    ArtifactChanged,
    DestinationMissing,
    ReadBackMismatch,
    RegistryError,
    RegistryUnreachable,
)
from weighbridge.domain.provenance import (
    MOST_BYTES,
    SIGNATURE,
    STATEMENT,
    NoStatement,
    parse_statement,
)
from weighbridge.domain.publication import (
    PublicationPlan,
    Receipt,
    plan_publication,
    read_back_differences,
    require_same_changes,
    require_same_ground,
    with_tags,
)
from weighbridge.domain.shipping import CARD

if TYPE_CHECKING:
    from weighbridge.application.publish import PublishRequest

_log = logging.getLogger("weighbridge.publish")
_NAMED = 5


@frozen
class Send:
    """One publication whose files are ready; with ``ground``, only on the revision of that."""

    registry: Registry
    request: PublishRequest
    blobs: Mapping[ArtifactPath, Blob]
    progress: Progress
    ground: PublicationPlan | None = None

    def plan(self) -> PublicationPlan:
        """What would change. Raises VisibilityMismatch, TagTaken; and ArtifactChanged or
        RevisionConflict if that is not what the request was planned to be."""
        request = self.request
        head = self.registry.head(request.destination)
        start = None if head else self.registry.start(request.destination)
        manifest = Manifest(b.entry for b in self.blobs.values())
        if there := head or start:
            manifest = self._comparable(manifest, there.manifest)
        plan = plan_publication(
            request.destination, manifest, head, start=start,
            private=not request.public, pull_request=request.pull_request,
        )  # fmt: skip
        if self.ground is not None:
            require_same_ground(self.ground, plan)
        if request.planned is not None:
            _require_as_planned(request.planned.plan, plan)
        if not request.tags:
            return plan
        there_now = self.registry.tags(request.destination, wanted=request.tags)
        return with_tags(plan, request.tags, there_now, move=request.move_tags)

    def carry_out(self, plan: PublicationPlan) -> Receipt:
        """Push, read back, tag. Raises ReadBackMismatch, and the RegistryError family.

        Who did not approve a plan is warned of what of others it removes.
        """
        request = self.request
        others = () if request.planned is not None else self._of_others(plan)
        if others:
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            _log.warning(
                "%s: removes what Weighbridge did not publish there: %s%s; revision %s keeps it",
                request.destination, ", ".join(others[:_NAMED]), more, plan.parent or plan.start,
            )  # fmt: skip
        receipt = self.registry.push(
            plan, self.blobs, message=request.message, progress=self.progress
        )
        with _said_to_be_done(receipt, "it cannot be read back"):
            stored = self.registry.manifest(
                request.destination, receipt.revision, progress=self.progress
            )
        differences = read_back_differences(
            self._comparable(plan.manifest, stored.manifest), stored.manifest
        )
        if differences:
            raise ReadBackMismatch(destination=str(request.destination), differences=differences)
        for name, _ in plan.tags:
            with _said_to_be_done(receipt, f"it is not tagged {name}"):
                self.registry.tag(
                    request.destination, name, receipt.revision, move=request.move_tags
                )
        return receipt

    def _of_others(self, plan: PublicationPlan) -> tuple[str, ...]:
        """The removed files that are not in the statement of the release that is there."""
        gone, there = plan.of("remove"), plan.parent or plan.start
        if not gone or there is None:
            return ()
        ours: Container[ArtifactPath] = ()
        with suppress(DestinationMissing, NoStatement):
            with self.registry.open(self.request.destination, there, STATEMENT) as stream:
                statement = parse_statement(stream.read(MOST_BYTES))
            ours = {*statement.subjects, STATEMENT, SIGNATURE}
        return tuple(c.path.text for c in gone if c.path not in ours)

    def _comparable(self, manifest: Manifest, remote: Manifest) -> Manifest:
        """``manifest``, knowing the git blob id of each file that the remote knows only by that."""
        more = {}
        for entry in manifest.entries:
            there = remote.find(entry.path)
            if there is None or there.size != entry.size or entry.comparable(there):
                continue
            if there.digest("git-sha1") is not None:
                more[entry.path] = git_blob_id(self.blobs[entry.path])
        return manifest.with_digests(more)


@contextmanager
def _said_to_be_done(receipt: Receipt, but: str) -> Iterator[None]:
    """Errors within leave a publication that was made, and tell so."""
    try:
        yield
    except RegistryError as error:
        told = f": {error.reason}" if error.reason else ""
        error.reason = f"published as {receipt.revision}, but {but}{told}"
        if isinstance(error, RegistryUnreachable):
            error.applied = True
        raise


def _require_as_planned(planned: PublicationPlan, now: PublicationPlan) -> None:
    """Raises ArtifactChanged, RevisionConflict, UsageError."""
    try:
        require_same_files(planned.manifest, now.manifest, both_ways=True)
    except ArtifactChanged as changed:
        # A card that others edited there is kept, and so becomes one of our files.
        if changed.path == CARD and now.parent != planned.parent:
            require_same_ground(planned, now)
        raise
    require_same_ground(planned, now)
    require_same_changes(planned, now)


def require_same_files(planned: Manifest, now: Manifest, *, both_ways: bool = False) -> None:
    """Raises ArtifactChanged if a planned file is another now, or with ``both_ways`` is new."""
    for entry in planned.entries:
        found = now.find(entry.path)
        if found is None or not entry.same_content(found):
            raise _changed(str(entry.path), _told(planned, entry.path), _told(now, entry.path))
    for entry in now.entries if both_ways else ():
        if planned.find(entry.path) is None:
            raise _changed(str(entry.path), "nothing", _told(now, entry.path))


def _changed(path: str, expected: str, actual: str) -> ArtifactChanged:
    return ArtifactChanged(path=path, expected=expected, actual=actual, planned=True)


def _told(manifest: Manifest, path: ArtifactPath) -> str:
    entry = manifest.find(path)
    return f"{entry.size} bytes {entry.digests[0]}" if entry else "nothing"


def git_blob_id(blob: Blob) -> Digest:
    """The id that git gives to this content. Raises ArtifactChanged if the size is another now."""
    hasher = hashlib.sha1(f"blob {blob.entry.size}\0".encode(), usedforsecurity=False)
    with blob.open() as stream:
        seen = feed(hasher, stream)
    if seen != blob.entry.size:
        raise ArtifactChanged(
            path=str(blob.entry.path), expected=f"{blob.entry.size} bytes", actual=f"{seen} bytes"
        )
    return Digest("git-sha1", hasher.hexdigest())
