"""Sizes that transformers takes for itself where config.json leaves them out.

Taken from the config classes of transformers 5.23, for the types whose layers are written out; a
test takes them from there again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

#: By model type, of a text model, without ``_text``.
FIGURES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "afmoe": {
            "intermediate_size": 6144,
            "moe_intermediate_size": 1408,
            "num_experts": 64,
            "num_shared_experts": 2,
        },
        "apertus": {"intermediate_size": 14336},
        "deepseek_v2": {
            "intermediate_size": 11008,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 1407,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "deepseek_v3": {
            "intermediate_size": 18432,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "deepseek_v32": {
            "intermediate_size": 18432,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "dots1": {"intermediate_size": 10944, "moe_intermediate_size": 1408},
        "ernie4_5_moe": {
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "moe_num_experts": 64,
            "moe_num_shared_experts": 2,
        },
        "exaone_moe": {
            "intermediate_size": 16384,
            "moe_intermediate_size": 1024,
            "num_experts": 64,
            "num_shared_experts": 1,
        },
        "falcon_h1": {
            "intermediate_size": 14336,
            "mamba_d_state": 256,
            "mamba_n_groups": 1,
            "mamba_n_heads": 128,
        },
        "falcon_mamba": {"state_size": 16},
        "glm4_moe": {
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
        },
        "glm4_moe_lite": {
            "intermediate_size": 10240,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 1536,
            "n_routed_experts": 64,
            "n_shared_experts": 1,
            "q_lora_rank": 768,
            "qk_nope_head_dim": 192,
            "qk_rope_head_dim": 64,
            "v_head_dim": 256,
        },
        "glm_moe_dsa": {
            "intermediate_size": 12288,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "q_lora_rank": 2048,
            "qk_nope_head_dim": 192,
            "qk_rope_head_dim": 64,
            "v_head_dim": 256,
        },
        "gpt_oss": {"intermediate_size": 2880, "num_local_experts": 128},
        "granitemoe": {"intermediate_size": 11008, "num_local_experts": 8},
        "granitemoehybrid": {
            "intermediate_size": 11008,
            "mamba_d_state": 256,
            "mamba_n_groups": 1,
            "mamba_n_heads": 128,
            "num_local_experts": 8,
            "shared_intermediate_size": 1024,
        },
        "jamba": {
            "intermediate_size": 14336,
            "mamba_d_state": 16,
            "mamba_expand": 2,
            "num_experts": 16,
        },
        "kimi_linear": {
            "intermediate_size": 9216,
            "kv_lora_rank": 512,
            "moe_intermediate_size": 1024,
            "num_local_experts": 256,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "laguna": {
            "intermediate_size": 8192,
            "moe_intermediate_size": 512,
            "num_experts": 256,
            "shared_expert_intermediate_size": 512,
        },
        "lfm2_moe": {"intermediate_size": 7168, "moe_intermediate_size": 1792, "num_experts": 32},
        "llama4": {
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_local_experts": 16,
        },
        "longcat_flash": {
            "expert_ffn_hidden_size": 2048,
            "ffn_hidden_size": 12288,
            "kv_lora_rank": 512,
            "n_routed_experts": 512,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "mamba": {"state_size": 16},
        "mamba2": {"head_dim": 64, "n_groups": 8, "num_heads": 128, "state_size": 128},
        "mellum": {"intermediate_size": 7168, "moe_intermediate_size": 896, "num_experts": 64},
        "mimo_v2_flash": {
            "intermediate_size": 16384,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
        },
        "minicpm3": {
            "intermediate_size": 6400,
            "kv_lora_rank": 256,
            "q_lora_rank": 768,
            "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 32,
        },
        "minimax_m2": {"intermediate_size": 1536, "num_local_experts": 256},
        "mistral4": {
            "intermediate_size": 12288,
            "kv_lora_rank": 256,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "q_lora_rank": 1024,
            "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        "mixtral": {"intermediate_size": 14336, "num_local_experts": 8},
        "nemotron_h": {
            "intermediate_size": 21504,
            "mamba_head_dim": 64,
            "mamba_num_heads": 128,
            "n_groups": 8,
            "n_routed_experts": 8,
            "ssm_state_size": 128,
        },
        "olmo_hybrid": {"intermediate_size": 11008},
        "olmoe": {"intermediate_size": 2048, "num_experts": 64},
        "phi": {"intermediate_size": 8192},
        "phi3": {"intermediate_size": 8192},
        "phimoe": {"intermediate_size": 6400, "num_local_experts": 16},
        "qwen2_moe": {
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "num_experts": 60,
            "shared_expert_intermediate_size": 5632,
        },
        "qwen3_5": {
            "intermediate_size": 12288,
            "linear_key_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_value_head_dim": 128,
        },
        "qwen3_5_moe": {
            "linear_key_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_value_head_dim": 128,
            "moe_intermediate_size": 512,
            "num_experts": 256,
            "shared_expert_intermediate_size": 512,
        },
        "qwen3_moe": {"intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128},
        "qwen3_next": {
            "intermediate_size": 5632,
            "linear_key_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_value_head_dim": 128,
            "moe_intermediate_size": 512,
            "num_experts": 512,
            "shared_expert_intermediate_size": 512,
        },
        "qwen3_vl_moe": {
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "num_experts": 60,
        },
        "smollm3": {"intermediate_size": 11008},
        "solar_open": {
            "moe_intermediate_size": 1280,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
        },
        "starcoder2": {"intermediate_size": 12288},
    }
)


def figure(fields: Mapping[str, object], model_type: str, name: str) -> int | None:
    """The integer that a config's ``fields`` give for ``name``, be it no size at all, or what is
    taken where they give none; None if neither is known."""
    if name not in fields:
        return FIGURES.get(model_type, {}).get(name)
    value = fields[name]
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def adjusted_inner(fields: Mapping[str, object]) -> int | None:
    """The inner size of LFM2's feed-forward network, which two thirds of the figure make, in whole
    blocks, unless the config turns that off; None if a field of it is none that it can have."""
    inner = fields.get("block_ff_dim", fields.get("intermediate_size"))
    ratio, block = fields.get("block_ffn_dim_multiplier", 1.0), fields.get("block_multiple_of", 256)
    if not isinstance(inner, int) or fields.get("block_auto_adjust_ff_dim", True) is False:
        return inner if isinstance(inner, int) else None
    if not isinstance(ratio, int | float) or not isinstance(block, int) or block < 1:
        return None
    if not (0 <= inner < 1 << 31 and 0 <= ratio < 1 << 31):
        return None
    return block * math.ceil(int(ratio * int(2 * inner / 3)) / block)
