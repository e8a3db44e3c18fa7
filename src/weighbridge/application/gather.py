"""What is published: what was made of the source, the card, and what of the source ships as it is.

The allow-list decides what ships, and ``.weighbridgeignore`` takes away from that.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from attrs import evolve, frozen

from weighbridge.application.convert import StageConversion, plan_conversion, proof_request
from weighbridge.application.digests import sha256_of
from weighbridge.application.load import Loaded, directory_of, read_optional
from weighbridge.application.ports import (
    Blob,
    Converter,
    FileSystem,
    Progress,
    Prover,
    Registry,
    Stage,
)
from weighbridge.application.send import git_blob_id
from weighbridge.application.verify import Prove, demand
from weighbridge.domain.artifact import ArtifactPath, FileEntry, Manifest, ManifestEntry
from weighbridge.domain.card import CardFacts, is_rendered, licence_of, render_card
from weighbridge.domain.errors import ArtifactChanged, PathConflict, PathMissing
from weighbridge.domain.ignoring import IGNORE, Ignored, require_regular
from weighbridge.domain.models import FusedModel, LoraModel, PeftModel
from weighbridge.domain.publication import HubRepo
from weighbridge.domain.shipping import CARD, needed, shipped, target_of

if TYPE_CHECKING:
    from weighbridge.application.loadable_base import LoadableBase
    from weighbridge.application.publish import PublishRequest
    from weighbridge.domain.proof import Proof
    from weighbridge.domain.publication import Destination
    from weighbridge.domain.tensor_plan import ConversionPlan

#: No card is larger; the Hub refuses one of more than a few MB.
_MOST_CARD = 8 << 20


@frozen
class Gather:
    """Makes the files of one publication, in a stage, and lists those that ship unchanged."""

    files: FileSystem
    converter: Converter
    provers: tuple[Prover, ...]
    loadable: LoadableBase | None
    request: PublishRequest
    loaded: Loaded
    ignored: Ignored
    registry: Registry
    progress: Progress

    @staticmethod
    def ignored_of(files: FileSystem, loaded: Loaded, location: str) -> Ignored:
        """What the source's own file takes away. Raises UsageError if that is not to be done."""
        require_regular(loaded.artifact.scan)
        ignored = Ignored.parse(read_optional(files, location, IGNORE) or b"")
        ignored.require_kept(needed(loaded.model, loaded.detected))
        return ignored

    def convert(
        self, stage: Stage
    ) -> tuple[ConversionPlan | None, Proof | None, tuple[ManifestEntry, ...]]:
        """The plan, the proof, and what was made of a LoRA; nothing of any other model."""
        request, loaded, progress = self.request, self.loaded, self.progress
        if not isinstance(loaded.model, LoraModel):
            return None, None, ()
        plan = plan_conversion(self.files, loaded, request.wanted)
        write = StageConversion(self.files, self.converter)
        entries = write(loaded, plan, stage, digest=True, progress=progress)
        source = directory_of(request.location, loaded.detected.directory)
        asked = proof_request(
            self.files, source, stage.root, request.wanted.base, plan.scale, loaded.detected.weights
        )
        proof = Prove(self.provers, self.loadable)(asked, limit=request.limit, progress=progress)
        demand(proof, request.require)
        return plan, proof, (*entries, *self._written_card(stage, plan))

    def _written_card(self, stage: Stage, plan: ConversionPlan | None) -> tuple[ManifestEntry, ...]:
        names = {e.path.name for e in shipped(self.loaded.model, self.loaded.artifact.scan)}
        # The author's own card is kept as it is, or was taken away.
        if CARD in names or self.ignored.takes(CARD):
            return ()
        card = self._card(plan)
        kept = _kept_card(self.registry, self.request.destination, card)
        return (stage.write(ArtifactPath(CARD), [card if kept is None else kept], digest=True),)

    def _card(self, plan: ConversionPlan | None) -> bytes:
        request = self.request
        licence = request.licence
        if licence is None and request.wanted.base is not None:
            licence = licence_of(read_optional(self.files, request.wanted.base, CARD) or b"")
        facts = _card_facts(request, self.loaded, plan, licence)
        return render_card(facts)

    def blobs(
        self, stage: Stage, made: tuple[ManifestEntry, ...], judged: Manifest
    ) -> dict[ArtifactPath, Blob]:
        """Everything that is published. Digests are those of what was judged, so that the registry
        refuses what was changed since."""
        blobs = self.staged(stage, made)
        if isinstance(self.loaded.model, FusedModel | PeftModel):
            blobs |= self.staged(stage, self._written_card(stage, None))
        ships = self.ships()
        total, done = sum(e.size for e in ships), 0
        for entry in ships:
            target = target_of(self.loaded.model, entry)
            known = judged.find(entry.path)
            digest = (known and known.digest("sha256")) or sha256_of(
                self.files, self.request.location, entry.path
            )
            blobs[target] = self._blob(
                self.request.location, entry.path, ManifestEntry(target, entry.size, (digest,))
            )
            done += entry.size
            self.progress("hashing", done, total)
        return blobs

    def staged(self, stage: Stage, entries: tuple[ManifestEntry, ...]) -> dict[ArtifactPath, Blob]:
        """Files that were written into the stage."""
        return {e.path: self._blob(stage.root, e.path, e) for e in entries}

    def ships(self) -> tuple[FileEntry, ...]:
        """The files of the source that ship as they are."""
        listed = shipped(self.loaded.model, self.loaded.artifact.scan)
        return tuple(e for e in listed if not self.ignored.takes(e.path.text))

    def _blob(self, root: str, path: ArtifactPath, entry: ManifestEntry) -> Blob:
        def opened() -> BinaryIO:
            try:
                return self.files.open_stream(root, path)
            except (PathMissing, PathConflict) as error:
                raise ArtifactChanged(
                    path=path.text, expected=f"{entry.size} bytes", actual="nothing"
                ) from error

        return Blob(entry, opened)


def _kept_card(registry: Registry, destination: Destination, ours: bytes) -> bytes | None:
    """The card that its author wrote or edited on the Hub: one written here is no reason to replace
    it. None if there is none, or if it is one of ours."""
    head = registry.head(destination) if isinstance(destination, HubRepo) else None
    path = ArtifactPath(CARD)
    there = head.manifest.find(path) if head else None
    if head is None or there is None or there.size > _MOST_CARD:
        return None
    entry = ManifestEntry(path, len(ours), ())
    if there.same_content(
        evolve(entry, digests=(git_blob_id(Blob(entry, lambda: BytesIO(ours))),))
    ):
        return None
    with registry.open(destination, head.revision, path) as stream:
        card = stream.read()
    return None if is_rendered(card) else card


def _card_facts(
    request: PublishRequest,
    loaded: Loaded,
    plan: ConversionPlan | None,
    licence: str | None,
) -> CardFacts:
    name = request.destination.name
    if isinstance(loaded.model, FusedModel):
        mlx = loaded.model.quantised
        library = "mlx" if mlx else "transformers"
        relation = "finetune" if request.wanted.base_model else None
        return CardFacts(name, library, request.wanted.base_model, relation, licence, (library,))
    if plan is None:
        base = request.wanted.base_model or loaded.model.base_model
        return CardFacts(name, "peft", base, "adapter", licence, ("lora", "transformers"))
    base = str(plan.config["base_model_name_or_path"])
    figures = [("rank", str(plan.config["r"])), ("scale", f"{plan.scale:g}")]
    tags = ("lora", "transformers", f"base_model:adapter:{base}")
    return CardFacts(name, "peft", base, "adapter", licence, tags, tuple(figures))
