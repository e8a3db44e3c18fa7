"""What transformers' attention of a model type is, by building it without weights."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tests.mlx_artifacts.architectures import CONFIGS

_OF_HEADS = re.compile(r"(?:model\.|model\.language_model\.|language_model\.model\.)layers\.\d+\."
                       r"self_attn\.(q_proj|k_proj|v_proj|o_proj|qkv_proj)\.weight")  # fmt: skip


def variants(model_type: str) -> Iterator[Any]:
    """Configs of that type: a small one, then one with larger heads, then one with more."""
    auto = import_module("transformers").AutoConfig
    yield auto.for_model(model_type, **copy.deepcopy(CONFIGS[model_type]))
    for more in (False, True):
        config = copy.deepcopy(CONFIGS[model_type])
        text = config.get("text_config", config)
        if more:
            text["num_attention_heads"] *= 2
        if "head_dim" not in text:
            text["hidden_size"] *= 2
        elif not more:
            text["head_dim"] *= 2
        yield auto.for_model(model_type, **config)


def shapes(config: Any) -> dict[str, set[tuple[int, ...]]]:
    """The shapes of the decoder's projections, by their last name."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(config)
        except ValueError:
            model = AutoModelForImageTextToText.from_config(config)
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, tensor in model.named_parameters():
        if leaf := _OF_HEADS.fullmatch(name):
            found.setdefault(leaf[1], set()).add(tuple(tensor.shape))
    return found


def defaults(config: Any) -> tuple[int | None, int | None]:
    """head_dim and num_key_value_heads of a config that leaves both out, None for what follows."""
    declared = {field.name: field.default for field in dataclasses.fields(type(config))}
    both = (declared.get(name) for name in ("head_dim", "num_key_value_heads"))
    head, groups = (value if isinstance(value, int) else None for value in both)
    return head, groups
