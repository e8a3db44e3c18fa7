"""Publish: load, validate, convert, prove, validate what was made, plan, push, read back.

Nothing is sent before everything before it is good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

from attrs import evolve, field, frozen

from weighbridge.application.attest import Attest, Made
from weighbridge.application.convert import StageConversion, Wanted, plan_conversion, proof_request
from weighbridge.application.digests import feed, sha256_of
from weighbridge.application.load import Loaded, directory_of, load, read_optional
from weighbridge.application.loadable_base import LoadableBase
from weighbridge.application.ports import (
    Blob,
    Converter,
    FileSystem,
    Progress,
    Prover,
    Registry,
    Stage,
    no_progress,
)
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.application.verify import Prove, demand
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.card import CardFacts, is_rendered, licence_of, render_card
from weighbridge.domain.detection import Choice
from weighbridge.domain.errors import (
    ArtifactChanged,
    PublicationBlocked,
    ReadBackMismatch,
    UsageError,
)
from weighbridge.domain.findings import ValidationReport
from weighbridge.domain.models import FusedModel, Kind, LoraModel, PeftModel
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.proof import Proof, ProofLevel
from weighbridge.domain.publication import (
    Destination,
    HubRepo,
    PublicationPlan,
    Receipt,
    RemoteHead,
    plan_publication,
    read_back_differences,
)
from weighbridge.domain.shipping import CARD, shipped
from weighbridge.domain.tensor_plan import ConversionPlan


@frozen
class PublishRequest:
    """What to publish, to where, and how; ``require`` is a level that the proof must reach,
    ``sign_key`` a PEM file with the private key to sign with."""

    location: str
    destination: Destination
    wanted: Wanted = field(factory=Wanted)
    choice: Choice = field(factory=Choice)
    public: bool = False
    dry_run: bool = False
    require: ProofLevel | None = None
    limit: ProofLevel = ProofLevel.LOGITS
    licence: str | None = None
    message: str = "Publish with Weighbridge"
    policy: Policy = field(factory=Policy)
    sign_key: str | None = None


@frozen
class PublishOutcome:
    """Everything that was judged and done. ``receipt`` is None for a dry run, ``proof`` if nothing
    was converted."""

    report: ValidationReport
    plan: PublicationPlan
    receipt: Receipt | None
    proof: Proof | None


@frozen
class Publish:
    """The use case, over its ports, and the judge. ``registries`` are chosen by the destination's
    type."""

    files: FileSystem
    converter: Converter
    validate: Validate
    provers: tuple[Prover, ...]
    registries: Mapping[type, Registry]
    loadable: LoadableBase | None = None
    attest: Attest = field(factory=lambda: Attest("unknown"))

    def __call__(self, request: PublishRequest, progress: Progress = no_progress) -> PublishOutcome:
        """Raises PublicationBlocked, NotConvertible, ProofFailed, or the RegistryError family."""
        registry = self._registry(request.destination)
        choice, policy = request.choice, request.policy
        # Whoever publishes without a card gets one.
        policy = evolve(policy, ignore=(*policy.ignore, "CD001"))
        report = self._judge(request, request.location, choice, policy, progress)
        loaded = load(self.files, request.location, request.choice)
        with self.files.stage(None) as stage:
            plan, proof, made = self._convert(request, loaded, stage, progress)
            if isinstance(loaded.model, LoraModel):
                # An exception is for a file of the source; what is made of it is other bytes.
                made_policy = evolve(policy, exceptions=())
                again = self._judge(request, stage.root, Choice(Kind.PEFT), made_policy, progress)
                _require_same(made, again.manifest)
            blobs = self._blobs(request, loaded, stage, made, report.manifest, progress)
            attested = self.attest(
                [blob.entry for blob in blobs.values()],
                Made(loaded, request.wanted, report, plan, proof),
                stage,
                name=request.destination.name,
                key=request.sign_key,
            )
            blobs |= {e.path: self._blob(stage.root, e.path, e) for e in attested}
            return self._send(request, registry, blobs, report, proof, progress)

    def _registry(self, destination: Destination) -> Registry:
        found = self.registries.get(type(destination))
        if found is None:
            raise UsageError(problem=f"no registry is configured for {destination}")
        return found

    def _judge(
        self,
        request: PublishRequest,
        location: str,
        choice: Choice,
        policy: Policy,
        progress: Progress,
    ) -> ValidationReport:
        report = self.validate(
            ValidateRequest(
                location,
                choice,
                request.wanted.base,
                request.wanted.base_model,
                scale=request.wanted.scale,
                policy=policy,
            ),
            progress,
        )
        if report.kind is None:
            load(self.files, location, choice)  # raises with the structure's problems
        if not report.overall_valid:
            raise PublicationBlocked(report=report)
        return report

    def _convert(
        self, request: PublishRequest, loaded: Loaded, stage: Stage, progress: Progress
    ) -> tuple[ConversionPlan | None, Proof | None, tuple[ManifestEntry, ...]]:
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
        card = self._card(request, loaded, plan)
        return plan, proof, (*entries, *self._written_card(loaded, stage, card))

    def _written_card(self, loaded: Loaded, stage: Stage, card: bytes) -> tuple[ManifestEntry, ...]:
        names = {e.path.name for e in shipped(loaded.model, loaded.artifact.scan)}
        if CARD in names:  # the author's own card is kept as it is
            return ()
        return (stage.write(ArtifactPath(CARD), [card], digest=True),)

    def _card(
        self,
        request: PublishRequest,
        loaded: Loaded,
        plan: ConversionPlan | None,
    ) -> bytes:
        licence = request.licence
        if licence is None and request.wanted.base is not None:
            licence = licence_of(read_optional(self.files, request.wanted.base, CARD) or b"")
        facts = _card_facts(request, loaded, plan, licence)
        return render_card(facts)

    def _blobs(
        self,
        request: PublishRequest,
        loaded: Loaded,
        stage: Stage,
        made: tuple[ManifestEntry, ...],
        judged: Manifest,
        progress: Progress,
    ) -> dict[ArtifactPath, Blob]:
        blobs = {e.path: self._blob(stage.root, e.path, e) for e in made}
        if isinstance(loaded.model, FusedModel | PeftModel):
            card = self._written_card(loaded, stage, self._card(request, loaded, None))
            blobs |= {e.path: self._blob(stage.root, e.path, e) for e in card}
        ships = shipped(loaded.model, loaded.artifact.scan)
        total, done = sum(e.size for e in ships), 0
        for entry in ships:
            target = ArtifactPath(entry.path.name)
            # Of what was judged, so that the registry refuses what was changed since.
            known = judged.find(entry.path)
            digest = (known and known.digest("sha256")) or sha256_of(
                self.files, request.location, entry.path
            )
            blobs[target] = self._blob(
                request.location, entry.path, ManifestEntry(target, entry.size, (digest,))
            )
            done += entry.size
            progress("hashing", done, total)
        return blobs

    def _blob(self, root: str, path: ArtifactPath, entry: ManifestEntry) -> Blob:
        def opened() -> BinaryIO:
            return self.files.open_stream(root, path)

        return Blob(entry, opened)

    def _send(
        self,
        request: PublishRequest,
        registry: Registry,
        blobs: dict[ArtifactPath, Blob],
        report: ValidationReport,
        proof: Proof | None,
        progress: Progress,
    ) -> PublishOutcome:
        head = registry.head(request.destination)
        kept = self._card_kept(request.destination, head, blobs)
        entries = {path: blob.entry for path, blob in blobs.items()} | {e.path: e for e in kept}
        manifest = Manifest(entries.values())
        if head is not None:
            manifest = _comparable(manifest, head.manifest, blobs)
        plan = plan_publication(request.destination, manifest, head, private=not request.public)
        if request.dry_run:
            return PublishOutcome(report, plan, None, proof)
        receipt = registry.push(plan, blobs, message=request.message, progress=progress)
        stored = registry.manifest(request.destination, receipt.revision)
        differences = read_back_differences(
            _comparable(manifest, stored.manifest, blobs), stored.manifest
        )
        if differences:
            raise ReadBackMismatch(destination=str(request.destination), differences=differences)
        return PublishOutcome(report, plan, receipt, proof)

    def _card_kept(
        self,
        destination: Destination,
        head: RemoteHead | None,
        blobs: Mapping[ArtifactPath, Blob],
    ) -> tuple[ManifestEntry, ...]:
        """The card that its author wrote or edited on the Hub: one written here is no reason to
        replace it."""
        path = ArtifactPath(CARD)
        there = head.manifest.find(path) if head else None
        if head is None or there is None or not isinstance(destination, HubRepo):
            return ()
        if path not in blobs or not is_rendered(_content(blobs[path])):
            return ()
        card = read_optional(self.files, f"hf://{destination.name}@{head.revision}", CARD)
        return () if card is None or is_rendered(card) else (there,)


def _content(blob: Blob) -> bytes:
    with blob.open() as stream:
        return stream.read()


def _require_same(made: tuple[ManifestEntry, ...], judged: Manifest) -> None:
    """Raises ArtifactChanged if what was judged is not what was made."""
    for entry in made:
        found = judged.find(entry.path)
        if found is not None and not found.same_content(entry):
            expected, actual = (f"{e.size} bytes {e.digests[0]}" for e in (entry, found))
            raise ArtifactChanged(path=entry.path.text, expected=expected, actual=actual)


def _comparable(
    manifest: Manifest, remote: Manifest, blobs: Mapping[ArtifactPath, Blob]
) -> Manifest:
    """``manifest``, knowing the git blob id of each file that the remote knows only by that."""
    more = {}
    for entry in manifest.entries:
        there = remote.find(entry.path)
        wanted = there.digest("git-sha1") if there else None
        if wanted is not None and entry.digest("git-sha1") is None:
            more[entry.path] = git_blob_id(blobs[entry.path])
    return manifest.with_digests(more)


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
