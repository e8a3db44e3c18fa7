"""What can be said of a model by its tensors and settings: how it was trained, by what, how strong.

For ``inspect``. Judges nothing; the rules do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.changes import written_pairs
from weighbridge.domain.detection import CHECKPOINT, NPZ_WEIGHTS
from weighbridge.domain.models import FusedModel, LoraModel, Model, PeftModel
from weighbridge.domain.peft.config import stated_alpha
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.peft.selection import NotPeft, pair_rank
from weighbridge.domain.placement import Standing
from weighbridge.domain.scale import Scale, effective_scale
from weighbridge.domain.tensors import TensorSpec

_EMBEDDINGS = ("embed_tokens", "word_embeddings", "wte", "embed_in", "embeddings", "tok_embeddings")
_NO_LORA = "there are no LoRA tensors"
_PACKING = ("bits", "group_size", "mode")


@frozen
class Strength:
    """The ranks of its modules, and the one scale or why there is none. ``alpha`` is PEFT's."""

    ranks: tuple[int, ...]
    scale: Scale
    alpha: float | None = None


@frozen
class Conversion:
    """What can be done with a model of that architecture; ``reason`` if not everything."""

    standing: Standing
    reason: str = ""


def training_of(model: Model) -> str | None:
    """'lora', 'dora' or 'full', as the tensors show; None if a fused model does not tell."""
    match model:
        case LoraModel(targets=targets, others=others):
            if any(t.magnitude for t in targets):
                return "dora"
            return "lora" if targets or not others else "full"
        case PeftModel(config=config):
            return "dora" if config.get("use_dora") is True else "lora"
        case FusedModel():
            return None


def dialect_of(model: Model) -> str | None:
    """Whose form of LoRA it is: what to ask about when something is odd."""
    if isinstance(model, PeftModel):
        return "PEFT"
    if not isinstance(model, LoraModel):
        return None
    names = [t.a.name for t in model.targets]
    if model.weights_path.endswith(NPZ_WEIGHTS):
        return "npz, of mlx-lm before 0.5 or mlx-examples"
    if any(name.endswith(".A") for name in names) or _is_mlx_vlm(model.config):
        return "mlx-vlm"
    if any(t.turned and t.a.name.endswith(".lora_a") for t in model.targets):
        return "MLX Forge"
    if any(t.turned for t in model.targets):
        return "linear layers, as unsloth's"
    return "mlx-lm" if model.config else "no config"


def _is_mlx_vlm(config: Mapping[str, Any]) -> bool:
    return "lora_parameters" not in config and "rank" in config and "alpha" in config


def experts_of(model: Model) -> int | None:
    """How many experts a LoRA's stacks have; None if it has none."""
    targets = model.targets if isinstance(model, LoraModel) else ()
    return max((t.experts for t in targets if t.experts is not None), default=None)


def embeddings_of(model: Model) -> tuple[str, ...]:
    """Embedding modules that the LoRA adapts, by their names."""
    modules: Iterable[str] = ()
    if isinstance(model, LoraModel):
        modules = (t.module for t in model.targets)
    elif isinstance(model, PeftModel):
        named = (parse_name(spec.name) for spec in model.tensors)
        modules = (name.core for name in named if name is not None)
    return tuple(sorted({m for m in modules if m.rpartition(".")[2] in _EMBEDDINGS}))


def checkpoints_in(paths: Iterable[str], directory: str) -> tuple[int, ...]:
    """The steps of the numbered checkpoints in that directory of the artifact."""
    matches = (CHECKPOINT.fullmatch(p.rpartition("/")[2]) for p in paths
               if p.rpartition("/")[0] == directory)  # fmt: skip
    return tuple(sorted(int(found["step"]) for found in matches if found))


def strength_of(model: Model) -> Strength:
    """Ranks and scale; of a fused model nothing."""
    match model:
        case LoraModel(targets=targets, config=config):
            ranks = tuple(sorted({t.rank for t in targets}))
            if not ranks:
                return Strength((), Scale(None, _NO_LORA))
            return Strength(ranks, effective_scale(config, ranks[0]))
        case PeftModel():
            return _peft_strength(model)
        case FusedModel():
            return Strength((), Scale(None))


def _peft_strength(model: PeftModel) -> Strength:
    alpha = stated_alpha(model.config)
    try:
        pairs, _ = written_pairs({t.name: t for t in model.tensors}, model.config)
        ranks = sorted({pair_rank(p.parameter or p.stem, model.config) for p in pairs.values()})
    except NotPeft as problem:
        return Strength((), Scale(None, str(problem)), alpha)
    scales = sorted({p.scale for p in pairs.values()})
    if len(scales) == 1:
        return Strength(tuple(ranks), Scale(scales[0]), alpha)
    listed = ", ".join(f"{s:g}" for s in scales)
    reason = f"differs between modules: {listed}" if scales else _NO_LORA
    return Strength(tuple(ranks), Scale(None, reason), alpha)


def conversion_of(model: Model) -> Conversion | None:
    """What the architecture of a whole model allows; None for an adapter."""
    if not isinstance(model, FusedModel) or not isinstance(model.config.get("model_type"), str):
        return None
    architecture = BaseModel(model.config).architecture
    return Conversion(architecture.standing, architecture.reason)


def quantisation_of(model: Model) -> Mapping[str, Any] | None:
    """How MLX packed the weights, as the config says: bits, group_size, mode."""
    if not isinstance(model, FusedModel) or not model.quantised:
        return None
    stated = model.config.get("quantization") or model.config.get("quantization_config")
    found = stated if isinstance(stated, Mapping) else {}
    kept = {key: found[key] for key in _PACKING if isinstance(found.get(key), int | str)}
    return {"mode": "affine", **kept} if kept else {}


def tensors_of(model: Model) -> tuple[TensorSpec, ...]:
    """Every tensor of it."""
    match model:
        case LoraModel(targets=targets, others=others):
            return tuple(s for t in targets for s in t.specs) + others
        case PeftModel(tensors=tensors) | FusedModel(tensors=tensors):
            return tensors
