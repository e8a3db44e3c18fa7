"""MLX LoRA to PEFT, as a plan: every tensor that will be written and what it is made of.

The mathematics: MLX adds ``scale * (x @ lora_a) @ lora_b``, PEFT ``alpha/r * B(A x)``; therefore
``A = lora_a.T``, ``B = lora_b.T``, ``alpha = scale * r``. Carrying the plan out is the Converter's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.architectures import SUPPORTED_TYPES, unsupported_module
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import LoraModel, LoraTarget
from weighbridge.domain.scale import effective_scale
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 10
KEY_PREFIX = "base_model.model."
CONVERTIBLE_DTYPES = frozenset({"F32", "F16", "BF16"})
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@frozen
class Transpose:
    """The target is ``source`` with its two axes exchanged."""

    source: TensorSpec


@frozen
class PlannedTensor:
    """One tensor to be written."""

    target: TensorSpec
    operation: Transpose


@frozen
class ConversionPlan:
    """What will be written: tensors in file order, and the config. ``scale`` is MLX's."""

    tensors: tuple[PlannedTensor, ...]
    config: Mapping[str, Any]
    scale: float

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Specs of the output, in file order."""
        return tuple(t.target for t in self.tensors)

    @property
    def config_bytes(self) -> bytes:
        """``adapter_config.json`` as written."""
        return (json.dumps(self.config, indent=2, sort_keys=True) + "\n").encode()


def is_local_path(name: str) -> bool:
    """True if ``name`` is a path of somebody's machine rather than the id of a Hub repository."""
    return name.startswith(("/", "~", ".", "file:", "\\")) or "\\" in name or not (
        _HUB_ID.fullmatch(name)
    )  # fmt: skip


def _base_name(model: LoraModel, override: str | None, reasons: list[str]) -> str:
    name = override or model.base_model
    if name is None:
        reasons.append(f"{model.config_path} names no base model; give --base-model org/name")
    elif is_local_path(name):
        reasons.append(
            f"the base model {name!r} is a path of one machine, not a Hub id; give --base-model "
            "org/name"
        )
    return name or ""


def _scale(model: LoraModel, override: float | None, reasons: list[str]) -> float:
    if override is not None:
        return override
    found = effective_scale(model.config, model.targets[0].rank if model.targets else 1)
    if found.value is None:
        reasons.append(f"{model.config_path}: {found.reason}")
    return found.value or 0.0


def _other_reason(spec: TensorSpec) -> str:
    leaf, shape = spec.name.rpartition(".")[2], list(spec.shape)
    if leaf == "m":
        return f"{spec.name}: is a DoRA magnitude; fuse the model instead (mlx_lm.fuse)"
    if leaf in ("lora_a", "lora_b") and len(shape) == 3:
        return f"{spec.name}: {shape} is a LoRA on stacked experts (MoE)"
    if leaf in ("lora_a", "lora_b"):
        return f"{spec.name}: {shape} is not part of a sound dense lora_a/lora_b pair"
    return f"{spec.name}: {spec.dtype} {shape} is not a LoRA tensor (full fine-tuning?)"


def _refusals(model: LoraModel, model_type: str | None) -> list[str]:
    reasons = [_other_reason(spec) for spec in model.others[:_MOST_NAMED]]
    if len(model.others) > _MOST_NAMED:
        reasons.append(f"and {len(model.others) - _MOST_NAMED} more tensors like these")
    for target in model.targets:
        if target.magnitude is not None:
            reasons.append(_other_reason(target.magnitude))
        if target.experts is not None:
            reasons += [_other_reason(target.a), _other_reason(target.b)]
    if not model.targets and not model.others:
        reasons.append(f"{model.weights_path}: holds no LoRA tensors")
    if model_type is not None and model_type not in SUPPORTED_TYPES:
        known = ", ".join(sorted(SUPPORTED_TYPES))
        reasons.append(f"the base's model_type {model_type!r} is not one of {known}")
    for target in model.targets:
        problem = unsupported_module(target.module)
        if problem is not None:
            reasons.append(f"{target.module}: {problem}")
        for spec in (target.a, target.b):
            if spec.dtype not in CONVERTIBLE_DTYPES:
                reasons.append(f"{spec.name}: dtype {spec.dtype} is not F32, F16 or BF16")
    if len({t.rank for t in model.targets}) > 1:
        reasons.append("ranks differ between modules: " + _rank_list(model.targets))
    return reasons


def _rank_list(targets: tuple[LoraTarget, ...]) -> str:
    return ", ".join(f"{t.module} {t.rank}" for t in targets[:4]) + (" ..." if targets[4:] else "")


def plan_peft(
    model: LoraModel,
    *,
    location: str,
    base_model: str | None = None,
    scale: float | None = None,
    model_type: str | None = None,
) -> ConversionPlan:
    """The exact PEFT form of a dense LoRA.

    ``base_model`` and ``scale`` override the config; ``model_type`` comes from the
    base's config.json when it is at hand. Raises NotConvertible with every reason at once.
    """
    reasons = _refusals(model, model_type)
    name = _base_name(model, base_model, reasons)
    factor = _scale(model, scale, reasons)
    if not reasons and not 0 < factor < math.inf:
        reasons.append(f"scale {factor:g} would make the LoRA do nothing or the opposite")
    if reasons:
        raise NotConvertible(location=location, reasons=tuple(reasons))
    tensors = tuple(p for target in model.targets for p in _planned(target))
    return ConversionPlan(tensors, _peft_config(model, name, factor), factor)


def _planned(target: LoraTarget) -> tuple[PlannedTensor, PlannedTensor]:
    stem = KEY_PREFIX + target.module
    a, b = target.a, target.b
    return (
        PlannedTensor(TensorSpec(f"{stem}.lora_A.weight", a.dtype, a.shape[::-1]), Transpose(a)),
        PlannedTensor(TensorSpec(f"{stem}.lora_B.weight", b.dtype, b.shape[::-1]), Transpose(b)),
    )


def _layer_of(module: str) -> int | None:
    found = _LAYER.search(module)
    return int(found.group(1)) if found else None


def target_selection(
    modules: tuple[str, ...],
) -> tuple[list[str], list[int] | None]:
    """``target_modules`` and ``layers_to_transform`` that select exactly ``modules``.

    Suffixes with a list of layers if the modules are the full product of the two, which is the
    form that every consumer reads; else full paths.
    """
    layered = {m: layer for m in modules if (layer := _layer_of(m)) is not None}
    suffixes = sorted({m.rpartition(".")[2] for m in modules})
    layers = sorted(set(layered.values()))
    product = len(layered) == len(modules) == len(layers) * len(suffixes)
    if not product:
        return sorted(modules), None
    return suffixes, layers


def _peft_config(model: LoraModel, base_model: str, scale: float) -> dict[str, Any]:
    rank = model.targets[0].rank
    alpha = scale * rank
    modules, layers = target_selection(tuple(t.module for t in model.targets))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        # Ollama parses an unsigned integer here, so an integral value is written as one.
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "layers_to_transform": layers,
        "layers_pattern": "layers" if layers is not None else None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
