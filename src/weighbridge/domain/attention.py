"""Attention whose sizes config.json tells: of each head the same, in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: By model type, of a text model: what transformers 5.23 takes for head_dim and for
#: num_key_value_heads where config.json leaves them out, None if that follows from the other sizes.
#: A test builds each of them.
PLAIN: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {
        "afmoe": (128, None),
        "apertus": (None, None),
        "cohere": (None, None),
        "cohere2": (None, None),
        "dots1": (None, 32),
        "ernie4_5": (128, 2),
        "ernie4_5_moe": (None, 4),
        "exaone4": (None, 32),
        "exaone_moe": (None, 32),
        "falcon_h1": (None, 8),
        "gemma": (256, 16),
        "gemma2": (256, 4),
        "gemma3_text": (256, 4),
        "glm": (128, 2),
        "glm4": (128, 2),
        "glm4_moe": (None, 8),
        "gpt_oss": (64, 8),
        "granite": (None, None),
        "granitemoe": (None, None),
        "hunyuan_v1_dense": (None, None),
        "internlm3": (128, 2),
        "iquestcoder": (128, 8),
        "jamba": (None, 8),
        "laguna": (128, 8),
        "lfm2": (None, 8),
        "lfm2_moe": (None, 8),
        "llama": (None, None),
        "llama4_text": (128, 8),
        "mellum": (128, 4),
        "minimax_m2": (128, 8),
        "minimax_m3_vl_text": (128, 4),
        "ministral3": (128, 8),
        "mistral": (None, 8),
        "mixtral": (None, 8),
        "muse_glimmer_text": (128, 2),
        "nemotron": (None, None),
        "olmo2": (None, None),
        "olmo3": (None, None),
        "olmo_hybrid": (None, None),
        "olmoe": (None, None),
        "phi": (None, None),
        "phi3": (None, None),
        "phimoe": (None, 8),
        "qwen2": (None, 32),
        "qwen2_5_vl_text": (None, 8),
        "qwen2_moe": (None, 16),
        "qwen2_vl_text": (None, 8),
        "qwen3": (128, 32),
        "qwen3_moe": (None, 4),
        "qwen3_vl_moe_text": (None, 16),
        "qwen3_vl_text": (128, 32),
        "seed_oss": (128, 8),
        "smollm3": (None, 4),
        "solar_open": (128, 8),
        "stablelm": (None, 32),
        "starcoder2": (None, 2),
    }
)
#: The linear modules of such attention.
LEAVES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"})


def tells_attention(config: Mapping[str, object], leaf: str) -> bool:
    """True if the shape of a module of that name follows from the text model's config alone."""
    return leaf in LEAVES and config.get("model_type") in PLAIN


def attention_shapes(
    model_type: str, hidden: int, heads: int, head_dim: int | None, groups: int | None
) -> dict[str, tuple[int, int]]:
    """(in, out) of the modules by their last names. ``hidden`` is the width of the model,
    ``groups`` the count of key-value heads; None is what config.json leaves out."""
    usual = PLAIN.get(model_type, (None, None))
    groups = groups or usual[1] or heads
    size = head_dim or usual[0] or hidden // heads
    return {
        "q_proj": (hidden, heads * size),
        "k_proj": (hidden, groups * size),
        "v_proj": (hidden, groups * size),
        "o_proj": (heads * size, hidden),
        "qkv_proj": (hidden, (heads + 2 * groups) * size),
    }
