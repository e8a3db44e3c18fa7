"""Convert between MLX and PEFT: plan, stage, stream, prove the algebra, commit by one rename."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from weighbridge.application.base_copies import base_copies
from weighbridge.application.load import Loaded, directory_of, load, read_base
from weighbridge.application.outputs import require_free
from weighbridge.application.ports import (
    Buffer,
    Converter,
    FileSystem,
    GgufType,
    Progress,
    ProofRequest,
    Prover,
    Reader,
    Stage,
    no_progress,
)
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
from weighbridge.domain.conversion import PeftRequest, Profile, plan_peft
from weighbridge.domain.detection import LORA_WEIGHTS, Choice
from weighbridge.domain.errors import (
    NotConvertible,
    ProofFailed,
)
from weighbridge.domain.mlx.conversion import Joining, plan_mlx
from weighbridge.domain.models import Kind, LoraModel, PeftModel
from weighbridge.domain.proof import Proof
from weighbridge.domain.tensors import Header, encode_header

if TYPE_CHECKING:
    from weighbridge.domain.tensor_plan import ConversionPlan

CONFIG = ArtifactPath("adapter_config.json")


class Target(Enum):
    """What to convert to; the value is the word of ``--to``."""

    PEFT = "peft"
    MLX = "mlx"
    GGUF = "gguf"

    @property
    def weights(self) -> ArtifactPath:
        """The file that holds the tensors."""
        name = "adapter_model.safetensors" if self is Target.PEFT else "adapters.safetensors"
        return ArtifactPath(name)

    @property
    def metadata(self) -> Mapping[str, str] | None:
        """What PEFT itself writes, since some readers look for it; MLX writes none."""
        return {"format": "pt"} if self is Target.PEFT else None


def peft_of(loaded: Loaded) -> PeftModel:
    """The PEFT adapter. Raises NotConvertible for any other kind."""
    if not isinstance(loaded.model, PeftModel):
        reason = f"it is {loaded.detected.kind.value}, and only a PEFT adapter converts to MLX"
        raise NotConvertible(location=loaded.artifact.location, reasons=(reason,))
    return loaded.model


@frozen
class Wanted:
    """What the caller says of a conversion. ``base_model`` and ``scale`` override the config;
    ``base`` is a directory of the base model."""

    base_model: str | None = None
    base: str | None = None
    scale: float | None = None
    profile: Profile = Profile.PORTABLE


@frozen
class ConvertRequest:
    """What to convert, to where, and how."""

    location: str
    output: str
    wanted: Wanted = field(factory=Wanted)
    choice: Choice = field(factory=Choice)
    force: bool = False
    to: Target = Target.PEFT
    outtype: GgufType = GgufType.F32


@frozen
class Converted:
    """What was written. ``plan`` and ``proof`` are None if nothing was computed: a PEFT adapter was
    only rendered in another container."""

    output: str
    plan: ConversionPlan | None
    entries: tuple[ManifestEntry, ...]
    proof: Proof | None


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


def lora_of(loaded: Loaded) -> LoraModel:
    """The LoRA. Raises NotConvertible for any other kind."""
    if not isinstance(loaded.model, LoraModel):
        reason = {
            Kind.PEFT: "it is a PEFT adapter already; publish it as it is",
            Kind.FUSED: "it is a fused model, which needs no conversion; publish it as it is",
        }[loaded.detected.kind]
        raise NotConvertible(location=loaded.artifact.location, reasons=(reason,))
    return loaded.model


def plan_conversion(files: FileSystem, loaded: Loaded, wanted: Wanted) -> ConversionPlan:
    """The plan, with what the base's config.json and tensor headers tell if it is at hand."""
    request = PeftRequest(
        read_base(files, wanted.base), wanted.profile, wanted.base_model, wanted.scale
    )
    return plan_peft(lora_of(loaded), location=loaded.artifact.location, request=request)


def proof_request(
    files: FileSystem,
    source: str,
    converted: str,
    base: str | None,
    scale: float,
    weights: str = LORA_WEIGHTS,
) -> ProofRequest:
    """The request for provers, with what is known of the base."""
    return ProofRequest(source, converted, base, scale, read_base(files, base), weights)


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
        to: Target = Target.PEFT,
        digest: bool = False,
        progress: Progress = no_progress,
    ) -> tuple[ManifestEntry, ...]:
        """The entries written: weights and config."""
        model, location = loaded.model, loaded.artifact.location
        assert isinstance(model, LoraModel | PeftModel)
        found = loaded.artifact.tensor_file(model.weights_path)
        assert found is not None and found.header is not None
        with self.files.open(location, found.path) as reader:
            source = SafetensorsSource.of(reader, found.header)
            chunks = self._chunks(plan, source, to.metadata, progress)
            size = sum(spec.nbytes for spec in plan.specs)
            weights = stage.write(to.weights, chunks, digest=digest, expected=size)
        return weights, stage.write(CONFIG, [plan.config_bytes], digest=digest)

    def _chunks(
        self,
        plan: ConversionPlan,
        source: SafetensorsSource,
        metadata: Mapping[str, str] | None,
        progress: Progress,
    ) -> Iterator[Buffer]:
        total, done = sum(s.nbytes for s in plan.specs), 0
        yield encode_header(plan.specs, metadata)
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
        """Write the other form to ``output``, all or nothing.

        Raises NotConvertible, ProofFailed if what was written is not the same function,
        PathConflict if the output exists and ``force`` is False, StorageFull.
        """
        require_free(self.files, request.output, "convert", force=request.force)
        loaded = load(self.files, request.location, request.choice)
        if request.to is Target.PEFT:
            plan = plan_conversion(self.files, loaded, request.wanted)
            return self._carry_out(request, loaded, plan, progress)
        return self._to_mlx(request, loaded, progress)

    def _to_mlx(self, request: ConvertRequest, loaded: Loaded, progress: Progress) -> Converted:
        """The first of the plans that is proved: only the values tell whether, and how, what
        transformers joins can be taken apart again."""
        peft, wanted = peft_of(loaded), request.wanted
        known = read_base(self.files, wanted.base)
        copies = base_copies(self.files, loaded, wanted.base, known)
        model = evolve(peft, tensors=tuple(s for s in peft.tensors if s.name not in copies))
        tried: list[ConversionPlan] = []
        failure: ProofFailed | None = None
        for joining in Joining:
            plan = plan_mlx(
                model,
                known,
                location=loaded.artifact.location,
                base_model=wanted.base_model,
                joining=joining,
                left_out=len(copies),
            )
            if plan in tried:
                continue
            try:
                return self._carry_out(request, loaded, plan, progress, copies)
            except ProofFailed as error:
                tried.append(plan)
                failure = error
        assert failure is not None
        raise failure

    def _carry_out(
        self,
        request: ConvertRequest,
        loaded: Loaded,
        plan: ConversionPlan,
        progress: Progress,
        copies: frozenset[str] = frozenset(),
    ) -> Converted:
        with self.files.stage(request.output) as stage:
            write = StageConversion(self.files, self.converter)
            entries = write(loaded, plan, stage, to=request.to, progress=progress)
            there = directory_of(request.location, loaded.detected.directory)
            mlx, peft = (there, stage.root) if request.to is Target.PEFT else (stage.root, there)
            weights = loaded.detected.weights if request.to is Target.PEFT else LORA_WEIGHTS
            known = read_base(self.files, request.wanted.base)
            asked = ProofRequest(mlx, peft, None, plan.scale, known, weights, copies=copies)
            proof = prove_algebra(self.algebra, asked)
            stage.commit(replace=request.force)
        return Converted(request.output, plan, entries, proof)


def prove_algebra(algebra: Prover, asked: ProofRequest) -> Proof:
    """The proof that both directories say the same. Raises ProofFailed."""
    proof = Proof((algebra.prove(asked),))
    if not proof.passed:
        raise ProofFailed(proof=proof)
    return proof
