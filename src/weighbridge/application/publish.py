"""Publish: load, validate, convert, prove, validate what was made, plan, push, read back.

Nothing is sent before everything before it is good.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attrs import evolve, field, frozen

from weighbridge.application.attest import Attest, Made, signature_at
from weighbridge.application.convert import Wanted
from weighbridge.application.gather import Gather
from weighbridge.application.history import registry_of
from weighbridge.application.load import load
from weighbridge.application.loadable_base import LoadableBase
from weighbridge.application.ports import (
    Converter,
    FileSystem,
    Progress,
    Prover,
    Registry,
    Stage,
    no_progress,
)
from weighbridge.application.send import Send, require_same_files
from weighbridge.application.unchanged import AsJudged
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
from weighbridge.domain.detection import Choice
from weighbridge.domain.errors import ArtifactChanged, PublicationBlocked
from weighbridge.domain.findings import ValidationReport
from weighbridge.domain.models import Kind, LoraModel
from weighbridge.domain.policy.leaving import about_to_leave
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.proof import Proof, ProofLevel
from weighbridge.domain.publication import Destination, PublicationPlan, Receipt
from weighbridge.domain.shipping import own_paths


@frozen
class Planned:
    """A plan that was approved, and the digests of the source that it was made from."""

    plan: PublicationPlan
    source: Manifest


@frozen
class PublishRequest:
    """What to publish, to where, and how; ``require`` is a level that the proof must reach.

    With ``planned`` exactly that is published, or nothing. ``sign_key`` is a PEM file with the
    private key to sign with; with ``keyless`` whoever runs this signs.
    """

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
    tags: tuple[str, ...] = ()
    move_tags: bool = False
    pull_request: bool = False
    planned: Planned | None = None
    sign_key: str | None = None
    keyless: bool = False


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
        registry = registry_of(self.registries, request.destination)
        self.attest.require(request.sign_key, keyless=request.keyless)
        choice, policy = request.choice, request.policy
        # Whoever publishes without a card gets one.
        policy = evolve(policy, ignore=(*policy.ignore, "CD001"))
        report = self._judge(request, request.location, choice, policy, progress)
        if request.planned is not None:
            require_same_files(request.planned.source, report.manifest)
        judged = AsJudged(self.files, request.location, report)
        with judged.blamed():
            loaded = load(self.files, request.location, request.choice)
        judged.require_listing(loaded)
        ignored = Gather.ignored_of(self.files, loaded, request.location)
        registry.check(
            request.destination, pull_request=request.pull_request, writing=not request.dry_run
        )
        gather = Gather(
            self.files, self.converter, self.provers, self.loadable,
            request, loaded, ignored, registry, progress,
        )  # fmt: skip
        leaving = about_to_leave(report, {e.path.text for e in gather.ships()}, policy)
        if not leaving.overall_valid:
            raise PublicationBlocked(report=leaving)
        with self.files.stage(None) as stage:
            with judged.blamed():
                converted, proof, made = gather.convert(stage)
            if isinstance(loaded.model, LoraModel):
                # Read a second time, and no longer checked when it is sent, since it is not.
                judged.require_bytes(map(ArtifactPath, own_paths(loaded.model)))
                # An exception is for a file of the source; what is made of it is other bytes.
                made_policy = evolve(policy, exceptions=())
                again = self._judge(request, stage.root, Choice(Kind.PEFT), made_policy, progress)
                _require_same(made, again.manifest)
            blobs = gather.blobs(stage, made, report.manifest)
            statement = self.attest(
                [blob.entry for blob in blobs.values()],
                Made(loaded, request.wanted, report, converted, proof),
                stage,
            )
            blobs |= gather.staged(stage, (statement,))
            send = Send(registry, request, blobs, progress)
            if request.keyless or request.sign_key is not None:
                send = self._signed(send, gather, stage)
            plan = send.plan()
            receipt = None if request.dry_run else send.carry_out(plan)
            return PublishOutcome(report, plan, receipt, proof)

    def _signed(self, send: Send, gather: Gather, stage: Stage) -> Send:
        """The same with a signature. Without a key it is logged, which nothing is that is refused,
        and no plan knows it: what was planned is compared before."""
        request = send.request
        if request.keyless:
            ground = send.plan()
            send = evolve(send, ground=ground, request=evolve(request, planned=None))
        signature = self.attest.sign(
            [blob.entry for blob in send.blobs.values()],
            stage,
            name=request.destination.name,
            key=request.sign_key,
            earlier=partial(signature_at, send.registry, request.destination),
        )
        return evolve(send, blobs={**send.blobs, **gather.staged(stage, (signature,))})

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


def _require_same(made: tuple[ManifestEntry, ...], judged: Manifest) -> None:
    """Raises ArtifactChanged if what was judged is not what was made."""
    for entry in made:
        found = judged.find(entry.path)
        if found is not None and not found.same_content(entry):
            expected, actual = (f"{e.size} bytes {e.digests[0]}" for e in (entry, found))
            raise ArtifactChanged(path=entry.path.text, expected=expected, actual=actual)
