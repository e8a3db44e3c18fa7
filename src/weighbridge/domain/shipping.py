"""What ships: an allow-list by kind. Whatever is not on it never leaves the machine."""

from __future__ import annotations

import re

from weighbridge.domain.artifact import ArtifactPath, FileEntry, Scan
from weighbridge.domain.detection import Detected
from weighbridge.domain.models import FusedModel, LoraModel, Model, PeftModel

CARD = "README.md"
_INDEX = "model.safetensors.index.json"
_LEGAL = re.compile(
    r"(LICEN[CS]E|NOTICE|USE_POLICY)([._-][\w.-]*)?"
    r"|([A-Z0-9]+[_-]LICEN[CS]E|LICEN[CS]ES|COPYING|COPYRIGHT|ACCEPTABLE_USE_POLICY"
    r"|THIRD[_-]?PARTY[_-]?NOTICES?|NOTICES|TERMS([_-]OF[_-](USE|SERVICE))?)(\.(md|txt|rst|html|pdf))?",
    re.IGNORECASE,
)
_TEXTS = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|tokenizer\.model"
    r"|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt|bpe)|merges\.txt|spiece\.model"
    r"|sentencepiece\.bpe\.model|tokenizer\.model\.v\d+|tekken\.json|(qwen|tiktoken)\.(tiktoken|model)"
    r"|chat_template\.(jinja|json)|(video_)?preprocessor_config\.json"
    r"|processor_config\.json|model\.safetensors\.index\.json"
)
#: Where transformers keeps the chat templates that have a name.
_NAMED_TEMPLATE = re.compile(r"additional_chat_templates/[^/]+\.jinja")


def is_legal(name: str) -> bool:
    """True for the names of licences and notices."""
    return _LEGAL.fullmatch(name) is not None


def is_document(name: str) -> bool:
    """True for the configs and tokenizer files that a whole model ships with."""
    return _TEXTS.fullmatch(name) is not None


def is_named_template(path: str) -> bool:
    """True for a chat template of a whole model that is beside the default one."""
    return _NAMED_TEMPLATE.fullmatch(path) is not None


def target_of(model: Model, entry: FileEntry) -> ArtifactPath:
    """Where a file that ships stands in the release."""
    prefix = f"{model.directory}/" if model.directory else ""
    return ArtifactPath(entry.path.text.removeprefix(prefix))


def shipped(model: Model, scan: Scan) -> tuple[FileEntry, ...]:
    """The files of the source that ship beside converted ones, under their names.

    Of a LoRA only the card and legal texts: its weights and config ship converted. PEFT readers
    take tokenizer files in an adapter for the base's and resize the vocabulary, so they do not.
    """
    own = [e for e in scan.files if _ships(model, e)]
    names = {e.path.name for e in own}
    return (*own, *(e for e in _of_the_run(model, scan) if e.path.name not in names))


def _of_the_run(model: Model, scan: Scan) -> tuple[FileEntry, ...]:
    """The author's texts at the root of a run whose model is in ``adapters/``.

    Not if they are those of another model there.
    """
    root = tuple(e for e in scan.files if not e.path.parent)
    if not model.directory or any(e.path.name == "config.json" for e in root):
        return ()
    return tuple(e for e in root if _written_by_hand(e.path.name))


def _written_by_hand(name: str) -> bool:
    return name == CARD or _LEGAL.fullmatch(name) is not None


def _ships(model: Model, entry: FileEntry) -> bool:
    name = entry.path.name
    if isinstance(model, FusedModel) and is_named_template(entry.path.text):
        return True
    if entry.path.parent != model.directory:
        return False
    if _written_by_hand(name):
        return True
    match model:
        case LoraModel():
            return False
        case PeftModel():
            return entry.path.text in (model.weights_path, model.config_path)
        case FusedModel():
            return entry.path.text in model.weights_paths or bool(_TEXTS.fullmatch(name))


def own_paths(model: Model) -> tuple[str, ...]:
    """The model's own weights and config."""
    weights = model.weights_paths if isinstance(model, FusedModel) else (model.weights_path,)
    return (*weights, model.config_path)


def needed(model: Model, detected: Detected) -> frozenset[str]:
    """The paths without which there is nothing of that kind to publish."""
    match model:
        case LoraModel():
            return _below(model, detected.weights, "adapter_config.json")
        case PeftModel():
            return frozenset((model.weights_path, model.config_path))
        case FusedModel():
            index = [_INDEX] if len(model.weights_paths) > 1 else []
            return _below(model, "config.json", *index) | set(model.weights_paths)


def _below(model: Model, *names: str) -> frozenset[str]:
    prefix = f"{model.directory}/" if model.directory else ""
    return frozenset(prefix + name for name in names)


def documents(scan: Scan) -> tuple[FileEntry, ...]:
    """What a model made from this one takes over unchanged: tokenizer, settings, legal texts.

    Neither the config nor the index, which are written anew, nor the card; and no code.
    """
    anew = ("config.json", "model.safetensors.index.json")
    return tuple(
        e for e in scan.files
        if is_named_template(e.path.text) or (not e.path.parent and e.path.name not in anew
        and (_TEXTS.fullmatch(e.path.name) or _LEGAL.fullmatch(e.path.name)))
    )  # fmt: skip
