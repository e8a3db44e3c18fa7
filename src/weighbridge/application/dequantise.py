"""Make a checkpoint for transformers of a fused MLX model: plan, stream, prove, commit."""

from __future__ import annotations

from contextlib import ExitStack

from attrs import frozen

from weighbridge.application.checkpoint import (
    FilesSource,
    WriteCheckpoint,
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
from weighbridge.domain.checkpoints.dequantisation import DequantisationPlan, plan_dequantisation
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.proof import Proof

#: What transformers called 5GB for years.
SHARD_BYTES = 5_000_000_000


@frozen
class DequantiseRequest:
    """``shard_bytes`` is the most that a file of weights holds, but for one larger tensor.

    ``gaps`` writes a model whose towers mlx-lm left out as the class that it came from: right for a
    proof on texts, and nothing to publish.
    """

    location: str
    output: str
    shard_bytes: int = SHARD_BYTES
    kind: Kind | None = None
    force: bool = False
    gaps: bool = False


@frozen
class Dequantised:
    """What was written."""

    output: str
    plan: DequantisationPlan
    entries: tuple[ManifestEntry, ...]
    proof: Proof


@frozen
class Dequantise:
    """The use case, over its ports."""

    files: FileSystem
    maker: WeightMaker
    prover: WeightProver

    def __call__(self, request: DequantiseRequest, progress: Progress = no_progress) -> Dequantised:
        """Write the checkpoint to ``output``, all or nothing.

        A model that is not quantised gets its names and layouts back, and the plan says so. Raises
        NotConvertible with every reason, ProofFailed, OutputExists without ``force``,
        InvalidModelStructure if it is no model, StorageFull.
        """
        require_free(self.files, request.output, "dequantize", force=request.force)
        loaded = load(self.files, request.location, request.kind)
        model = _fused_of(loaded)
        found = tensor_files(loaded, model.weights_paths)
        plan = plan_dequantisation(
            model,
            architecture_for(model.config),
            location=request.location,
            by_mlx=written_by_mlx(found),
            shard_bytes=request.shard_bytes,
            gaps=request.gaps,
        )
        write = WriteCheckpoint(self.files, self.maker, self.prover)
        with ExitStack() as opened, self.files.stage(request.output) as stage:
            source = FilesSource.of(self.files, request.location, found, opened)
            entries, proof = write(
                plan.checkpoint, Sources(source, source), stage,
                origin=loaded, config=plan.config_bytes, progress=progress, verb="dequantizing",
            )  # fmt: skip
            stage.commit(replace=request.force)
        return Dequantised(request.output, plan, entries, proof)


def _fused_of(loaded: Loaded) -> FusedModel:
    """The model. Raises NotConvertible for any other kind."""
    if not isinstance(loaded.model, FusedModel):
        reason = "it is no whole model; fuse it into its base first (`weighbridge fuse`)"
        raise NotConvertible(location=loaded.artifact.location, reasons=(reason,))
    return loaded.model
