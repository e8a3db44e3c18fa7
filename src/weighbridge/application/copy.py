"""Copy: what one registry holds to another place, as it is, as one revision that is read back.

Nothing is converted or judged again: what is published passed the gate. The rules of the place
that it goes to hold all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from attrs import frozen

from weighbridge.application.ports import Blob, Progress, Registry, no_progress
from weighbridge.application.published import Published
from weighbridge.application.registries import registry_of
from weighbridge.domain.artifact import ArtifactPath, Manifest
from weighbridge.domain.errors import ReadBackMismatch, StorageFull, UsageError
from weighbridge.domain.publication import (
    Destination,
    HubRepo,
    LocalRegistry,
    PublicationPlan,
    Receipt,
    plan_publication,
    read_back_differences,
)


@frozen
class CopyRequest:
    """From where to where; ``public`` allows that everybody may see it there."""

    source: Destination
    destination: Destination
    public: bool = False
    dry_run: bool = False
    message: str | None = None


@frozen
class Copied:
    """The revision that was read, the plan, and what became of it. ``receipt`` is None for a dry
    run."""

    source: Destination
    revision: str
    plan: PublicationPlan
    receipt: Receipt | None


@frozen
class Copy:
    """The use case, over its ports. ``registries`` are chosen by the type of each place;
    ``scratch`` tells the directory for temporary files, and the bytes that are free there."""

    registries: Mapping[type, Registry]
    scratch: Callable[[], tuple[str, int]] | None = None

    def __call__(self, request: CopyRequest, progress: Progress = no_progress) -> Copied:
        """Raises the RegistryError family, ArtifactChanged if bytes come that are not those that
        the source announced, UsageError for a copy of something onto itself, and StorageFull if
        there is no room for what has to be kept meanwhile."""
        if request.source == request.destination:
            raise UsageError(problem=f"{request.source} is both the source and the destination")
        target = registry_of(self.registries, request.destination)
        source = Published.at(registry_of(self.registries, request.source), request.source)
        target.check(request.destination, writing=not request.dry_run)
        head = target.head(request.destination)
        manifest = _identified(source)
        if head is not None:
            manifest = source.comparable(manifest, head.manifest)
        plan = plan_publication(request.destination, manifest, head, private=not request.public)
        if request.dry_run:
            return Copied(request.source, source.revision, plan, None)
        blobs = _blobs(source, plan)
        self._require_room(request, sum(b.entry.size for b in blobs.values()))
        receipt = target.push(
            plan,
            blobs,
            message=request.message or f"Copy of {request.source} at {source.revision}",
            progress=progress,
        )
        self._read_back(source, target, manifest, receipt, progress)
        return Copied(request.source, source.revision, plan, receipt)

    def _require_room(self, request: CopyRequest, wanted: int) -> None:
        """The Hub's client sends from the disk only, and what another registry has is not there."""
        here = isinstance(request.source, LocalRegistry)
        if self.scratch is None or here or not isinstance(request.destination, HubRepo):
            return
        where, free = self.scratch()
        if wanted > free:
            reason = (
                f"{wanted} bytes have to be kept there, since the Hub's client sends from the disk "
                f"only, and {free} are free; name a larger directory by TMPDIR"
            )
            raise StorageFull(path=where, operation="copy", reason=reason)

    def _read_back(
        self,
        source: Published,
        target: Registry,
        sent: Manifest,
        receipt: Receipt,
        progress: Progress,
    ) -> None:
        found = target.manifest(receipt.destination, receipt.revision, progress=progress)
        stored = found.manifest
        differences = read_back_differences(source.comparable(sent, stored), stored)
        if differences:
            raise ReadBackMismatch(destination=str(receipt.destination), differences=differences)


def _blobs(source: Published, plan: PublicationPlan) -> dict[ArtifactPath, Blob]:
    changed = {c.path for c in (*plan.of("add"), *plan.of("change"))}
    return {
        entry.path: Blob(entry, partial(source.open, entry.path), source.place)
        for entry in plan.manifest.entries
        if entry.path in changed
    }


def _identified(source: Published) -> Manifest:
    """What is to be copied, each file by its sha256: some sources know small files otherwise."""
    unknown = (e for e in source.manifest.entries if e.digest("sha256") is None)
    return source.knowing(source.manifest, unknown)
