"""A fused MLX model as a checkpoint that transformers loads, as a plan.

Packed weights become floats, and MLX's names and layouts those of the checkpoint again. The floats
are those of ``mx.dequantize``: in the dtype of the scales, or BF16 where those have 8 bits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.checkpoints.checkpoint import CheckpointPlan, PlannedWeight, sharded
from weighbridge.domain.checkpoints.fusion import shortened
from weighbridge.domain.checkpoints.packing import (
    Packed,
    Packing,
    other_method,
    packing_of,
    quantisation_of,
)
from weighbridge.domain.checkpoints.restoration import Plain, Restoration, Unpacked
from weighbridge.domain.checkpoints.written_form import written_form
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import FusedModel
from weighbridge.domain.placement import Architecture
from weighbridge.domain.tensors import TensorSpec

_PARTS = ("scales", "biases", "global_scale")
_TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DTYPE_KEYS = ("torch_dtype", "dtype")
_QUANTISATION_KEYS = ("quantization", "quantization_config")


@frozen
class DequantisationPlan:
    """What will be written. ``packings`` counts modules; none means that names are restored only.

    ``renamed`` counts tensors that have another name or shape than in the MLX model.
    """

    checkpoint: CheckpointPlan
    config: Mapping[str, Any]
    packings: tuple[tuple[Packing, int], ...]
    renamed: int

    @property
    def config_bytes(self) -> bytes:
        """``config.json`` as written."""
        return (json.dumps(self.config, indent=2, sort_keys=True) + "\n").encode()


def plan_dequantisation(
    model: FusedModel,
    architecture: Architecture,
    *,
    location: str,
    shard_bytes: int,
    by_mlx: bool = True,
    gaps: bool = False,
) -> DequantisationPlan:
    """The plan, with shards of at most ``shard_bytes``. ``by_mlx``: the files say MLX wrote them;
    ``gaps`` as for ``written_form``.

    Raises NotConvertible with every reason at once.
    """
    whole = written_form(model.config, architecture, gaps=gaps)
    reasons = [*_refusals(model), *([whole] if isinstance(whole, str) else [])]
    if isinstance(whole, str) or reasons:
        raise NotConvertible(location=location, reasons=tuple(reasons))
    work = Restoration(whole.architecture)
    packings: Counter[Packing] = Counter()
    for each in _logical(model, work.reasons):
        work.add(each)
        packings.update([each.packing] if isinstance(each, Unpacked) else [])
    weights = tuple(work.joined())
    if not by_mlx and not packings and work.moved:
        work.reasons.append("it is neither quantised, nor do its files say that MLX wrote them")
    if work.reasons:
        raise NotConvertible(location=location, reasons=shortened(work.reasons))
    dtype = _main_dtype(weights)
    notes = (*whole.notes, *_notes(model, weights, dtype))
    return DequantisationPlan(
        CheckpointPlan(sharded(weights, shard_bytes), notes),
        _config(whole.config, dtype),
        tuple(sorted(packings.items(), key=lambda item: (-item[1], str(item[0])))),
        len(work.moved),
    )


def _refusals(model: FusedModel) -> Iterator[str]:
    """What makes every further look at the tensors pointless."""
    if method := other_method(model.config):
        yield f"{model.config_path}: it is quantised by {method}, not by MLX"
    elif quantisation_of(model.config) is not None and not model.quantised:
        yield f"{model.config_path} says that it is quantised, but no tensor has scales"
    names = Counter(t.name for t in model.tensors)
    yield from (f"{name}: is in more than one file" for name, n in names.items() if n > 1)


def _logical(model: FusedModel, reasons: list[str]) -> Iterator[Plain | Unpacked]:
    """The tensors that MLX computes with, in file order; ``reasons`` gets what contradicts."""
    listed = {t.name: t for t in model.tensors}
    quantisation = quantisation_of(model.config)
    modules = {n.removesuffix(".scales") for n in listed if n.endswith(".scales")}
    reasons += _contradictions(listed, modules, quantisation or {})
    for name, spec in listed.items():
        module, _, leaf = name.rpartition(".")
        if module not in modules or leaf not in ("weight", *_PARTS):
            yield Plain(spec)
        elif leaf == "weight" and spec.dtype == "U32":
            packed = _packed(listed, module)
            packing = packing_of(packed, quantisation)
            if isinstance(packing, str):
                reasons.append(f"{module}: {packing}")
            else:
                yield Unpacked(packed, packing)


def _packed(listed: Mapping[str, TensorSpec], module: str) -> Packed:
    scales, biases, whole = (listed.get(f"{module}.{part}") for part in _PARTS)
    assert scales is not None
    return Packed(module, listed[f"{module}.weight"], scales, biases, whole)


def _contradictions(
    listed: Mapping[str, TensorSpec], modules: set[str], quantisation: Mapping[str, Any]
) -> Iterator[str]:
    for module in sorted(modules):
        weight = listed.get(f"{module}.weight")
        if weight is None:
            yield f"{module}: has scales, but no weight"
        elif weight.dtype != "U32":
            yield f"{module}: has scales, but a weight of {weight.dtype}, not of packed U32"
    for name, spec in listed.items():
        module = name.rpartition(".")[0]
        if spec.dtype == "U32" and module not in modules:
            yield f"{name}: is packed (U32), but {module}.scales is missing"
        elif module not in modules and isinstance(quantisation.get(module), dict):
            yield f"{name}: the config says how it is quantised, but it has no scales"


def _main_dtype(weights: Iterable[PlannedWeight]) -> str | None:
    """The float dtype that most of the bytes have."""
    sizes: Counter[str] = Counter()
    for weight in weights:
        if weight.target.dtype in _TORCH:
            sizes[weight.target.dtype] += weight.target.nbytes
    return max(sizes, key=lambda d: (sizes[d], d), default=None)


def _config(config: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    """Without quantisation, and with the dtype that is written, wherever one is named."""
    kept = {k: v for k, v in config.items() if k not in _QUANTISATION_KEYS}
    if dtype is not None:
        for key in [k for k in _DTYPE_KEYS if k in kept]:
            kept[key] = _TORCH[dtype]
    if isinstance(text := kept.get("text_config"), dict):
        kept["text_config"] = _config(text, dtype)
    return kept


def _notes(model: FusedModel, weights: Iterable[PlannedWeight], dtype: str | None) -> Iterator[str]:
    if not model.quantised:
        yield "it is not quantised: names and layouts are restored, the values are as they were"
    rest = Counter(w.target.dtype for w in weights if w.target.dtype in _TORCH)
    for other in sorted(d for d in rest if d != dtype):
        yield (
            f"{rest[other]} tensors stay {other}; config.json names {dtype}, to which loaders "
            "round them"
        )
