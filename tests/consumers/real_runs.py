"""Runs that mlx-lm trained on tiny bases: what the consumers get, converted."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

import weighbridge
from tests.mlx_artifacts.architectures import make_architecture
from tests.mlx_artifacts.cache import cached
from tests.mlx_artifacts.training import tiny_lora
from weighbridge.application.convert import Converted

NAME = "acme/base"


Change = Callable[[dict[str, Any]], dict[str, Any]]


@frozen
class Run:
    """A base's type, and how mlx-lm was told to train on it.

    ``change`` edits the tensors to what mlx-lm does not load, and ``meaning`` edits them to the
    same function in a form that it does.
    """

    model_type: str
    options: dict[str, Any] = field(factory=dict)
    change: Change | None = None
    meaning: Change | None = None

    @property
    def base(self) -> Path:
        """The base's directory, from the cache."""
        name = f"architecture-{self.model_type}"
        return cached(name, functools.partial(make_architecture, model_type=self.model_type))

    def convert(self, scratch: Path, **options: Any) -> Made:
        """Our output in ``scratch``, which is made."""
        scratch.mkdir()
        trained, output = tiny_lora(self.base, **self.options), scratch / "converted"
        source = _edited(trained, scratch / "changed", self.change)
        options = {"base": self.base, "base_model": NAME, **options}
        done = weighbridge.convert(source, output, **options)
        return Made(source, _edited(trained, scratch / "meaning", self.meaning), output, done)


@frozen
class Made:
    """``source`` is what was converted to ``output``, ``meaning`` what mlx-lm loads of it."""

    source: Path
    meaning: Path
    output: Path
    done: Converted


def _edited(directory: Path, copy: Path, change: Change | None) -> Path:
    if change is None:
        return directory
    from safetensors.numpy import load_file, save_file

    shutil.copytree(directory, copy)
    path = copy / "adapters.safetensors"
    save_file(change(load_file(path)), path, {"format": "mlx"})
    return copy


def _narrower_queries(tensors: dict[str, Any]) -> dict[str, Any]:
    """Half the rank for q_proj: mlx-lm has one rank for all, trainers built on it have more."""
    halves = {n: _half(n, value) for n, value in tensors.items() if ".q_proj." in n}
    return tensors | {name: half.copy() for name, half in halves.items()}


def _halved_queries(tensors: dict[str, Any]) -> dict[str, Any]:
    for name, value in tensors.items():
        if name.endswith("q_proj.lora_b"):
            value[4:] = 0
    return tensors


def _half(name: str, value: Any) -> Any:
    return value[:, :4] if name.endswith("lora_a") else value[:4]


_LAST: dict[str, Any] = {"num_layers": 1}
_QUERIES: dict[str, Any] = {"keys": ["self_attn.q_proj"]}
_VOCABULARY: dict[str, Any] = {"keys": ["model.embed_tokens", "self_attn.q_proj", "lm_head"]}

#: Each kind of base with mlx-lm's default keys, and on some what the portable form has to mend.
RUNS = MappingProxyType(
    {
        "llama": Run("llama"),
        "llama, last layer": Run("llama", _LAST),
        "llama, q_proj": Run("llama", _QUERIES),
        "llama, odd scale": Run("llama", {"scale": 7.3}),
        "llama, two ranks": Run("llama", {}, _narrower_queries, _halved_queries),
        "llama, vocabulary": Run("llama", _VOCABULARY),
        "qwen2": Run("qwen2"),
        "qwen2, last layer": Run("qwen2", _LAST),
        "gemma2": Run("gemma2"),
        "mistral": Run("mistral"),
        "phi3": Run("phi3"),
        "mixtral": Run("mixtral"),
        "mixtral, last layer": Run("mixtral", _LAST),
        "olmoe": Run("olmoe"),
        "qwen3": Run("qwen3"),
        "qwen3_moe": Run("qwen3_moe"),
        "qwen3_moe, last layer": Run("qwen3_moe", _LAST),
    }
)
