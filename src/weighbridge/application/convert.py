"""Convert MLX LoRA to PEFT: plan, stage, stream, prove the algebra, commit by one rename."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from weighbridge.application.load import Loaded, directory_of, load, read_base_config
from weighbridge.application.ports import (
    Buffer,
    Converter,
    FileSystem,
    Progress,
    ProofRequest,
    Prover,
    Reader,
    Stage,
    no_progress,
)
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
from weighbridge.domain.conversion import ConversionPlan, plan_peft
from weighbridge.domain.errors import (
    NotConvertible,
    OutputExists,
    PathConflict,
    PathMissing,
    ProofFailed,
)
from weighbridge.domain.models import Kind, LoraModel
from weighbridge.domain.proof import Proof
from weighbridge.domain.tensors import Header, encode_header

WEIGHTS = ArtifactPath("adapter_model.safetensors")
CONFIG = ArtifactPath("adapter_config.json")
#: The metadata that PEFT itself writes; some readers look for it.
METADATA = {"format": "pt"}


@frozen
class ConvertRequest:
    """``base_model`` and ``scale`` override the config; ``base`` is a directory of the base."""

    location: str
    output: str
    base_model: str | None = None
    scale: float | None = None
    base: str | None = None
    kind: Kind | None = None
    force: bool = False


@frozen
class Converted:
    """What was written."""

    output: str
    plan: ConversionPlan
    entries: tuple[ManifestEntry, ...]
    proof: Proof


@frozen
class SafetensorsSource:
    """The tensors of an open safetensors file."""

    reader: Reader
    starts: Mapping[str, int]

    @classmethod
    def of(cls, reader: Reader, header: Header) -> SafetensorsSource:
        """The source of a file with that header."""
        return cls(reader, {slot.spec.name: slot.start for slot in header.slots})

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        """See ``TensorSource``."""
        self.reader.read_into(buffer, self.starts[name] + offset)


def refuse_existing(files: FileSystem, output: str, operation: str) -> None:
    """Raises OutputExists if there is anything at ``output``."""
    try:
        files.scan(output)
    except PathMissing:
        return
    except PathConflict:
        pass  # a file of that name
    raise OutputExists(path=output, operation=operation)


def lora_of(loaded: Loaded) -> LoraModel:
    """The LoRA. Raises NotConvertible for any other kind."""
    if not isinstance(loaded.model, LoraModel):
        reason = {
            Kind.PEFT: "it is a PEFT adapter already; publish it as it is",
            Kind.FUSED: "it is a fused model, which needs no conversion; publish it as it is",
        }[loaded.detected.kind]
        raise NotConvertible(location=loaded.artifact.location, reasons=(reason,))
    return loaded.model


def plan_conversion(
    files: FileSystem,
    loaded: Loaded,
    *,
    base_model: str | None,
    scale: float | None,
    base: str | None,
) -> ConversionPlan:
    """The plan, with what the base's config.json tells if it is at hand."""
    config = read_base_config(files, base) or {}
    model_type = config.get("model_type")
    return plan_peft(
        lora_of(loaded),
        location=loaded.artifact.location,
        base_model=base_model,
        scale=scale,
        model_type=model_type if isinstance(model_type, str) else None,
    )


@frozen
class StageConversion:
    """Writes a planned conversion into a stage; used by ``convert`` and ``publish``."""

    files: FileSystem
    converter: Converter

    def __call__(
        self,
        loaded: Loaded,
        plan: ConversionPlan,
        stage: Stage,
        *,
        digest: bool = False,
        progress: Progress = no_progress,
    ) -> tuple[ManifestEntry, ...]:
        """The entries written: weights and config."""
        model, location = lora_of(loaded), loaded.artifact.location
        found = loaded.artifact.tensor_file(model.weights_path)
        assert found is not None and found.header is not None
        with self.files.open(location, found.path) as reader:
            source = SafetensorsSource.of(reader, found.header)
            chunks = self._chunks(plan, source, progress)
            weights = stage.write(WEIGHTS, chunks, digest=digest)
        return weights, stage.write(CONFIG, [plan.config_bytes], digest=digest)

    def _chunks(
        self, plan: ConversionPlan, source: SafetensorsSource, progress: Progress
    ) -> Iterator[Buffer]:
        total, done = sum(s.nbytes for s in plan.specs), 0
        yield encode_header(plan.specs, METADATA)
        for spec, chunks in self.converter.run(plan, source):
            written = 0
            for chunk in chunks:
                yield chunk
                written += memoryview(chunk).nbytes
            if written != spec.nbytes:  # a converter that breaks its contract is a bug
                raise RuntimeError(f"{spec.name}: {written} bytes written, {spec.nbytes} planned")
            done += written
            progress("converting", done, total)


@frozen
class Convert:
    """The use case, over its ports."""

    files: FileSystem
    converter: Converter
    algebra: Prover

    def __call__(self, request: ConvertRequest, progress: Progress = no_progress) -> Converted:
        """Write the PEFT form to ``output``, all or nothing.

        Raises NotConvertible, ProofFailed if what was written is not the same function,
        PathConflict if the output exists and ``force`` is False, StorageFull.
        """
        if not request.force:
            refuse_existing(self.files, request.output, "convert")
        loaded = load(self.files, request.location, request.kind)
        plan = plan_conversion(
            self.files,
            loaded,
            base_model=request.base_model,
            scale=request.scale,
            base=request.base,
        )
        with self.files.stage(request.output) as stage:
            write = StageConversion(self.files, self.converter)
            entries = write(loaded, plan, stage, progress=progress)
            source = directory_of(request.location, loaded.detected.directory)
            step = self.algebra.prove(ProofRequest(source, stage.root, request.base, plan.scale))
            proof = Proof((step,))
            if not proof.passed:
                raise ProofFailed(proof=proof)
            stage.commit(replace=request.force)
        return Converted(request.output, plan, entries, proof)
