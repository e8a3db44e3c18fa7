"""What tensors a layer of the decoders that are like Llama's has, by model type.

The linear modules are those that the table of architectures places; which norms are beside them is
here. A test compares both with what transformers and mlx-lm build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from attrs import frozen

from weighbridge.domain.architectures import ARCHITECTURES, architecture_for
from weighbridge.domain.placement import Architecture, Impossible

#: What stands before the layers in these trees; towers have others.
DECODERS = frozenset({"model.", "language_model.model.", "model.language_model."})
_LINEAR = (
    *(f"self_attn.{leaf}" for leaf in ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj",
                                       "dense")),
    *(f"mlp.{leaf}" for leaf in ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2",
                                 "c_fc", "c_proj")),
    *(f"feed_forward.{leaf}" for leaf in ("gate_proj", "up_proj", "down_proj")),
)  # fmt: skip
_IN, _ATTENTION = "input_layernorm", "post_attention_layernorm"
_BEFORE, _AFTER = "pre_feedforward_layernorm", "post_feedforward_layernorm"
_HEADS = ("self_attn.q_norm", "self_attn.k_norm")
_NORMS: Mapping[str, tuple[str, ...]] = {
    "apertus": ("attention_layernorm", "feedforward_layernorm", *_HEADS),
    "cohere": (_IN,),
    "cohere2": (_IN,),
    "exaone4": (_ATTENTION, _AFTER, *_HEADS),
    "gemma2": (_IN, _ATTENTION, _BEFORE, _AFTER),
    "gemma3_text": (_IN, _ATTENTION, _BEFORE, _AFTER, *_HEADS),
    "glm4": (_IN, _ATTENTION, "post_mlp_layernorm", "post_self_attn_layernorm"),
    "olmo2": (_ATTENTION, _AFTER, *_HEADS),
    "olmo3": (_ATTENTION, _AFTER, *_HEADS),
    "phi": (_IN,),
    "qwen3": (_IN, _ATTENTION, *_HEADS),
    "stablelm": (_IN,),
}
#: What a field of the config adds, or holds bare parameters.
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "apertus": ("mlp.act_fn",),
    "cohere": _HEADS,
    "hunyuan_v1_dense": ("self_attn.query_layernorm", "self_attn.key_layernorm"),
    "phi": ("self_attn.q_layernorm", "self_attn.k_layernorm"),
    "stablelm": (_ATTENTION, "self_attn.q_layernorm.norms", "self_attn.k_layernorm.norms"),
}
#: Modules that have a bias whatever the config says.
_QKV = tuple(f"self_attn.{leaf}_proj" for leaf in "qkv")
_BIASED: Mapping[str, tuple[str, ...]] = {
    "phi": (*_QKV, "self_attn.dense", "mlp.fc1", "mlp.fc2"),
    "qwen2": _QKV,
}
#: Modules that a flag of the config gives one, whatever the type.
_BY_FLAG: Mapping[str, tuple[str, ...]] = {
    "attention_bias": _QKV,
    "mlp_bias": tuple(f"mlp.{leaf}_proj" for leaf in ("gate", "up", "down")),
}
_ANY_QKV = re.compile(r"(self_attn|mixer)\.[qkv]_proj")
#: Flags of types whose layers differ as well, by the modules that each gives a bias in all of them.
BIAS_FLAGS: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("attention_bias", "qkv_bias", "use_qkv_bias"), _ANY_QKV),
    **dict.fromkeys(("mamba_conv_bias", "use_conv_bias"), re.compile(r"(mamba|mixer)\.conv1d")),
    "mamba_proj_bias": re.compile(r"(mamba|mixer)\.in_proj"),
    "use_bias": re.compile(r"mixer\.in_proj|self_attn\.[qkv]_proj"),
    "conv_bias": re.compile(r"conv\.(conv|in_proj|out_proj)"),
}
#: The text model of a type that wraps one; of others the nested config says it.
_INNER = {"gemma3": "gemma3_text", "qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2", "qwen3_vl": "qwen3"}


@frozen
class LayerModules:
    """Modules by their path below ``layers.N``: ``every`` layer has these, and ``some`` may. Those
    that are ``biased`` have a bias in every layer; ``unbiased``: no linear module has one."""

    every: frozenset[str]
    some: frozenset[str]
    biased: tuple[str, ...]
    unbiased: bool


def layer_modules(config: Mapping[str, Any]) -> LayerModules | None:
    """What the layers of that model have; None where they differ, or nobody knows."""
    entry = architecture_for(config)
    inner = _INNER.get(entry.model_type, entry.model_type)
    nested = config.get("text_config")
    if entry.inside and inner == entry.model_type and isinstance(nested, Mapping):
        inner = str(nested.get("model_type"))
    known = ARCHITECTURES.get(inner)
    if not entry.uniform or known is None or not known.uniform:
        return None
    every = _of_type(inner)
    if not every:
        return None  # GPT-2 and others whose layers are no model.layers
    fields = nested if isinstance(nested, Mapping) else config
    flags = {key for key, value in fields.items() if key.endswith("bias") and value is not False}
    biased = _BIASED.get(inner, ())
    for flag, modules in _BY_FLAG.items():
        biased += tuple(m for m in modules if m in every and fields.get(flag) is True)
    some = frozenset(_OPTIONAL.get(inner, ()))
    return LayerModules(every, some, biased, unbiased=not biased and not flags)


@cache
def _of_type(model_type: str) -> frozenset[str]:
    linear = {leaf for leaf in _LINEAR if _has(ARCHITECTURES[model_type], leaf)}
    norms = _NORMS.get(model_type, (_IN, _ATTENTION))
    return frozenset({*linear, *norms}) if linear else frozenset()


def _has(entry: Architecture, leaf: str) -> bool:
    place = entry.place(f"{entry.inside}model.layers.0.{leaf}")
    return not isinstance(place, Impossible)
