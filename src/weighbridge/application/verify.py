"""Prove a conversion at every level that is possible, weakest first, stopping at a failure."""

from __future__ import annotations

from attrs import field, frozen

from weighbridge.application.convert import lora_of, proof_request
from weighbridge.application.load import directory_of, load
from weighbridge.application.ports import (
    FileSystem,
    Progress,
    ProofRequest,
    Prover,
    no_progress,
)
from weighbridge.domain.detection import Choice
from weighbridge.domain.errors import NotConvertible, ProofFailed
from weighbridge.domain.models import Kind, PeftModel
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep, Unattempted
from weighbridge.domain.scale import effective_scale


@frozen
class VerifyRequest:
    """``converted`` is a PEFT directory made from ``location``."""

    location: str
    converted: str
    base: str | None = None
    scale: float | None = None
    choice: Choice = field(factory=Choice)
    require: ProofLevel | None = None
    limit: ProofLevel = ProofLevel.LOGITS


@frozen
class Prove:
    """Runs the provers in order of strength."""

    provers: tuple[Prover, ...]

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
                steps.append(prover.prove(request, progress))
                progress(title, 1, 1)
        return Proof(tuple(steps), tuple(unattempted))


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

    def __call__(self, request: VerifyRequest, progress: Progress = no_progress) -> Proof:
        """The proof, passed or not. Raises if one of the directories cannot be read as its kind,
        or ProofFailed if it does not reach ``require``."""
        source = load(self.files, request.location, request.choice)
        model = lora_of(source)
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
        proof = Prove(self.provers)(asked, limit=request.limit, progress=progress)
        if request.require is not None and proof.passed:
            return demand(proof, request.require)
        return proof
