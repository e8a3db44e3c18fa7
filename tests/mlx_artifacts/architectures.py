"""A tiny random checkpoint of any architecture that transformers and mlx-lm both build.

Where ``bases`` has a few families with every oddity, this has every family once, small enough to
be made in a test. config.json is what transformers wrote plus the fields that mlx-lm reads by
other names, so that both stacks compute the same function from one directory.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .bases import ROPE_THETA, VOCABULARY, save_tokenizer

_COMMON: Mapping[str, Any] = MappingProxyType(
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
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
_MLA = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
}
_TIED = {"tie_word_embeddings": True}
_GPT = {"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 256, "n_inner": 96}
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

#: What each architecture's transformers config has beside or instead of ``_COMMON``.
CONFIGS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "llama": {},
        "mistral": {},
        "qwen2": {},
        "qwen3": {"head_dim": 32},
        "gemma": {"head_dim": 32, **_TIED},
        "gemma2": {"head_dim": 32, "query_pre_attn_scalar": 32, **_TIED},
        "gemma3_text": {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
            **_TIED,
        },
        "phi3": {},
        "olmo2": {"num_key_value_heads": 4},
        "starcoder2": {},
        "cohere": {"logit_scale": 0.5, **_TIED},
        "glm4": {"head_dim": 16, "attention_bias": True},
        "smollm3": {"no_rope_layers": [1, 0]},
        "gpt2": {**_GPT, "n_inner": None, **_TIED},
        "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
        "qwen2_moe": {**_MOE, "shared_expert_intermediate_size": 80},
        "qwen3_moe": {**_MOE, "head_dim": 32, "decoder_sparse_step": 1, "norm_topk_prob": True},
        "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 4},
        "deepseek_v2": {
            **_MLA,
            **_ROUTED,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "rope_parameters": _YARN,
        },
        "deepseek_v3": {
            **_MLA,
            **_ROUTED,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
        },
        "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, **_TIED},
        "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 32},
        "qwen3_next": {
            **_MOE,
            "head_dim": 32,
            "shared_expert_intermediate_size": 80,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
    }
)

# What mlx-lm reads, by the name that transformers 5 writes.
_NAMES = {"num_experts": "num_local_experts", "n_ctx": "n_positions"}

#: What mlx-lm reads and transformers 5 does not write at all.
_MLX_FIELDS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "gemma3_text": {"sliding_window_pattern": 2},
        "glm4": {"partial_rotary_factor": 0.5},
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


def make_architecture(directory: Path, model_type: str, **overrides: Any) -> Path:
    """Write a random checkpoint of that type, its config and a tokenizer; return ``directory``.

    Every vector is disturbed, since norms of 1 and biases of 0 hide mistakes. ``overrides`` are
    fields of the transformers config. Raises KeyError for a type not in ``CONFIGS``.
    """
    # Copied deep, for transformers writes into the mappings that it is given.
    fields = copy.deepcopy({**_COMMON, **CONFIGS[model_type], **overrides})
    _save_model(directory, model_type, fields)
    if model_type in _AS_PUBLISHED:
        _rewrite(directory, _AS_PUBLISHED[model_type])
    save_tokenizer(directory)
    _agree(directory / "config.json")
    return directory


def _save_model(directory: Path, model_type: str, fields: Mapping[str, Any]) -> None:
    import torch

    transformers = import_module("transformers")
    config = transformers.AutoConfig.for_model(model_type, **fields)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory)


def _without_prefix(tensors: dict[str, Any]) -> dict[str, Any]:
    """GPT-2 as it is on the Hub, and the only form of it that mlx-lm loads."""
    return {name.removeprefix("transformer."): value for name, value in tensors.items()}


def _four_bit_experts(tensors: dict[str, Any]) -> dict[str, Any]:
    """GPT-OSS as it is on the Hub: (expert, in, out) becomes MXFP4 blocks of (expert, out, in)."""
    import mlx.core as mx

    written: dict[str, Any] = {}
    for name, value in tensors.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            written[name] = value
            continue
        turned = mx.array(value.swapaxes(1, 2).contiguous().numpy())
        packed, scales = mx.quantize(turned, group_size=32, bits=4, mode="mxfp4")
        blocks = packed.view(mx.uint8).reshape(*scales.shape, 16)
        written[f"{name}_blocks"] = _torch(blocks)
        written[f"{name}_scales"] = _torch(scales)
    return written


def _torch(array: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(array))


#: Where transformers 5 saves a form that mlx-lm does not load, the form of the published models.
_AS_PUBLISHED = {"gpt2": _without_prefix, "gpt_oss": _four_bit_experts}


def _rewrite(directory: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def _agree(path: Path) -> None:
    """Add to config.json what mlx-lm reads under another name than transformers 5 writes."""
    config = json.loads(path.read_text())
    config |= _mlx_fields(config)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _mlx_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    fields = _rope_fields(config.get("rope_parameters") or {})
    fields |= {name: config[written] for name, written in _NAMES.items() if written in config}
    fields |= _MLX_FIELDS.get(config["model_type"], {})
    return {name: value for name, value in fields.items() if config.get(name) is None}


def _rope_fields(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level fields for ``rope_parameters``, which may be one mapping or one per kind of layer."""
    if "full_attention" in rope:
        local = rope["sliding_attention"]["rope_theta"]
        return _rope_fields(rope["full_attention"]) | {"rope_local_base_freq": local}
    known = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    if rope.get("rope_type", "default") != "default":
        known["rope_scaling"] = {**rope, "type": rope["rope_type"]}
    return known
