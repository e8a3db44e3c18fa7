"""Prove a conversion at every level that is possible, weakest first, stopping at a failure."""

from __future__ import annotations

from attrs import evolve, field, frozen

from weighbridge.application.changed_weights import MeasureChanges, whole
from weighbridge.application.convert import proof_request
from weighbridge.application.load import Loaded, classify, directory_of, load, read_artifact
from weighbridge.application.loadable_base import LoadableBase
from weighbridge.application.ports import (
    FileSystem,
    Progress,
    ProofRequest,
    Prover,
    no_progress,
)
from weighbridge.domain.detection import Choice
from weighbridge.domain.errors import NotConvertible, ProofFailed, StructureError, UsageError
from weighbridge.domain.kept_changes import judged
from weighbridge.domain.models import Kind, LoraModel, PeftModel
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep, Unattempted
from weighbridge.domain.scale import effective_scale


@frozen
class VerifyRequest:
    """``converted`` is a PEFT directory made from ``location``, or a model that it was fused into.
    ``full_base`` is the full-precision
    base of a quantised ``base``; how far it is from that is reported, and no matter of proof."""

    location: str
    converted: str
    base: str | None = None
    scale: float | None = None
    choice: Choice = field(factory=Choice)
    require: ProofLevel | None = None
    limit: ProofLevel = ProofLevel.LOGITS
    full_base: str | None = None


@frozen
class Prove:
    """Runs the provers in order of strength; ``loadable`` unpacks a base that MLX quantised."""

    provers: tuple[Prover, ...]
    loadable: LoadableBase | None = None

    def __call__(
        self,
        request: ProofRequest,
        *,
        limit: ProofLevel = ProofLevel.LOGITS,
        progress: Progress = no_progress,
    ) -> Proof:
        """The proof. A level that fails ends it: a stronger one could not repair it."""
        steps: list[ProofStep] = []
        unattempted: list[Unattempted] = []
        ordered = sorted(self.provers, key=lambda p: p.level)
        for prover in ordered:
            if steps and not steps[-1].passed:
                unattempted.append(Unattempted(prover.level, "a weaker level failed"))
            elif prover.level > limit:
                unattempted.append(Unattempted(prover.level, "not asked for"))
            elif (obstacle := prover.obstacle(request)) is not None:
                unattempted.append(Unattempted(prover.level, obstacle))
            else:
                title = f"proving {prover.level.label}"
                progress(title, 0, 1)
                match self._prove(prover, request, progress):
                    case ProofStep() as step:
                        steps.append(step)
                    case Unattempted() as missed:
                        unattempted.append(missed)
                progress(title, 1, 1)
        return Proof(tuple(steps), tuple(unattempted))

    def _prove(
        self, prover: Prover, request: ProofRequest, progress: Progress
    ) -> ProofStep | Unattempted:
        if prover.level is not ProofLevel.LOGITS or self.loadable is None:
            return prover.prove(request, progress)
        try:
            with self.loadable(request, progress) as loadable:
                return prover.prove(loadable, progress)
        except NotConvertible as error:
            reason = f"the base is quantised and cannot be unpacked: {'; '.join(error.reasons[:3])}"
            return Unattempted(prover.level, reason)


def demand(proof: Proof, required: ProofLevel | None) -> Proof:
    """``proof``, if it passed and reaches ``required``. Raises ProofFailed otherwise."""
    if not proof.passed or (required is not None and not proof.reaches(required)):
        raise ProofFailed(proof=proof, required=required)
    return proof


@frozen
class Verify:
    """The use case, over its ports."""

    files: FileSystem
    provers: tuple[Prover, ...]
    loadable: LoadableBase | None = None
    measure: MeasureChanges | None = None

    def __call__(self, request: VerifyRequest, progress: Progress = no_progress) -> Proof:
        """The proof, passed or not. Raises if one of the directories cannot be read as its kind,
        UsageError if a fused model is to be verified without its base, or ProofFailed if it does
        not reach ``require``."""
        source = load(self.files, request.location, request.choice)
        model = source.model
        if not isinstance(model, LoraModel):
            raise UsageError(
                problem=f"{request.location} is no MLX LoRA ({source.detected.kind.value}); the "
                "run comes first, and then what was made of it"
            )
        if self.measure is not None and self._is_whole(request.converted):
            proof = self._fused(request, source, model, self.measure)
        else:
            proof = self._converted(request, source, model, progress)
        if request.require is not None and proof.passed:
            return demand(proof, request.require)
        return proof

    def _is_whole(self, location: str) -> bool:
        try:
            return classify(read_artifact(self.files, location)).kind is Kind.FUSED
        except StructureError:
            return False

    def _fused(
        self, request: VerifyRequest, source: Loaded, model: LoraModel, measure: MeasureChanges
    ) -> Proof:
        """How much of the run is in the weights that it was fused into."""
        if request.base is None:
            raise UsageError(problem="a fused model is held against its base; give --base DIR")
        base, made = whole(self.files, request.base), whole(self.files, request.converted)
        found = measure.kept(source, model, base, made, request.scale)
        reason = "a fused model is held against its base's weights only"
        rest = (Unattempted(prover.level, reason) for prover in self.provers)
        step = judged(found)
        return Proof((step,), tuple(u for u in rest if u.level is not step.level))

    def _converted(
        self, request: VerifyRequest, source: Loaded, model: LoraModel, progress: Progress
    ) -> Proof:
        target = load(self.files, request.converted, Kind.PEFT)
        assert isinstance(target.model, PeftModel)
        scale = request.scale
        if scale is None:
            found = effective_scale(model.config, model.targets[0].rank if model.targets else 1)
            if found.value is None:
                raise NotConvertible(location=request.location, reasons=(found.reason,))
            scale = found.value
        asked = proof_request(
            self.files,
            directory_of(request.location, source.detected.directory),
            directory_of(request.converted, target.detected.directory),
            request.base,
            scale,
            source.detected.weights,
        )
        asked = evolve(asked, full_base=request.full_base)
        return Prove(self.provers, self.loadable)(asked, limit=request.limit, progress=progress)
