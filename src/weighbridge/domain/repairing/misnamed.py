"""A PEFT adapter that no loader would find: its tensors are in a file of another name.

``detect`` goes by names and stays strict. This module says what such a directory was meant to be,
for the findings of ``validate``; it makes nothing publishable.
"""

from __future__ import annotations

from weighbridge.domain.artifact import ModelArtifact, TensorFile
from weighbridge.domain.detection import ADAPTER_CONFIG, CHECKPOINT, PEFT_WEIGHTS
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.names import parse_name


def join(directory: str, name: str) -> str:
    """The path of ``name`` in that directory of an artifact; '' is the root."""
    return f"{directory}/{name}" if directory else name


def _holds_peft(file: TensorFile) -> bool:
    names = file.header.specs if file.header else ()
    text = "\n".join(names)
    if "lora_" not in text and "base_model." not in text:  # of ten thousand names at once
        return False
    likely = (text for text in names if "lora_" in text or text.startswith("base_model."))
    return any(name is not None and name.is_peft_style for name in map(parse_name, likely))


def misnamed_files(artifact: ModelArtifact) -> tuple[TensorFile, ...]:
    """Files with tensors in PEFT's spelling, where there is no adapter_model.safetensors."""
    return tuple(
        file
        for file in artifact.tensor_files
        if join(file.path.parent, PEFT_WEIGHTS) not in artifact.paths
        and not CHECKPOINT.fullmatch(file.path.name)
        and _holds_peft(file)
    )


def adapter_in(artifact: ModelArtifact, file: TensorFile) -> PeftModel:
    """The adapter in that file, whose header is sound, with the config beside it if there is one.

    A config that cannot be parsed counts as an empty one; the family JS says what is wrong."""
    directory = file.path.parent
    config = join(directory, ADAPTER_CONFIG)
    document = artifact.document(config)
    assert file.header is not None
    specs = tuple(slot.spec for slot in file.header.slots)
    found = document.object if document else {}
    return PeftModel(directory, file.path.text, config, found, specs)


def misnamed_adapter(artifact: ModelArtifact) -> PeftModel | None:
    """The adapter that the directory was meant to be, if exactly one file could be it."""
    files = misnamed_files(artifact)
    return adapter_in(artifact, files[0]) if len(files) == 1 else None
