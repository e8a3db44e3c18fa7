"""What a tiny model of each architecture is configured with: data for ``architectures``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .bases import ROPE_THETA, VOCABULARY

#: Fields of every transformers config; those that an architecture does not know are ignored.
COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.1,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
)

_HEAD = {"head_dim": 32}
_TIED = {"tie_word_embeddings": True}
_ONE_EACH = {"num_key_value_heads": 4}
_GPT = {"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 256, "n_inner": 96}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
_ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
_GROUPS = {"n_group": 2, "topk_group": 1}
_MLA = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    **_ONE_EACH,
}
_INDEXER = {"index_head_dim": 16, "index_n_heads": 2, "index_topk": 512}
_SLIDING_THEN_FULL = {
    "sliding_window": 64,
    "layer_types": ["sliding_attention", "full_attention"],
}
_SHORT_CONV = {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}
_LINEAR_THEN_FULL = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_DELTA = {"linear_head_dim": 16, "linear_num_heads": 4, "linear_conv_kernel_dim": 4}
_MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
}
_ROPE = {"rope_type": "default", "rope_theta": ROPE_THETA}
_HALF_ROPE = {**_ROPE, "partial_rotary_factor": 0.5}
_ROPES = {"full_attention": _HALF_ROPE, "sliding_attention": {**_HALF_ROPE, "rope_theta": 1e4}}
_FULL_ROPES = {"full_attention": _ROPE, "sliding_attention": {**_ROPE, "rope_theta": 1e4}}
# mlx-lm's DeepSeek V2 cannot do without.
_YARN = {
    "rope_type": "yarn",
    "rope_theta": ROPE_THETA,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "beta_fast": 32,
    "beta_slow": 1,
}
_LLAMA_4_YARN = {**_YARN, "llama_4_scaling_beta": 0.1}
_SCALED = {
    "logits_scaling": 2.0,
    "attention_multiplier": 0.25,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.5,
}

#: What each architecture has beside or instead of ``COMMON``.
PLAIN: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "apertus": {"hidden_act": "xielu"},
        "cohere": {"logit_scale": 0.5, **_TIED},
        "cohere2": {"logit_scale": 0.5, "head_dim": 16, **_SLIDING_THEN_FULL, **_TIED},
        "ernie4_5": {"head_dim": 16},
        "exaone4": {**_HEAD, **_SLIDING_THEN_FULL, "sliding_window_pattern": "LG"},
        "gemma": {**_HEAD, **_TIED},
        "gemma2": {**_HEAD, "query_pre_attn_scalar": 32, **_TIED},
        "gemma3_text": {**_HEAD, "query_pre_attn_scalar": 32, **_SLIDING_THEN_FULL, **_TIED},
        "gemma4_text": {
            **_HEAD,
            **_SLIDING_THEN_FULL,
            "rope_parameters": _ROPES,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY,
            **_TIED,
        },
        "glm": {"head_dim": 16, "rope_parameters": {**_ROPE, "partial_rotary_factor": 1.0}},
        "glm4": {"head_dim": 16, "attention_bias": True},
        "gpt2": {**_GPT, "n_inner": None, **_TIED},
        "gpt_bigcode": {**_GPT, **_TIED},
        "gpt_neox": {"intermediate_size": 256},
        "gptj": {**_GPT, "n_inner": None, "rotary_dim": 8},
        "granite": _SCALED,
        "helium": {"head_dim": 16},
        "hunyuan_v1_dense": {"head_dim": 16},
        "internlm3": {"head_dim": 16},
        "iquestcoder": {},
        "lfm2": {**_SHORT_CONV, "block_auto_adjust_ff_dim": False, **_TIED},
        "llama": {},
        "minicpm3": {**_MLA, "dim_model_base": 16, "scale_depth": 1.4, "scale_emb": 3.0},
        "ministral3": {**_HEAD, "rope_parameters": _LLAMA_4_YARN},
        "mistral": {},
        "nemotron": {},
        "olmo2": _ONE_EACH,
        "olmo3": {**_ONE_EACH, **_SLIDING_THEN_FULL},
        "phi": {},
        "phi3": {},
        "qwen2": {},
        "qwen3": _HEAD,
        "seed_oss": _HEAD,
        "smollm3": {"no_rope_layers": [1, 0]},
        "stablelm": {},
        "starcoder2": {},
    }
)

MIXTURES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "afmoe": {**_EXPERTS, **_HEAD, "num_dense_layers": 1, **_SLIDING_THEN_FULL},
        "dbrx": {
            "d_model": 64,
            "n_heads": 4,
            "n_layers": 2,
            "attn_config": {"kv_n_heads": 2, "rope_theta": ROPE_THETA, "clip_qkv": 8.0},
            "ffn_config": {"moe_num_experts": 4, "moe_top_k": 2, "ffn_hidden_size": 48},
        },
        "deepseek_v2": {**_MLA, **_ROUTED, "rope_parameters": _YARN},
        "deepseek_v3": {**_MLA, **_ROUTED, **_GROUPS},
        "deepseek_v32": {**_MLA, **_ROUTED, **_GROUPS, **_INDEXER},
        "dots1": {**_ROUTED, **_HEAD, **_ONE_EACH},
        "ernie4_5_moe": {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 48,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
        },
        "exaone_moe": {
            **_EXPERTS,
            **_HEAD,
            **_SLIDING_THEN_FULL,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
        },
        "glm4_moe": {
            **_ROUTED,
            "head_dim": 16,
            "use_qk_norm": True,
            "rope_parameters": _HALF_ROPE,
        },
        "glm4_moe_lite": {**_MLA, **_ROUTED},
        "glm_moe_dsa": {**_MLA, **_ROUTED, **_INDEXER},
        "gpt_oss": {**_LOCAL, **_HEAD},
        "granitemoe": {**_LOCAL, **_SCALED},
        "jamba": {
            **_EXPERTS,
            # All of them: mlx-lm normalises the weights of the chosen experts, transformers not.
            "num_experts_per_tok": 4,
            "attn_layer_offset": 1,
            "attn_layer_period": 2,
            "expert_layer_offset": 1,
            "expert_layer_period": 2,
            "mamba_d_conv": 4,
            "mamba_d_state": 8,
            "mamba_expand": 2,
            "use_mamba_kernels": False,
        },
        "laguna": {
            **_EXPERTS,
            **_HEAD,
            **_SLIDING_THEN_FULL,
            "shared_expert_intermediate_size": 40,
            "rope_parameters": _ROPES,
        },
        "lfm2_moe": {
            **_EXPERTS,
            **_SHORT_CONV,
            "num_dense_layers": 1,
            **_TIED,
        },
        "llama4_text": {**_HEAD, "intermediate_size_mlp": 96, "moe_layers": [], **_TIED},
        "longcat_flash": {
            **_MLA,
            "head_dim": 8,
            "num_layers": 2,
            "ffn_hidden_size": 96,
            "expert_ffn_hidden_size": 48,
            "n_routed_experts": 4,
            "zero_expert_num": 0,
            "moe_topk": 2,
        },
        "mellum": {**_EXPERTS, **_HEAD, **_SLIDING_THEN_FULL, "rope_parameters": _FULL_ROPES},
        "mimo_v2_flash": {
            **_ROUTED,
            "head_dim": 16,
            "v_head_dim": 16,
            "rope_parameters": _ROPES,
            "layer_types": ["full_attention", "sliding_attention"],
            "sliding_window": 64,
        },
        "minimax_m2": {**_LOCAL, **_HEAD, "rotary_dim": 16},
        "mistral4": {
            **_MLA,
            **_ROUTED,
            "first_k_dense_replace": 0,
            "head_dim": 24,
            "rope_parameters": _LLAMA_4_YARN,
        },
        "mixtral": _LOCAL,
        "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, **_ONE_EACH},
        "phimoe": {**_LOCAL, "attention_bias": True, "lm_head_bias": True},
        "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 80},
        "qwen3_moe": {**_EXPERTS, **_HEAD, "decoder_sparse_step": 1, "norm_topk_prob": True},
        "qwen3_next": {
            **_EXPERTS,
            **_HEAD,
            "shared_expert_intermediate_size": 80,
            **_LINEAR_THEN_FULL,
        },
        "solar_open": {**_ROUTED, **_HEAD, "first_k_dense_replace": 0},
    }
)

RECURRENT: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "bailing_hybrid": {
            **_EXPERTS,
            **_MLA,
            **_DELTA,
            **_GROUPS,
            "first_k_dense_replace": 1,
            "short_conv_kernel_size": 4,
            "layer_group_size": 2,
        },
        "falcon_h1": {**_MAMBA, **_HEAD, "mamba_d_ssm": 128},
        "falcon_mamba": {"state_size": 8},
        "granitemoehybrid": {
            **_LOCAL,
            **_MAMBA,
            **_SCALED,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 80,
            "position_embedding_type": "rope",
        },
        "kimi_linear": {
            **_EXPERTS,
            **_MLA,
            **_DELTA,
            "q_lora_rank": None,
            "layer_types": ["linear_attention", "full_attention"],
            "mlp_layer_types": ["dense", "sparse"],
        },
        "mamba": {"state_size": 8},
        "mamba2": {"num_heads": 4, "head_dim": 32, "state_size": 16, "n_groups": 1, "expand": 2},
        "nemotron_h": {
            **_HEAD,
            "layers_block_type": ["mamba", "attention", "moe", "mlp"],
            "num_hidden_layers": 4,
            "mamba_num_heads": 4,
            "mamba_head_dim": 32,
            "ssm_state_size": 16,
            "n_groups": 1,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 48,
            "moe_shared_expert_intermediate_size": 40,
        },
        "olmo_hybrid": {**_ONE_EACH, **_LINEAR_THEN_FULL, "linear_num_key_heads": 4},
        "recurrent_gemma": {
            **_TIED,
            "lru_width": 64,
            "attention_window_size": 64,
            # mlx-lm knows no other base.
            "rope_parameters": {**_HALF_ROPE, "rope_theta": 1e4},
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
        },
    }
)

_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 64,
}
_MROPE = {"rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [4, 2, 2]}

#: Text models with a vision tower: the text part's fields, and the tower's.
NESTED: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = MappingProxyType(
    {
        "gemma3": (PLAIN["gemma3_text"], _VISION),
        "qwen3_5": ({**_HEAD, **_LINEAR_THEN_FULL}, _QWEN_VISION),
        "qwen3_5_moe": (
            {**_EXPERTS, **_HEAD, "shared_expert_intermediate_size": 80, **_LINEAR_THEN_FULL},
            _QWEN_VISION,
        ),
        "qwen3_vl": (
            {**_HEAD, "rope_parameters": _MROPE},
            {**_QWEN_VISION, "deepstack_visual_indexes": [0]},
        ),
        "qwen3_vl_moe": (
            {**_EXPERTS, **_HEAD, "rope_parameters": _MROPE},
            {**_QWEN_VISION, "deepstack_visual_indexes": [0]},
        ),
        "qwen2_vl": (
            {"rope_parameters": _MROPE},
            {"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 64},
        ),
        "qwen2_5_vl": ({"rope_parameters": _MROPE}, _QWEN_VISION),
        "mistral3": ({"model_type": "mistral", **_HEAD}, _VISION),
        "llava": ({"model_type": "llama"}, _VISION),
        "llama4": (
            {
                **_HEAD,
                "num_hidden_layers": 4,
                "num_local_experts": 4,
                "num_experts_per_tok": 1,
                "interleave_moe_layer_step": 1,
                "intermediate_size_mlp": 80,
            },
            _VISION,
        ),
        "gemma4_unified": (PLAIN["gemma4_text"], None),
        "kimi_k25": (
            MIXTURES["deepseek_v3"],
            {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "pos_emb_height": 4,
                "pos_emb_width": 4,
            },
        ),
        "minimax_m3_vl": (
            {
                **_LOCAL,
                **_HEAD,
                "rotary_dim": 16,
                "rope_parameters": _HALF_ROPE,
                "dense_intermediate_size": 96,
                "shared_intermediate_size": 40,
                "intermediate_size": 48,
                "mlp_layer_types": ["dense", "sparse"],
                "layer_types": ["full_attention", "minimax_m3_sparse"],
                "index_block_size": 64,
                "index_topk_blocks": 8,
                "index_n_heads": 2,
                "index_head_dim": 16,
            },
            {**_VISION, "temporal_patch_size": 2},
        ),
        "muse_glimmer": (
            {**_HEAD, **_SLIDING_THEN_FULL},
            {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "pos_emb_height": 4,
                "pos_emb_width": 4,
                "layer_types": ["full_attention"],
            },
        ),
        "gemma4": (PLAIN["gemma4_text"], {**_VISION, "global_head_dim": 16}),
    }
)
