"""As which model a fused MLX model can be written: the one that it came from, or its text alone.

mlx-lm leaves towers for images and sound out. transformers would fill the gap with random values
and go on, so such a model is written as the class for its text model, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.placement import Architecture

#: Classes of transformers 5 for a text model alone (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).
_TEXT_CLASSES = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma3n_text": "Gemma3nForCausalLM",
    "gemma4_text": "Gemma4ForCausalLM",
    "gemma4_unified_text": "Gemma4UnifiedForCausalLM",
    "llama": "LlamaForCausalLM",
    "llama4_text": "Llama4ForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
    "qwen3_5_text": "Qwen3_5ForCausalLM",
}
#: Of these, transformers 5 builds no modules, so that nothing is missing.
_NOT_BUILT = ("the layers that predict several tokens at once",)
#: What of the whole model's config holds for its text model too.
_SHARED = (
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
)


@frozen
class WrittenForm:
    """The architecture that gives names and layouts, and the config before its last changes."""

    architecture: Architecture
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def written_form(
    config: Mapping[str, Any], architecture: Architecture, *, gaps: bool = False
) -> WrittenForm | str:
    """The form in which nothing is missing, or why there is none.

    With ``gaps`` it is the whole model's all the same: of a text alone that computes what MLX does,
    and LoRAs are named for that class.
    """
    if not architecture.dropped or gaps:
        return WrittenForm(architecture, config, tuple(_unnamed(config)))
    if architecture.dropped in _NOT_BUILT:
        note = f"it lacks {architecture.dropped}, which transformers does not use"
        return WrittenForm(architecture, config, (note, *_unnamed(config)))
    text, nested = architecture.text_only(), config.get("text_config")
    kind = nested.get("model_type") if isinstance(nested, dict) else None
    named = _TEXT_CLASSES.get(kind) if isinstance(kind, str) else None
    if text is architecture or not isinstance(nested, dict) or named is None:
        return (
            f"it lacks {architecture.dropped}, which mlx-lm leaves out and transformers would fill "
            "with random values; fuse the run into the original base instead (`weighbridge fuse`)"
        )
    shared = {key: config[key] for key in _SHARED if key in config}
    note = f"it lacks {architecture.dropped}, and is written as the text model alone ({named})"
    return WrittenForm(text, {**shared, **nested, "architectures": [named]}, (note,))


def _unnamed(config: Mapping[str, Any]) -> Iterator[str]:
    if not config.get("architectures"):
        yield "config.json names no architectures, which vLLM and llama.cpp need"
