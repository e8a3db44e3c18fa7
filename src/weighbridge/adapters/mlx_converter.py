"""Carries out a conversion plan with MLX itself (the extra ``mlx``).

The second implementation behind the Converter port: what MLX makes of its own arrays is the
witness for what numpy makes of their bytes. Words are moved as unsigned integers, so no value can
change. Memory is a few bands, whatever the tensor's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from weighbridge.adapters.workers import missing_mlx
from weighbridge.domain.conversion import Transpose
from weighbridge.domain.errors import MissingExtra, NotConvertible
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, TensorSource
    from weighbridge.domain.conversion import ConversionPlan, PlannedTensor
    from weighbridge.domain.tensors import TensorSpec

_BAND_BYTES = 32 << 20
_INPUT_BYTES = 8 << 20
_WORDS = {16: "<u2", 32: "<u4"}


@frozen
class MlxConverter:
    """The Converter that runs on MLX. Raises MissingExtra where MLX is not installed."""

    band_bytes: int = field(default=_BAND_BYTES, kw_only=True)
    input_bytes: int = field(default=_INPUT_BYTES, kw_only=True)

    def run(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        """Each planned tensor with its chunks. Raises NotConvertible before reading anything."""
        missing = missing_mlx()
        if missing is not None:
            raise MissingExtra(problem=missing, extra="mlx")
        reasons = tuple(r for planned in plan.tensors if (r := _refusal(planned)))
        if reasons:
            raise NotConvertible(location="the plan", reasons=reasons)
        return self._tensors(plan, source, import_module("mlx.core"))

    def _tensors(
        self, plan: ConversionPlan, source: TensorSource, mx: Any
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        for planned in plan.tensors:
            yield planned.target, self._chunks(planned.operation.source, source, mx)

    def _chunks(self, spec: TensorSpec, source: TensorSource, mx: Any) -> Iterator[Buffer]:
        rows, columns = spec.shape
        item = DTYPE_BITS[spec.dtype] // 8
        if rows == 0 or columns == 0:
            return
        width = max(1, self.band_bytes // (rows * item))
        for first in range(0, columns, width):
            pieces = self._pieces(spec, source, mx, first, min(columns, first + width))
            band = mx.contiguous(mx.transpose(mx.concatenate(list(pieces), axis=0)))
            mx.eval(band)
            # numpy views MLX's memory; the view keeps the array alive until the next band
            yield np.array(band, copy=False).reshape(-1).view(np.uint8).data

    def _pieces(
        self, spec: TensorSpec, source: TensorSource, mx: Any, first: int, last: int
    ) -> Iterator[Any]:
        rows, columns = spec.shape
        word = np.dtype(_WORDS[DTYPE_BITS[spec.dtype]])
        step = max(1, self.input_bytes // (columns * word.itemsize))
        for row in range(0, rows, step):
            words = np.empty((min(step, rows - row), columns), word)
            view = words.reshape(-1).view(np.uint8).data
            source.read_into(spec.name, view, row * columns * word.itemsize)
            yield mx.array(np.ascontiguousarray(words[:, first:last]))


def _refusal(planned: PlannedTensor) -> str | None:
    target, operation = planned.target, planned.operation
    if not isinstance(operation, Transpose):
        return f"{target.name}: {type(operation).__name__} is not supported"
    spec = operation.source
    if DTYPE_BITS[spec.dtype] not in _WORDS or len(spec.shape) != 2:
        return f"{spec.name}: a transpose of {spec.dtype} {list(spec.shape)} is not supported"
    if (target.dtype, target.shape) != (spec.dtype, spec.shape[::-1]):
        return f"{target.name}: is no transpose of {spec.name}"
    return None
