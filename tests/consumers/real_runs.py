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


@frozen
class Run:
    """A base's type, and how mlx-lm was told to train on it. ``change`` edits the tensors."""

    model_type: str
    options: dict[str, Any] = field(factory=dict)
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def base(self) -> Path:
        """The base's directory, from the cache."""
        name = f"architecture-{self.model_type}"
        return cached(name, functools.partial(make_architecture, model_type=self.model_type))

    def source(self, scratch: Path) -> Path:
        """What mlx-lm wrote, from the cache; if it is to be changed, a copy in ``scratch``."""
        trained = tiny_lora(self.base, **self.options)
        if self.change is None:
            return trained
        from safetensors.numpy import load_file, save_file

        directory = scratch / "changed"
        shutil.copytree(trained, directory)
        path = directory / "adapters.safetensors"
        save_file(self.change(load_file(path)), path, {"format": "mlx"})
        return directory

    def convert(self, scratch: Path, **options: Any) -> tuple[Path, Path, Converted]:
        """The run, our output, and what is said of it; ``scratch`` is made."""
        scratch.mkdir()
        source, output = self.source(scratch), scratch / "converted"
        options = {"base": self.base, "base_model": NAME, **options}
        return source, output, weighbridge.convert(source, output, **options)


def _narrower_queries(tensors: dict[str, Any]) -> dict[str, Any]:
    """Half the rank for q_proj: mlx-lm has one rank for all, trainers built on it have more."""
    return {
        name: _half(name, value) if ".q_proj." in name else value for name, value in tensors.items()
    }


def _half(name: str, value: Any) -> Any:
    half = value[:, :4] if name.endswith("lora_a") else value[:4]
    return half.copy()


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
        "llama, two ranks": Run("llama", change=_narrower_queries),
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
