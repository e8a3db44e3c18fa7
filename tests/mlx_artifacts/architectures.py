"""A tiny random checkpoint of any architecture that transformers and mlx-lm both build.

Where ``bases`` has a few families with every oddity, this has every family once, small enough to
be made in a test. config.json is what transformers wrote plus the fields that mlx-lm reads by
other names, so that both stacks compute the same function from one directory.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .architecture_configs import COMMON, MIXTURES, NESTED, PLAIN, RECURRENT
from .architecture_fields import MLX_FIELDS, SAME_FIELD
from .bases import save_tokenizer

#: The fields of each architecture's transformers config.
CONFIGS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        **{name: {**COMMON, **own} for name, own in (PLAIN | MIXTURES | RECURRENT).items()},
        **{
            name: {
                "text_config": {**COMMON, **text},
                "vision_config": vision,
                "tie_word_embeddings": text.get("tie_word_embeddings", False),
            }
            for name, (text, vision) in NESTED.items()
        },
    }
)


#: How far apart the two stacks' logits are for one directory, where it is more than 2e-4: they
#: have another GELU in mlx-lm.
APART: Mapping[str, float] = MappingProxyType(
    {
        "gemma": 1e-3,
        "gpt_bigcode": 2e-3,
        "gpt_neox": 2e-3,
        "starcoder2": 2e-3,
    }
)


def make_architecture(directory: Path, model_type: str, **overrides: Any) -> Path:
    """Write a random checkpoint of that type, its config and a tokenizer; return ``directory``.

    Every vector is disturbed, since norms of 1 and biases of 0 hide mistakes. ``overrides`` are
    fields of the transformers config. Raises KeyError for a type not in ``CONFIGS``.
    """
    # Copied deep, for transformers writes into the mappings that it is given.
    _save_model(directory, model_type, copy.deepcopy(CONFIGS[model_type] | overrides))
    if model_type in _AS_PUBLISHED:
        _rewrite(directory, _AS_PUBLISHED[model_type])
    save_tokenizer(directory)
    _agree(directory / "config.json")
    return directory


def _save_model(directory: Path, model_type: str, fields: dict[str, Any]) -> None:
    import torch

    transformers = import_module("transformers")
    config = transformers.AutoConfig.for_model(model_type, **fields)
    auto = transformers.AutoModelForCausalLM
    if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        auto = transformers.AutoModelForImageTextToText
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = auto.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            # ERNIE's moe_statics are left at 0, for mlx-lm drops them and would not agree.
            vector = parameter.ndim == 1 or name.endswith("bias")
            if vector and "moe_statics" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory)


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
        written[f"{name}_blocks"] = _torch(packed.view(mx.uint8).reshape(*scales.shape, 16))
        written[f"{name}_scales"] = _torch(scales)
    return written


def _stacked_experts(tensors: dict[str, Any]) -> dict[str, Any]:
    """Qwen3.5-MoE as it is on the Hub: gate and up in one tensor for all experts, and down."""
    import torch

    written = {name: value for name, value in tensors.items() if ".experts." not in name}
    for stem in sorted({name.split(".experts.")[0] for name in tensors if ".experts." in name}):
        each = [f"{stem}.experts.{number}" for number in range(len(tensors))]
        each = [name for name in each if f"{name}.down_proj.weight" in tensors]
        parts = [
            torch.cat([tensors[f"{name}.{part}_proj.weight"] for part in ("gate", "up")])
            for name in each
        ]
        written[f"{stem}.experts.gate_up_proj"] = torch.stack(parts)
        down = [tensors[f"{name}.down_proj.weight"] for name in each]
        written[f"{stem}.experts.down_proj"] = torch.stack(down)
    return written


def _in_out_experts(tensors: dict[str, Any]) -> dict[str, Any]:
    """Qwen3-VL-MoE as it is on the Hub: the experts' matrices are (in, out)."""
    return {
        name: value.swapaxes(1, 2).contiguous() if ".experts." in name else value
        for name, value in tensors.items()
    }


def _renamed(*pairs: tuple[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Undo names that transformers 5 writes where the published models have others."""

    def rename(tensors: dict[str, Any]) -> dict[str, Any]:
        written = {}
        for name, value in tensors.items():
            for pattern, replacement in pairs:
                name = re.sub(pattern, replacement, name)
            written[name] = value
        return written

    return rename


def _torch(array: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(array))


#: Where transformers 5 saves a form that mlx-lm does not load, the form of the published models.
_AS_PUBLISHED = {
    "bailing_hybrid": _renamed((r"(layers\.0\.attention)\.dense", r"\1.o_proj")),
    "gpt2": _renamed((r"^transformer\.", "")),
    "gpt_oss": _four_bit_experts,
    "kimi_k25": _renamed(
        (r"(language_model\.model)\.blocks", r"\1.layers"),
        (r"^model\.mm_projector", "mm_projector"),
    ),
    "muse_glimmer": _renamed((r"^model\.vision_", "vision_")),
    "kimi_linear": _renamed((r"block_sparse_moe\.(gate|up|down)_proj", r"mlp.\1_proj")),
    "olmo_hybrid": _renamed(
        (r"attention_layer_norm", "input_layernorm"),
        (r"(layers\.0)\.feedforward_layer_norm", r"\1.post_attention_layernorm"),
        (r"feedforward_layer_norm", "post_attention_layernorm"),
    ),
    "qwen3_5_moe": _stacked_experts,
    "qwen3_vl_moe": _in_out_experts,
}


def _rewrite(directory: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def _agree(path: Path) -> None:
    """Add to config.json what mlx-lm reads under another name than transformers 5 writes."""
    config = agreeing(json.loads(path.read_text()))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def agreeing(config: dict[str, Any]) -> dict[str, Any]:
    """That config with the fields that mlx-lm reads by another name."""
    config = config | _mlx_fields(config)
    if "text_config" in config:
        config["text_config"] |= _mlx_fields(config["text_config"])
        config["vocab_size"] = config["text_config"]["vocab_size"]
    if config["model_type"] == "muse_glimmer":
        # mlx-lm wants the text model's fields at the top, as in converted checkpoints.
        config = config["text_config"] | config
    return config


def _mlx_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    fields = _rope_fields(config.get("rope_parameters") or {})
    fields |= {name: config[written] for name, written in SAME_FIELD.items() if written in config}
    missing = {name: value for name, value in fields.items() if config.get(name) is None}
    return missing | MLX_FIELDS.get(config["model_type"], {})


def _rope_fields(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level fields for ``rope_parameters``: one mapping, or one for each kind of layer."""
    if "full_attention" in rope:
        local = rope["sliding_attention"]["rope_theta"]
        return _rope_fields(rope["full_attention"]) | {"rope_local_base_freq": local}
    known = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    if rope.get("rope_type", "default") != "default":
        known["rope_scaling"] = {**rope, "type": rope["rope_type"]}
    return known
