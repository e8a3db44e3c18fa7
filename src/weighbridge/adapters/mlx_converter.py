"""Carries out a conversion plan with MLX itself (the extra ``mlx``).

The second implementation behind the Converter port: what MLX makes of its own arrays is the
witness for what numpy makes of their bytes. Words are moved as unsigned integers, so no value can
change. Memory is a few bands, whatever the tensor's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from weighbridge.adapters.workers import missing_mlx
from weighbridge.domain.errors import MissingExtra, NotConvertible
from weighbridge.domain.tensor_plan import Assemble, Grid, Piece, Transpose
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, TensorSource
    from weighbridge.domain.tensor_plan import ConversionPlan, PlannedTensor
    from weighbridge.domain.tensors import TensorSpec

_BAND_BYTES = 32 << 20
_INPUT_BYTES = 8 << 20
_WORDS = {16: "<u2", 32: "<u4"}
_REALS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


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
            match planned.operation:
                case Transpose(spec):
                    yield planned.target, self._chunks(spec, source, mx)
                case Assemble(pieces):
                    yield planned.target, _assembled(planned.target, pieces, source, mx)

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


def _assembled(
    target: TensorSpec, pieces: tuple[Piece, ...], source: TensorSource, mx: Any
) -> Iterator[Buffer]:
    word = np.dtype(_WORDS[DTYPE_BITS[target.dtype]])
    made = mx.zeros((math.prod(target.shape),), getattr(mx, word.name))
    for piece in pieces:
        spec = piece.source
        words = np.empty(math.prod(spec.shape), _WORDS[DTYPE_BITS[spec.dtype]])
        source.read_into(spec.name, words.view(np.uint8).data, 0)
        read = mx.array(words)[_indices(piece.read, mx)]
        if piece.factor != 1.0 or spec.dtype != target.dtype:
            # mx.float64 exists on the CPU only, which is where every product is rounded once.
            with mx.stream(mx.cpu):
                values = read.view(getattr(mx, _REALS[spec.dtype])).astype(mx.float64)
                read = (values * piece.factor).astype(mx.float32).view(mx.uint32)
        made[_indices(piece.write, mx)] = read
    mx.eval(made)
    yield np.array(made, copy=False).view(np.uint8).data


def _indices(grid: Grid, mx: Any) -> Any:
    """The flat indices of the grid's elements, (rows, columns)."""
    rows = mx.arange(grid.rows)[:, None] * grid.row_stride
    return grid.start + rows + mx.arange(grid.columns)[None, :] * grid.column_stride


def _refusal(planned: PlannedTensor) -> str | None:
    match planned.operation:
        case Transpose(spec):
            return _transpose_refusal(planned.target, spec)
        case Assemble(pieces):
            return next((r for p in pieces if (r := _piece_refusal(planned.target, p))), None)
        case other:
            return f"{planned.target.name}: {type(other).__name__} is not supported"


def _transpose_refusal(target: TensorSpec, spec: TensorSpec) -> str | None:
    if DTYPE_BITS[spec.dtype] not in _WORDS or len(spec.shape) != 2:
        return f"{spec.name}: a transpose of {spec.dtype} {list(spec.shape)} is not supported"
    if (target.dtype, target.shape) != (spec.dtype, spec.shape[::-1]):
        return f"{target.name}: is no transpose of {spec.name}"
    return None


def _piece_refusal(target: TensorSpec, piece: Piece) -> str | None:
    spec, read, write = piece.source, piece.read, piece.write
    moves_bits = piece.factor == 1.0 and spec.dtype == target.dtype
    if spec.dtype not in _REALS or target.dtype not in ({*_REALS} if moves_bits else {"F32"}):
        return f"{target.name}: pieces of {spec.dtype} in {target.dtype} are not supported"
    if (read.rows, read.columns) != (write.rows, write.columns):
        return f"{target.name}: a piece of {spec.name} has another form than its place"
    if read.last >= math.prod(spec.shape) or write.last >= math.prod(target.shape):
        return f"{target.name}: a piece of {spec.name} reaches beyond its tensor"
    return None
