"""Convert a LoRA to GGUF, for llama.cpp and Ollama: to portable PEFT, proved, then rendered."""

from __future__ import annotations

from attrs import frozen

from weighbridge.application.convert import (
    Converted,
    ConvertRequest,
    StageConversion,
    peft_of,
    plan_conversion,
    prove_algebra,
)
from weighbridge.application.load import Loaded, directory_of, load, read_base
from weighbridge.application.outputs import require_free
from weighbridge.application.ports import (
    Converter,
    FileSystem,
    GgufRequest,
    GgufWriter,
    Progress,
    ProofRequest,
    Prover,
    Stage,
    no_progress,
)
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
from weighbridge.domain.card import CardFacts, render_card
from weighbridge.domain.errors import MissingExtra, UsageError
from weighbridge.domain.models import LoraModel
from weighbridge.domain.proof import Proof
from weighbridge.domain.tensor_plan import ConversionPlan

FILE = ArtifactPath("adapter.gguf")
_CARD = ArtifactPath("README.md")


@frozen
class ConvertGguf:
    """The use case, over its ports."""

    files: FileSystem
    converter: Converter
    algebra: Prover
    gguf: GgufWriter

    def __call__(self, request: ConvertRequest, progress: Progress = no_progress) -> Converted:
        """Write the GGUF to ``output``, all or nothing; from an MLX LoRA or from PEFT.

        ``output`` is the file if its name ends in .gguf, else a directory for ``adapter.gguf``.

        Needs the base's config.json, for the architecture decides names and orders. Raises
        UsageError without a base, MissingExtra, NotConvertible, ProofFailed, PathConflict.
        """
        if (missing := self.gguf.obstacle()) is not None:
            raise MissingExtra(problem=missing, extra="gguf")
        if request.wanted.base is None:
            raise UsageError(problem="a GGUF needs the base's config.json: give --base DIR")
        require_free(self.files, request.output, "convert", force=request.force)
        loaded = load(self.files, request.location, request.choice)
        if not isinstance(loaded.model, LoraModel):
            there = directory_of(request.location, peft_of(loaded).directory)
            return self._render(request, there, None, None)
        with self.files.stage(None) as scratch:
            plan, proof = self._convert(request, loaded, scratch, progress)
            return self._render(request, scratch.root, plan, proof)

    def _convert(
        self, request: ConvertRequest, loaded: Loaded, scratch: Stage, progress: Progress
    ) -> tuple[ConversionPlan, Proof]:
        plan = plan_conversion(self.files, loaded, request.wanted)
        write = StageConversion(self.files, self.converter)
        write(loaded, plan, scratch, progress=progress)
        base_model = str(plan.config["base_model_name_or_path"])
        facts = CardFacts(request.output, "peft", base_model, "adapter")
        scratch.write(_CARD, [render_card(facts)])
        there = directory_of(request.location, loaded.detected.directory)
        known = read_base(self.files, request.wanted.base)
        weights = loaded.detected.weights
        asked = ProofRequest(there, scratch.root, None, plan.scale, known, weights)
        proof = prove_algebra(self.algebra, asked)
        return plan, proof

    def _render(
        self,
        request: ConvertRequest,
        converted: str,
        plan: ConversionPlan | None,
        proof: Proof | None,
    ) -> Converted:
        assert request.wanted.base is not None
        output = request.output.rstrip("/")
        name = output.rpartition("/")[2].removesuffix(".gguf")
        asked = GgufRequest(converted, request.wanted.base, name, request.outtype)
        chunks = self.gguf.render(asked)
        alone = _file_itself(output)
        with self.files.stage(output) as stage:
            entry: ManifestEntry = stage.write(alone or FILE, chunks, digest=True)
            stage.commit(replace=request.force, only=alone)
        return Converted(request.output, plan, (entry,), proof)


def _file_itself(output: str) -> ArtifactPath | None:
    """What the output is called if it is a file, for what is reported to be what is there."""
    name = output.rpartition("/")[2]
    if not name.endswith(".gguf"):
        return None
    # The file system of the output may hold names that a published file may not have.
    return FILE if ArtifactPath.problem_with(name) else ArtifactPath(name)
