"""How MLX module paths map to the Hugging Face checkpoint: one entry for each model type.

Evidence for each that is CONVERTIBLE: a model built in both stacks, and every weight of MLX's that
can carry a LoRA matched by its values to the parameter of transformers that its entry names. The
entries are in ``architecture_table``; this module finds the one for a base.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

from attrs import evolve

from weighbridge.domain.architecture_table.dense import DENSE
from weighbridge.domain.architecture_table.mixtures import MIXTURES
from weighbridge.domain.architecture_table.nested import NESTED
from weighbridge.domain.architecture_table.recurrent import RECURRENT
from weighbridge.domain.architecture_table.refused import REFUSED
from weighbridge.domain.architecture_table.shapes import LAYER, LLAMA_TREE, never
from weighbridge.domain.architecture_table.unproven import UNPROVEN
from weighbridge.domain.placement import UNKNOWN_TYPE, Architecture, Standing

#: For a base of unknown type: a module path that could only be of the Llama family's tree.
UNKNOWN = Architecture(UNKNOWN_TYPE, Standing.NEEDS_BASE, rules=LLAMA_TREE, uniform=True)

#: By ``model_type``; ``bailing_moe_v3`` is mlx-lm's name for some bases of type bailing_hybrid.
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        entry.model_type: entry
        for entry in chain(DENSE, MIXTURES, RECURRENT, NESTED, UNPROVEN, REFUSED)
    }
)

#: Class names in config.json that say more than its model type (mlx-lm's
#: MODEL_ARCHITECTURE_REMAPPING, and MiniMax M2 under the type of the first generation).
_BY_CLASS = {
    ("bailing_hybrid", "BailingMoeV3ForCausalLM"): "bailing_moe_v3",
    ("bailing_hybrid", "BailingHybridForCausalLM"): "bailing_moe_v3",
    ("minimax", "MiniMaxM2ForCausalLM"): "minimax_m2",
}
#: Types of transformers for the text model alone, whose config mlx-lm reads nested only.
_TEXT_TYPES = {
    "gemma4_unified_text": "gemma4_unified",
    "muse_glimmer_text": "muse_glimmer",
    "qwen2_5_vl_text": "qwen2_5_vl",
    "qwen2_vl_text": "qwen2_vl",
    "qwen3_5_moe_text": "qwen3_5_moe",
    "qwen3_5_text": "qwen3_5",
    "qwen3_vl_moe_text": "qwen3_vl_moe",
    "qwen3_vl_text": "qwen3_vl",
}


def architecture_of(model_type: str | None) -> Architecture:
    """The entry of a base's ``model_type``; None is a base that is not at hand."""
    if model_type is None:
        return UNKNOWN
    if model_type in _TEXT_TYPES:
        return ARCHITECTURES[_TEXT_TYPES[model_type]].text_only()
    missing = Architecture(model_type, Standing.REFUSED, "Weighbridge does not know")
    return ARCHITECTURES.get(model_type, missing)


def architecture_for(config: Mapping[str, object]) -> Architecture:
    """The entry for a base with that whole config.json.

    The class in ``architectures`` decides between a model of text and images and its text model,
    since PEFT binds to what that class builds. Without a model type the base is unknown.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return UNKNOWN
    named = class_name(config)
    entry = _around(architecture_of(_BY_CLASS.get((model_type, named), model_type)), config)
    entry = _without_absent(entry, config)
    return entry.text_only() if entry.outside and named.endswith("ForCausalLM") else entry


def _without_absent(entry: Architecture, config: Mapping[str, object]) -> Architecture:
    """MLX builds one of two trees for Granite's hybrids, with experts or without."""
    experts = config.get("num_local_experts")
    if entry.model_type != "granitemoehybrid" or not isinstance(experts, int):
        return entry
    absent = r"mlp" if experts else r"(shared_mlp|block_sparse_moe)"
    reason = f"is no module of a Granite {'with' if experts else 'without'} experts"
    return evolve(entry, rules=(never(rf"{LAYER}\.{absent}\..*", reason), *entry.rules))


def _around(entry: Architecture, config: Mapping[str, object]) -> Architecture:
    """Mistral 3 is a tower around any of several text models, as its nested config says."""
    text = config.get("text_config")
    nested = text.get("model_type") if isinstance(text, Mapping) else None
    if (entry.model_type, nested) != ("mistral3", "mistral4"):
        return entry
    inner = ARCHITECTURES["mistral4"]
    return evolve(
        entry, rules=inner.rules, renames=inner.renames, kept=inner.kept, uniform=inner.uniform
    )


def class_name(config: Mapping[str, object]) -> str:
    """The first class that config.json names; '' if it names none."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, (list, tuple)) and named else named
    return first if isinstance(first, str) else ""
