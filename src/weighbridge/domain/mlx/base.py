"""A base in MLX's own format, said in the checkpoint's terms: its names, and shapes unpacked.

People train on ``mlx-community`` conversions, mostly quantised, whose headers name MLX's modules
and show packed words. What a LoRA must fit is the matrix behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.placement import Architecture, Layout, Stored
from weighbridge.domain.tensors import TensorSpec

_STACKS = (".switch_mlp.", ".switch_glu.")
_DEFAULT_GROUP = 64


def is_mlx_format(config: Mapping[str, Any], tensors: Mapping[str, TensorSpec]) -> bool:
    """True if MLX wrote these weights in a form that transformers does not read."""
    packed = "quantization" in config and "quant_method" not in config
    return packed or any(n.endswith(".scales") or any(s in n for s in _STACKS) for n in tensors)


def unpacked(
    config: Mapping[str, Any], tensors: Mapping[str, TensorSpec], architecture: Architecture
) -> dict[str, TensorSpec]:
    """The checkpoint's tensors that these are, as far as the table knows them."""
    found: dict[str, TensorSpec] = {}
    for name, spec in tensors.items():
        if not name.endswith((".scales", ".biases")):
            stored = architecture.restore(name)
            if isinstance(stored, Stored):
                shape = _shape(name, spec, tensors, config)
                found |= {n: TensorSpec(n, spec.dtype, s) for n, s in _named(stored, shape)}
    return found


def _shape(
    name: str,
    spec: TensorSpec,
    tensors: Mapping[str, TensorSpec],
    config: Mapping[str, Any],
) -> tuple[int, ...]:
    """The shape of the matrix: each scale stands for a group of columns."""
    module = name.removesuffix(".weight")
    scales = tensors.get(f"{module}.scales")
    if scales is None or module == name:
        return spec.shape
    options = config.get("quantization")
    options = options if isinstance(options, dict) else {}
    own = options.get(module)
    group = (own if isinstance(own, dict) else options).get("group_size", _DEFAULT_GROUP)
    size = group if isinstance(group, int) and group > 0 else _DEFAULT_GROUP
    return (*scales.shape[:-1], scales.shape[-1] * size)


def _named(stored: Stored, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    if "{}" in stored.name:
        for expert in range(shape[0] if shape else 0):
            yield stored.name.replace("{}", str(expert)), shape[1:]
        return
    if stored.count != 1 and len(shape) >= 2:
        if stored.index:
            return  # the first part speaks for the joined tensor
        shape = (*shape[:-2], shape[-2] * stored.count, shape[-1])
    if stored.layout is Layout.TRANSPOSED and len(shape) >= 2:
        shape = (*shape[:-2], shape[-1], shape[-2])
    yield stored.name, shape
