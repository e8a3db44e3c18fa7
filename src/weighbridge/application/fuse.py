"""Fuse a run into its base: load both, plan, stream shard by shard, prove, commit by one rename."""

from __future__ import annotations

from contextlib import ExitStack

from attrs import field, frozen

from weighbridge.application.checkpoint import (
    CONFIG,
    FilesSource,
    WriteCheckpoint,
    specs_of,
    tensor_files,
    written_by_mlx,
)
from weighbridge.application.load import Loaded, load
from weighbridge.application.outputs import require_free
from weighbridge.application.ports import (
    FileSystem,
    Progress,
    Sources,
    WeightMaker,
    WeightProver,
    no_progress,
)
from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.artifact import ManifestEntry
from weighbridge.domain.checkpoints.fusion import FusionBase, FusionPlan, plan_fusion
from weighbridge.domain.detection import Choice
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import FusedModel, Kind, LoraModel
from weighbridge.domain.proof import Proof


@frozen
class FuseRequest:
    """``base`` is a directory of the base model; ``scale`` overrides the run's config."""

    location: str
    base: str
    output: str
    scale: float | None = None
    choice: Choice = field(factory=Choice)
    force: bool = False


@frozen
class Fused:
    """What was written."""

    output: str
    plan: FusionPlan
    entries: tuple[ManifestEntry, ...]
    proof: Proof


@frozen
class Fuse:
    """The use case, over its ports."""

    files: FileSystem
    maker: WeightMaker
    prover: WeightProver

    def __call__(self, request: FuseRequest, progress: Progress = no_progress) -> Fused:
        """Write the fused model to ``output``, all or nothing, in the shards of the base.

        Raises NotConvertible with every reason, ProofFailed, OutputExists without ``force``,
        InvalidModelStructure if the run is no run or the base no model, StorageFull.
        """
        require_free(self.files, request.output, "fuse", force=request.force)
        run = load(self.files, request.location, request.choice)
        model = _lora_of(run)
        base = load(self.files, request.base, Kind.FUSED)
        weights = _weights_of(base)
        found = tensor_files(base, weights.weights_paths)
        shards = tuple((f.path.text, specs_of(f)) for f in found)
        described = FusionBase(
            request.base,
            weights.config,
            architecture_for(weights.config),
            shards,
            written_by_mlx(found),
        )
        plan = plan_fusion(model, described, location=request.location, scale=request.scale)
        config = self.files.read(request.base, CONFIG)
        write = WriteCheckpoint(self.files, self.maker, self.prover)
        with ExitStack() as opened, self.files.stage(request.output) as stage:
            changes = tensor_files(run, (model.weights_path,))
            sources = Sources(
                FilesSource.of(self.files, request.base, found, opened),
                FilesSource.of(self.files, request.location, changes, opened),
            )
            entries, proof = write(
                plan.checkpoint, sources, stage,
                origin=base, config=config, progress=progress, verb="fusing",
            )  # fmt: skip
            stage.commit(replace=request.force)
        return Fused(request.output, plan, entries, proof)


def _lora_of(loaded: Loaded) -> LoraModel:
    """The run. Raises NotConvertible for any other kind."""
    if not isinstance(loaded.model, LoraModel):
        reason = {
            Kind.PEFT: "it is a PEFT adapter; give the MLX run that it was made from, or what "
            "`weighbridge convert --to mlx` makes of it",
            Kind.FUSED: "it is a whole model already; `weighbridge dequantize` makes a checkpoint "
            "for transformers of one that is quantised or has MLX's names",
        }[loaded.detected.kind]
        raise NotConvertible(location=loaded.artifact.location, reasons=(reason,))
    return loaded.model


def _weights_of(base: Loaded) -> FusedModel:
    assert isinstance(base.model, FusedModel)
    return base.model
