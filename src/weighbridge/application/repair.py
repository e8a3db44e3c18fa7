"""Repair a PEFT adapter that a script made wrong: recover the LoRA that is meant, convert it as any
LoRA, prove it, commit by one rename."""

from __future__ import annotations

import json
from collections.abc import Iterator

from attrs import evolve, frozen

from weighbridge.application.convert import (
    SafetensorsSource,
    StageConversion,
    lora_of,
    proof_request,
)
from weighbridge.application.likeness import copied, turning
from weighbridge.application.load import directory_of, load
from weighbridge.application.outputs import require_free
from weighbridge.application.ports import (
    Buffer,
    Converter,
    FileSystem,
    Progress,
    Prover,
    Stage,
    TensorSource,
    no_progress,
)
from weighbridge.application.repair_plan import Planned, PlanRepair, RepairRequest, header, place
from weighbridge.application.verify import Prove
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
from weighbridge.domain.detection import ADAPTER_CONFIG, LORA_WEIGHTS
from weighbridge.domain.errors import ProofFailed, UsageError
from weighbridge.domain.models import Kind
from weighbridge.domain.proof import Proof, ProofLevel, Unattempted
from weighbridge.domain.repairing.recovery import Recovered
from weighbridge.domain.repairing.repair import RepairPlan
from weighbridge.domain.tensors import encode_header


@frozen
class Repaired:
    """What was found, and written. ``output`` is None if nothing was: under ``dry_run``, or if the
    adapter needs no repair. ``proof`` is None under ``dry_run``; it has no step if nothing here
    could be proved."""

    location: str
    weights: str
    plan: RepairPlan
    output: str | None = None
    entries: tuple[ManifestEntry, ...] = ()
    proof: Proof | None = None


@frozen
class Repair:
    """The use case, over its ports."""

    files: FileSystem
    converter: Converter
    provers: tuple[Prover, ...]

    def __call__(self, request: RepairRequest, progress: Progress = no_progress) -> Repaired:
        """Write the corrected adapter to ``output``, all or nothing; the broken one stays.

        With the original the result is proved to be the function that was trained. Raises
        NotRepairable, ProofFailed, OutputExists, and StructureError if there is no adapter.
        """
        output = self._output(request)
        planned = PlanRepair(self.files, self.converter)(request)
        model = planned.examined.model
        done = Repaired(request.location, model.weights_path, planned.plan)
        if request.dry_run:
            return done
        if not planned.plan.needed:
            there = directory_of(request.location, model.directory)
            return evolve(done, proof=self._prove(request, planned, there, progress))
        with self.files.stage(None) as scratch, self.files.stage(output) as stage:
            self._recover(planned, scratch)
            write = StageConversion(self.files, self.converter)
            recovered = load(self.files, scratch.root, Kind.LORA)
            entries = write(recovered, planned.plan.conversion, stage, progress=progress)
            proof = self._prove(request, planned, stage.root, progress)
            stage.commit(replace=request.force)
        return evolve(done, output=output, entries=entries, proof=proof)

    def _output(self, request: RepairRequest) -> str | None:
        if request.dry_run:
            return None
        if request.output is None:
            raise UsageError(problem="repair needs a directory to write to: -o OUT, or --dry-run")
        require_free(self.files, request.output, "repair", force=request.force)
        return request.output

    def _prove(
        self, request: RepairRequest, planned: Planned, converted: str, progress: Progress
    ) -> Proof:
        """The proof up to binding. Raises ProofFailed if anything that was attempted failed."""
        scale, original = planned.plan.conversion.scale, planned.original
        if original is not None:
            assert request.original is not None
            source = directory_of(request.original, original.detected.directory)
            provers = self.provers
        else:
            source = converted  # there is nothing to compare with
            provers = tuple(p for p in self.provers if p.level is ProofLevel.BINDING)
        asked = proof_request(self.files, source, converted, request.base, scale)
        proof = Prove(provers)(asked, limit=ProofLevel.BINDING, progress=progress)
        if proof.steps and not proof.passed:
            raise ProofFailed(proof=proof)
        if original is None:
            missing = Unattempted(ProofLevel.ALGEBRA, "needs the original; give --original")
            return evolve(proof, unattempted=(missing, *proof.unattempted))
        return proof

    def _recover(self, planned: Planned, scratch: Stage) -> None:
        """Write the LoRA that is meant as mlx-lm would have, for the conversion to read."""
        examined, original = planned.examined, planned.original
        path = examined.model.weights_path
        with self.files.open(*place(examined.artifact, path)) as reader:
            broken = SafetensorsSource.of(reader, header(examined.artifact, path))
            if original is None:
                self._write(planned, broken, broken, scratch)
                return
            trained = lora_of(original).weights_path
            with self.files.open(*place(original.artifact, trained)) as other:
                source = SafetensorsSource.of(other, header(original.artifact, trained))
                self._write(planned, broken, source, scratch)

    def _write(
        self, planned: Planned, broken: TensorSource, original: TensorSource, scratch: Stage
    ) -> None:
        tensors = planned.plan.tensors
        chunks = self._chunks(tensors, broken, original)
        scratch.write(ArtifactPath(LORA_WEIGHTS), chunks)
        config = {"lora_parameters": {"scale": planned.plan.conversion.scale}}
        scratch.write(ArtifactPath(ADAPTER_CONFIG), [json.dumps(config).encode()])

    def _chunks(
        self, tensors: tuple[Recovered, ...], broken: TensorSource, original: TensorSource
    ) -> Iterator[Buffer]:
        yield encode_header(t.target for t in tensors)
        turned = turning((t.target, t.source) for t in tensors if t.turned)
        made = self.converter.run(turned, broken)
        for tensor in tensors:
            if tensor.turned:
                yield from next(made)[1]
            else:
                yield from copied(original if tensor.lost else broken, tensor.source)
