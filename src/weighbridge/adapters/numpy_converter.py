"""Carries out a conversion plan with numpy: moves raw integers, so no value can change.

A tensor is written in bands of the target's rows. Memory is one band and one piece of input,
whatever the tensor's size; a tensor larger than a band is read once per band.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import field, frozen

from weighbridge.domain.conversion import Transpose
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, TensorSource
    from weighbridge.domain.conversion import ConversionPlan, PlannedTensor
    from weighbridge.domain.tensors import TensorSpec

Words: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_BAND_BYTES = 96 << 20
_INPUT_BYTES = 8 << 20
# A block of so many rows by a LoRA's rank stays in the first two caches while it is turned.
_BLOCK_ROWS = 1024
# With fewer elements in a row than this, numpy's cost per row exceeds that of the copy itself.
_SHORT_ROW = 256
# Below this, reading a slice of each row costs more than reading whole rows and ignoring the rest.
_SLICE_BYTES = 64 << 10
_WORDS = {16: "<u2", 32: "<u4"}


@frozen
class _Band:
    """Target rows ``first`` to ``last``, and of those the elements ``begin`` to ``end``.

    Only a band of a single target row is less than whole rows, so bands are in row-major order.
    """

    first: int
    last: int
    begin: int
    end: int


@frozen
class NumpyConverter:
    """The Converter that needs nothing but numpy. Both sizes are in bytes."""

    band_bytes: int = field(default=_BAND_BYTES, kw_only=True)
    input_bytes: int = field(default=_INPUT_BYTES, kw_only=True)

    def run(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        """Each planned tensor with its chunks. Raises NotConvertible before reading anything."""
        reasons = tuple(r for planned in plan.tensors if (r := _refusal(planned)))
        if reasons:
            raise NotConvertible(location="the plan", reasons=reasons)
        return self._tensors(plan, source)

    def _tensors(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        # One pair of buffers for all tensors: fresh pages cost as much as the copy.
        largest = max((t.target.nbytes for t in plan.tensors), default=0)
        piece = np.empty(max(8, min(largest, self.input_bytes)), np.uint8)
        band = np.empty(max(8, min(largest, self.band_bytes)), np.uint8)
        for planned in plan.tensors:
            yield planned.target, _chunks(planned.operation.source, source, piece, band)


def _refusal(planned: PlannedTensor) -> str | None:
    target, operation = planned.target, planned.operation
    if not isinstance(operation, Transpose):
        return f"{target.name}: {type(operation).__name__} is not supported"
    spec = operation.source
    if DTYPE_BITS[spec.dtype] not in _WORDS:
        return f"{spec.name}: a transpose of {spec.dtype} is not supported"
    if len(spec.shape) != 2:
        return f"{spec.name}: {list(spec.shape)} has not two axes to exchange"
    if (target.dtype, target.shape) != (spec.dtype, spec.shape[::-1]):
        found = f"{target.dtype} {list(target.shape)}"
        return f"{target.name}: {found} is no transpose of {spec.dtype} {list(spec.shape)}"
    return None


def _bands(rows: int, columns: int, words: int) -> Iterator[_Band]:
    """How to cut the transpose of (rows, columns) into bands of at most ``words`` elements."""
    if rows == 0:
        return
    if rows > words:
        for column in range(columns):
            for begin in range(0, rows, words):
                yield _Band(column, column + 1, begin, min(rows, begin + words))
        return
    step = words // rows
    for first in range(0, columns, step):
        yield _Band(first, min(columns, first + step), 0, rows)


def _chunks(spec: TensorSpec, source: TensorSource, piece: Words, band: Words) -> Iterator[Buffer]:
    word = np.dtype(_WORDS[DTYPE_BITS[spec.dtype]])
    rows, columns = spec.shape
    inputs = piece[: piece.nbytes // word.itemsize * word.itemsize].view(word)
    outputs = band[: band.nbytes // word.itemsize * word.itemsize].view(word)
    for part in _bands(rows, columns, outputs.size):
        width, height = part.end - part.begin, part.last - part.first
        target = outputs[: height * width].reshape(height, width)
        _fill(target, part, spec, source, inputs)
        yield target.reshape(-1).view(np.uint8).data


def _fill(
    target: Words, part: _Band, spec: TensorSpec, source: TensorSource, inputs: Words
) -> None:
    columns, item = spec.shape[1], inputs.itemsize
    width = part.last - part.first
    if columns > inputs.size or (width < columns and width * item >= _SLICE_BYTES):
        _fill_by_slices(target, part, spec, source, inputs)
        return
    step = inputs.size // columns
    for row in range(part.begin, part.end, step):
        count = min(step, part.end - row)
        words = inputs[: count * columns]
        source.read_into(spec.name, words.view(np.uint8).data, row * columns * item)
        read = words.reshape(count, columns)[:, part.first : part.last]
        begin = row - part.begin
        _transpose(read, target[:, begin : begin + count])


def _fill_by_slices(
    target: Words, part: _Band, spec: TensorSpec, source: TensorSource, inputs: Words
) -> None:
    """As ``_fill``, of each row only what the band holds; rows may be longer than the input."""
    columns, item = spec.shape[1], inputs.itemsize
    for row in range(part.begin, part.end):
        for column in range(part.first, part.last, inputs.size):
            words = inputs[: min(inputs.size, part.last - column)]
            at = (row * columns + column) * item
            source.read_into(spec.name, words.view(np.uint8).data, at)
            first = column - part.first
            target[first : first + words.size, row - part.begin] = words


def _transpose(read: Words, target: Words) -> None:
    """``target[...] = read.T``, block by block, with the long axis innermost in numpy's loop."""
    rows, columns = read.shape
    if rows < _SHORT_ROW and columns > rows:
        for first in range(0, columns, _BLOCK_ROWS):
            block = target[first : first + _BLOCK_ROWS]
            for row in range(rows):
                block[:, row] = read[row, first : first + _BLOCK_ROWS]
        return
    for first in range(0, rows, _BLOCK_ROWS):
        target[:, first : first + _BLOCK_ROWS] = read[first : first + _BLOCK_ROWS].T
