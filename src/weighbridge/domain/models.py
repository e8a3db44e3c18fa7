"""The kinds of model and their parts, parsed: a value of these types needs no second check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias

from attrs import frozen

from weighbridge.domain.tensors import TensorSpec, digits_alike


class Kind(Enum):
    """What a directory is; the value is the word of options and reports."""

    LORA = "lora"
    FUSED = "fused"
    PEFT = "peft"


@frozen
class LoraTarget:
    """One module with its pair.

    Dense: ``a`` is (in, rank), ``b`` is (rank, out); an embedding's ``in`` is the vocabulary.
    Stacked experts: ``a`` is (experts, rank, in), before mlx-lm 0.28.3 (experts * rank, in) with
    the same memory order, and ``b`` is (experts, out, rank). ``magnitude`` is DoRA's m, (out,).
    With ``turned`` the pair was trained as linear layers: ``a`` is (rank, in), ``b`` (out, rank).
    """

    module: str
    a: TensorSpec
    b: TensorSpec
    magnitude: TensorSpec | None = None
    experts: int | None = None
    turned: bool = False

    @property
    def rank(self) -> int:
        """The inner dimension."""
        if self.turned:
            return self.a.shape[0]
        return self.b.shape[-1] if self.experts is not None else self.a.shape[1]

    @property
    def in_features(self) -> int:
        """Input size of the adapted module."""
        return self.a.shape[-1] if self.turned or self.experts is not None else self.a.shape[0]

    @property
    def out_features(self) -> int:
        """Output size of the adapted module."""
        return self.b.shape[0] if self.turned else self.b.shape[1]

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Its tensors."""
        return (self.a, self.b) if self.magnitude is None else (self.a, self.b, self.magnitude)


#: How MLX's LoRA layers call the layer that they lie around.
_WRAPPED = ("linear", "embedding")


@frozen
class LoraModel:
    """What mlx-lm's LoRA training wrote. ``others`` are tensors that are part of no LoRA pair."""

    directory: str
    weights_path: str
    config_path: str
    config: Mapping[str, Any]
    targets: tuple[LoraTarget, ...]
    others: tuple[TensorSpec, ...]

    @property
    def base_model(self) -> str | None:
        """The base model as the config names it: a Hub id or a path."""
        for key in ("model", "base_model_name_or_path", "model_name", "base_model"):
            if isinstance(value := self.config.get(key), str) and value:
                return value
        return None

    @property
    def said_rank(self) -> int | None:
        """The rank in the config, which the tensors need not have."""
        parameters = self.config.get("lora_parameters", self.config)
        rank = parameters.get("rank") if isinstance(parameters, dict) else None
        return rank if isinstance(rank, int) and not isinstance(rank, bool) else None

    @property
    def saved_whole(self) -> bool:
        """True if the base's own weights, around which MLX's LoRA layers lie, were saved along:
        the model was saved, and not what was trained of it."""
        inside = {f"{t.module}.{layer}" for t in self.targets for layer in _WRAPPED}
        return any(s.name.rpartition(".")[0] in inside for s in self.others)


@frozen
class PeftModel:
    """A PEFT adapter: ``tensors`` as stored."""

    directory: str
    weights_path: str
    config_path: str
    config: Mapping[str, Any]
    tensors: tuple[TensorSpec, ...]

    @property
    def base_model(self) -> str | None:
        """The base model's name, if given."""
        value = self.config.get("base_model_name_or_path")
        return value if isinstance(value, str) and value else None


@frozen
class FusedModel:
    """A whole model: one file or shards, with its config."""

    directory: str
    weights_paths: tuple[str, ...]
    config_path: str
    config: Mapping[str, Any]
    tensors: tuple[TensorSpec, ...]

    @property
    def base_model(self) -> None:
        """A fused model's directory does not say what it was made from."""
        return None

    @property
    def quantised(self) -> bool:
        """True if MLX packed the weights, whatever the config says. AWQ and GPTQ have scales as
        well, beside words that they call ``qweight``."""
        scaled, others = (
            {t.name.removesuffix(end) for g in self.alike if g[0].name.endswith(end) for t in g}
            for end in (".scales", ".qweight")
        )
        return bool(scaled - others)

    @cached_property
    def alike(self) -> tuple[Sequence[TensorSpec], ...]:
        """The tensors, those together whose dtypes and shapes are the same, and whose names but for
        the digits are: ten thousand are some twenty of each number of digits."""
        groups: dict[tuple[bytes, str, tuple[int, ...]], list[TensorSpec]] = {}
        named = digits_alike([spec.name for spec in self.tensors])
        for name, spec in zip(named, self.tensors, strict=True):
            groups.setdefault((name, spec.dtype, spec.shape), []).append(spec)
        return tuple(groups.values())


Model: TypeAlias = LoraModel | FusedModel | PeftModel
