"""What mlx-lm reads in config.json and transformers 5 leaves out: data for ``architectures``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .bases import ROPE_THETA

#: What mlx-lm reads, by the name that transformers 5 writes.
SAME_FIELD: Mapping[str, str] = MappingProxyType(
    {"num_experts": "num_local_experts", "n_ctx": "n_positions"}
)

#: What mlx-lm reads and transformers 5 does not write at all.
MLX_FIELDS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "gemma3_text": {"sliding_window_pattern": 2},
        "gemma4_unified_text": {"hidden_size_per_layer_input": 0},
        "glm4": {"partial_rotary_factor": 0.5},
        "apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True},
        "bailing_hybrid": {
            "architectures": ["BailingMoeV3ForCausalLM"],
            # transformers writes one here too, of its own, and goes by rope_parameters.
            "rope_theta": ROPE_THETA,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "max_position_embeddings": 256,
            "q_lora_rank": None,
            "head_dim": 16,
            "moe_shared_expert_intermediate_size": 48,
        },
        "exaone4": {"rope_scaling": None},
        "exaone_moe": {"is_moe_layer": [False, True]},
        "glm4_moe": {"rope_scaling": None},
        "glm_moe_dsa": {
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "moe_layer_freq": 1,
        },
        "gpt_neox": {"rotary_emb_base": ROPE_THETA, "rotary_pct": 0.25},
        "kimi_linear": {
            "rope_theta": 1e4,
            "first_k_dense_replace": 1,
            "linear_attn_config": {
                "num_heads": 4,
                "head_dim": 16,
                "short_conv_kernel_size": 4,
                "kda_layers": [1],
                "full_attn_layers": [2],
            },
        },
        "cohere2": {"sliding_window_pattern": 2},
        "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
        "llama4_text": {"rope_scaling": None},
        "qwen3_vl_moe_text": {"norm_topk_prob": True},
        "longcat_flash": {
            "attention_method": "MLA",
            "zero_expert_type": "identity",
            "mla_scale_q_lora": True,
            "mla_scale_kv_lora": True,
        },
        "minicpm3": {"rope_scaling": {"short_factor": [1.0] * 4, "long_factor": [1.0] * 4}},
        "minimax_m2": {"shared_intermediate_size": 0, "rotary_dim": 16},
        "mimo_v2_flash": {
            "hybrid_layer_pattern": [0, 1],
            "moe_layer_freq": [0, 1],
            "add_swa_attention_sink_bias": True,
            "add_full_attention_sink_bias": False,
            "sliding_window_size": 64,
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "layernorm_epsilon": 1e-5,
            "rope_theta": ROPE_THETA,
            "swa_rope_theta": 1e4,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 4,
            "swa_head_dim": 16,
            "swa_v_head_dim": 16,
            "partial_rotary_factor": 0.5,
            "n_shared_experts": None,
        },
        "qwen3_5_text": {"full_attention_interval": 2},
        "qwen3_5_moe_text": {"full_attention_interval": 2},
        "solar_open": {"partial_rotary_factor": 1.0},
        "gpt_oss": {"quantization_config": {"quant_method": "mxfp4"}},
        "lfm2": {
            "block_dim": 64,
            "block_ff_dim": 96,
            "block_multiple_of": 32,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": False,
        },
        "qwen3_next": {"full_attention_interval": 2},
    }
)
