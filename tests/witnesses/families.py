"""A toy of every architecture in the GGUF table, as fields of its transformers config."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
_EXPERTS = {
    "moe_intermediate_size": 48,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 32,
    "norm_topk_prob": True,
}
_ROUTED = {
    **_EXPERTS,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_WIDE = {"head_dim": 32}  # so that heads x head_dim is not hidden_size
_MHA = {"num_key_value_heads": 4}
_GEMMA = {**_WIDE, "query_pre_attn_scalar": 32, "tie_word_embeddings": True}
_TIED = {"tie_word_embeddings": True}
_GPT = {"n_embd": 64, "n_inner": 256, "n_layer": 2, "n_head": 4, "n_positions": 512}
_LINEAR_ATTENTION = {
    **_WIDE,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}

FAMILIES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "llama": {},
        "mistral": _WIDE,
        "granite": {},
        "smollm3": {},
        "arcee": {},
        "qwen2": {},
        "qwen3": _WIDE,
        "olmo2": {},
        "olmo3": {},
        "gemma": {**_WIDE, **_TIED},
        "gemma2": _GEMMA,
        "gemma3_text": {**_GEMMA, "num_hidden_layers": 7},
        "gemma4_text": {
            **_WIDE,
            **_TIED,
            "vocab_size_per_layer_input": 320,
            "hidden_size_per_layer_input": 16,
        },
        "phi": {**_MHA, "intermediate_size": 256},
        "phi3": {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 1.0,
            }
        },
        "starcoder2": {},
        "gpt_bigcode": _GPT,
        "gpt_neox": {},
        "stablelm": {},
        "cohere": _TIED,
        "cohere2": {**_TIED, "num_hidden_layers": 4},
        "seed_oss": _WIDE,
        "ernie4_5": _WIDE,
        "glm": {"head_dim": 16},
        "glm4": _WIDE,
        "hunyuan_v1_dense": _WIDE,
        "nemotron": {},
        "lfm2": {"layer_types": ["conv", "full_attention"]},
        "apertus": {},
        "exaone4": {},
        "qwen3_5_text": _LINEAR_ATTENTION,
        "mixtral": _EXPERTS,
        "granitemoe": _EXPERTS,
        "gpt_oss": _EXPERTS,
        "minimax_m2": _EXPERTS,
        "qwen2_moe": {**_EXPERTS, "norm_topk_prob": False},
        "qwen3_moe": {**_EXPERTS, **_WIDE},
        "qwen3_5_moe_text": {**_EXPERTS, **_LINEAR_ATTENTION},
        "olmoe": {**_EXPERTS, **_MHA, "norm_topk_prob": False},
        "glm4_moe": {**_ROUTED, **_WIDE},
        "dots1": {**_ROUTED, **_MHA},
        "ernie4_5_moe": {
            **_EXPERTS,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 32,
            "moe_num_shared_experts": 2,
        },
    }
)

#: Fields that published config.json files have, and that llama.cpp's converter asks for, but which
#: transformers 5 no longer writes.
PUBLISHED: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "qwen3_5_text": {"mtp_num_hidden_layers": 1},
        "qwen3_5_moe_text": {"mtp_num_hidden_layers": 1},
        "gpt_neox": {"rotary_pct": 0.25},
        "minimax_m2": {"rotary_dim": 16, "scoring_func": "sigmoid"},
        "dots1": {"scoring_func": "sigmoid"},
        "cohere2": {"rotary_pct": 1.0},
    }
)

#: Models that hold such a text model: config.json has it under ``text_config``.
WRAPPED: MappingProxyType[str, str] = MappingProxyType(
    {
        "gemma3_text": "Gemma3ForConditionalGeneration",
        "gemma4_text": "Gemma4ForConditionalGeneration",
        "qwen3_5_text": "Qwen3_5ForConditionalGeneration",
        "qwen3_5_moe_text": "Qwen3_5MoeForConditionalGeneration",
    }
)
