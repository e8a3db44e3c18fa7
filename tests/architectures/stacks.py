"""One tiny base as both stacks see it: MLX's tensors, transformers' parameters, and the files."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import frozen

from tests.mlx_artifacts.architectures import CONFIGS, make_architecture
from tests.mlx_artifacts.cache import cached
from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.placement import Architecture

Array = npt.NDArray[np.float32]

MISTRAL4 = {**CONFIGS["mistral4"], "model_type": "mistral4"}
#: The same types with branches of the model that the plain config does not build.
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3, no query rank": ("deepseek_v3", {"q_lora_rank": None}),
    "gemma4_text, experts": (
        "gemma4_text",
        {
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 48,
        },
    ),
    "granitemoehybrid, dense": (
        "granitemoehybrid",
        {"num_local_experts": 0, "shared_intermediate_size": 96},
    ),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "mistral3, mistral4": ("mistral3", {"text_config": MISTRAL4}),
    "qwen3_moe, one dense layer": ("qwen3_moe", {"mlp_only_layers": [0]}),
    "qwen3_next, one dense layer": ("qwen3_next", {"mlp_only_layers": [0]}),
}
CASES = (*CONFIGS, *VARIANTS)
_TOKENS = list(range(5, 25))


@frozen
class MlxTensor:
    """``lora`` says that mlx-lm could adapt it."""

    value: Array
    lora: bool


@frozen
class Base:
    """``kinds`` are transformers' module classes by path; ``files`` the tensors as stored.

    ``answers`` are the logits of MLX and of transformers for the same tokens.
    """

    architecture: Architecture
    mlx: Mapping[str, MlxTensor]
    runtime: Mapping[str, Array]
    kinds: Mapping[str, type]
    files: Mapping[str, Array]
    answers: tuple[Array, Array]


def directory_of(case: str) -> Path:
    """The checkpoint of that case, from the cache."""
    model_type, overrides = VARIANTS.get(case, (case, {}))
    name = "architecture-" + case.replace(" ", "-").replace(",", "")
    return cached(name, functools.partial(make_architecture, model_type=model_type, **overrides))


def load_base(directory: Path) -> Base:
    """Both stacks' view of that checkpoint, in float32."""
    config = json.loads((directory / "config.json").read_text())
    from mlx_lm.utils import load_model

    model = load_transformers(directory, config)
    mlx_model, _ = load_model(directory)
    return Base(
        architecture=architecture_for(config),
        mlx=dict(_mlx_tensors(mlx_model)),
        runtime={name: _array(value) for name, value in model.state_dict().items()},
        kinds={name: type(module) for name, module in model.named_modules()},
        files=_files(directory),
        answers=(mlx_answer_of(mlx_model), answer_of(model)),
    )


def load_transformers(directory: Path, config: Mapping[str, Any]) -> Any:
    """The model of the class that config.json names, or of transformers' choice for the type."""
    import torch

    transformers = import_module("transformers")
    named = getattr(transformers, config["architectures"][0], transformers.AutoModelForCausalLM)
    return named.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")


def mlx_answer_of(model: Any) -> Array:
    import mlx.core as mx

    logits: Array = np.array(model(mx.array([_TOKENS])).astype(mx.float32))
    return logits


def answer_of(model: Any) -> Array:
    import torch

    with torch.no_grad():
        return _array(model.eval()(torch.tensor([_TOKENS])).logits)


def _mlx_tensors(model: Any) -> Iterator[tuple[str, MlxTensor]]:
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    # What mlx_lm.tuner.utils.linear_to_lora_layers turns into LoRA layers.
    able = (nn.Linear, nn.QuantizedLinear, nn.Embedding, SwitchLinear, QuantizedSwitchLinear)
    modules = dict(model.named_modules())
    for name, value in tree_flatten(model.parameters()):
        path, _, leaf = name.rpartition(".")
        module = modules[path]
        lora = leaf == "weight" and (isinstance(module, able) or hasattr(module, "to_lora"))
        wide = value if value.dtype == mx.uint32 else value.astype(mx.float32)
        yield name, MlxTensor(np.array(wide), lora)


def _files(directory: Path) -> dict[str, Array]:
    from safetensors.torch import load_file

    found: dict[str, Array] = {}
    for path in directory.glob("model*.safetensors"):
        found |= {name: _array(value) for name, value in load_file(path).items()}
    return found


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().float().numpy()
    return array
