"""LoRA, DoRA or a full fine-tune into a base checkpoint, as a plan.

The mathematics is mlx-lm's ``fuse``: a linear module's weight becomes ``W + scale * (a @ b).T``, an
embedding's ``E + scale * a @ b``, an expert's ``W[e] + scale * b[e] @ a[e]``; DoRA scales each row
of that to the length ``m``. Tensors of a full fine-tune replace those of the base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from weighbridge.domain.checkpoints.base_tensors import BaseTensors
from weighbridge.domain.checkpoints.checkpoint import CheckpointPlan, PlannedWeight, Shard
from weighbridge.domain.checkpoints.layouts import keeps
from weighbridge.domain.checkpoints.packing import other_method, quantisation_of
from weighbridge.domain.checkpoints.patches import Patches, Ties
from weighbridge.domain.conversion import saved_whole
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import LoraModel
from weighbridge.domain.placement import Architecture
from weighbridge.domain.scale import scale_to_use
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 20


@frozen
class FusionBase:
    """A base as loaded: its config, its entry in the table of architectures, and the tensors of
    each file in file order. ``by_mlx``: its files say that MLX wrote them."""

    location: str
    config: Mapping[str, Any]
    architecture: Architecture
    files: tuple[tuple[str, tuple[TensorSpec, ...]], ...]
    by_mlx: bool = False

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors of all files."""
        return tuple(t for _, tensors in self.files for t in tensors)


@frozen
class FusionPlan:
    """What will be written. ``changed`` are the base tensors that the run changes."""

    checkpoint: CheckpointPlan
    modules: int
    changed: tuple[str, ...]
    scales: tuple[float, ...]


def plan_fusion(
    model: LoraModel, base: FusionBase, *, location: str, scale: float | None = None
) -> FusionPlan:
    """The plan. ``scale`` overrides what the run's config says.

    Raises NotConvertible with every reason at once.
    """
    work = Patches(base.architecture, BaseTensors(base.architecture, base.tensors))
    work.reasons += _base_refusals(base)
    scales = [] if work.reasons else _gather(model, base, scale, work)
    if work.reasons:
        raise NotConvertible(location=location, reasons=shortened(work.reasons))
    dropped = Ties.of(base.config, work.base).dropped(work.found)
    shards = tuple(Shard(p, _weights(tensors, work, dropped)) for p, tensors in base.files)
    notes = tuple(_notes(model, base, dropped))
    return FusionPlan(
        CheckpointPlan(tuple(s for s in shards if s.weights), notes),
        modules=len(model.targets) + len(model.others),
        changed=tuple(sorted(work.found)),
        scales=tuple(sorted(set(scales))),
    )


def shortened(reasons: Sequence[str]) -> tuple[str, ...]:
    """Each once, and not more than a screen of them."""
    listed = list(dict.fromkeys(reasons))
    rest = len(listed) - _MOST_NAMED
    return (*listed[:_MOST_NAMED], *([f"and {rest} more reasons like these"] if rest > 0 else []))


def _base_refusals(base: FusionBase) -> Iterable[str]:
    packed = quantisation_of(base.config) or any(t.name.endswith(".scales") for t in base.tensors)
    if packed:
        yield (
            f"the base {base.location} is quantised by MLX; give the original that it was made "
            "from, or the output of `weighbridge dequantize`"
        )
    elif base.by_mlx and any(not keeps(base.architecture, t.name) for t in base.tensors):
        yield (
            f"the base {base.location} has MLX's names and layouts; give the original that it was "
            "made from, or the output of `weighbridge dequantize`"
        )
    if not isinstance(base.config.get("model_type"), str):
        yield f"the base {base.location} has no model_type in its config.json"
    counted = Counter(t.name for t in base.tensors)
    if twice := sorted(name for name, count in counted.items() if count > 1):
        yield f"the base {base.location} has {twice[0]} in more than one file"


def _gather(
    model: LoraModel, base: FusionBase, override: float | None, work: Patches
) -> list[float]:
    """All patches of the run, or the reasons against them; the scales that were used."""
    scales, ties = [], Ties.of(base.config, work.base)
    if model.saved_whole:
        work.reasons.append(saved_whole(model))
        return []
    for target in model.targets:
        found = scale_to_use(model.config, target.rank, override)
        if found.value is None:
            place = f"{model.config_path}: " if override is None else ""
            work.reasons.append(place + found.reason)
        else:
            work.add_target(target, found.value, ties)
            scales.append(found.value)
    for spec in model.others:
        work.add_tensor(spec)
    work.settle()
    if work.reasons and (method := other_method(base.config)):
        work.reasons.append(f"the base {base.location} is quantised ({method}); give the original")
    if not model.targets and not model.others:
        work.reasons.append(f"{model.weights_path}: holds no tensors to fuse")
    return scales


def _weights(
    tensors: Iterable[TensorSpec], work: Patches, dropped: str | None
) -> tuple[PlannedWeight, ...]:
    kept = (t for t in tensors if t.name != dropped)
    return tuple(PlannedWeight(spec, (work.operation(spec),)) for spec in kept)


def _notes(model: LoraModel, base: FusionBase, dropped: str | None) -> Iterable[str]:
    if dropped:
        yield f"{dropped} is left out: this base ties it to the embedding, which has changed"
    dora = model.config.get("fine_tune_type") == "dora" or model.config.get("use_dora") is True
    if dora and not any(t.magnitude for t in model.targets):
        yield (
            f"{model.config_path} says DoRA, but there are no magnitudes: it is fused as the plain "
            "LoRA that mlx-lm 0.14.2 to 0.15 trained"
        )
    if not base.config.get("architectures"):
        yield "config.json of the base names no architectures, which vLLM and llama.cpp need"
