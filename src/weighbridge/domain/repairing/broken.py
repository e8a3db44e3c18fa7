"""Where the adapter is in a directory that nobody guarantees anything about.

Wider than ``detect``, which publishing trusts: any safetensors file with LoRA tensors will do,
since what is made of it is judged and proved anew.
"""

from __future__ import annotations

from weighbridge.domain.artifact import ModelArtifact, TensorFile
from weighbridge.domain.detection import (
    CHECKPOINT,
    LORA_WEIGHTS,
    PEFT_WEIGHTS,
    pair_targets,
)
from weighbridge.domain.errors import (
    AmbiguousModelStructure,
    ArtifactUnreadable,
    InvalidModelStructure,
    NotRepairable,
)
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.repairing.misnamed import adapter_in


def find_adapter(artifact: ModelArtifact) -> PeftModel:
    """The one PEFT adapter, whatever its file is called; a config that is missing counts as empty.

    Raises InvalidModelStructure if no file holds LoRA tensors, AmbiguousModelStructure if several
    do, ArtifactUnreadable for a broken file, NotRepairable for what mlx-lm itself wrote.
    """
    file = _weights(artifact)
    if file.header is None:
        problems = tuple(f"{file.path}: {d.code} {d.tensor} {d.detail}" for d in file.defects)
        raise ArtifactUnreadable(location=artifact.location, problems=problems)
    model = adapter_in(artifact, file)
    document = artifact.document(model.config_path)
    if document is not None and document.problem is not None:
        problem = f"{document.path}: {document.problem.code} {document.problem.detail}"
        raise ArtifactUnreadable(location=artifact.location, problems=(problem,))
    _refuse_mlx(artifact, file, model)
    return model


def _weights(artifact: ModelArtifact) -> TensorFile:
    proper = [f for f in artifact.tensor_files if f.path.name == PEFT_WEIGHTS]
    found = proper or [f for f in artifact.tensor_files if _holds_lora(f)]
    listed = tuple(sorted(artifact.paths))
    if len(found) > 1:
        names = ", ".join(f.path.text for f in found)
        problem = f"{names} all hold a LoRA; give a directory with the one that is meant"
        raise AmbiguousModelStructure(
            location=artifact.location, problems=(problem,), found=listed, kinds=("peft",)
        )
    if not found:
        problem = "no safetensors file here holds LoRA tensors; pickled weights are not read"
        unreadable = (f"{f.path}: {d.code} {d.detail}" for f in artifact.tensor_files
                      for d in f.defects)  # fmt: skip
        raise InvalidModelStructure(
            location=artifact.location, problems=(problem, *unreadable), found=listed
        )
    return found[0]


def _holds_lora(file: TensorFile) -> bool:
    slots = file.header.slots if file.header else ()
    return not CHECKPOINT.fullmatch(file.path.name) and any(
        parse_name(slot.spec.name) is not None for slot in slots
    )


def _refuse_mlx(artifact: ModelArtifact, file: TensorFile, model: PeftModel) -> None:
    """A run of mlx-lm is not broken, it is no PEFT adapter yet."""
    targets, others = pair_targets(model.tensors)
    trained = "lora_parameters" in model.config or "fine_tune_type" in model.config
    if file.path.name == LORA_WEIGHTS and targets and not others and trained:
        reason = "it is a LoRA as mlx-lm wrote it, and not broken; use weighbridge convert"
        raise NotRepairable(location=artifact.location, reasons=(reason,))
