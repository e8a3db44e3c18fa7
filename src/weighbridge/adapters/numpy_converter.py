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
# Fewer elements than this of a row are not worth a read of their own.
_SLICE_WORDS = 8 << 10
# How to transpose, by measurement (Xeon, 48 KiB and 2 MiB of cache): 4 to 8 GB/s for every shape
# of a LoRA, where numpy left to itself falls to 2 GB/s from rank 64 on.
_FEW_ROWS = 16
_SHORT_ROW_BYTES = 512
_BLOCK_BYTES = 32 << 10
_TILE_ROWS = 256
_TILE_BYTES = 256 << 10
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


def _bands(rows: int, columns: int, words: int, piece: int) -> Iterator[_Band]:
    """How to cut the transpose of (rows, columns) into bands of at most ``words`` elements.

    A ``piece`` is what one read can hold. If it can hold a worthwhile slice of every row, the band
    is that wide and nothing is read twice; else it is as wide as possible, to read the rows rarely.
    """
    if rows == 0:
        return
    if rows > words:
        for column in range(columns):
            for begin in range(0, rows, words):
                yield _Band(column, column + 1, begin, min(rows, begin + words))
        return
    narrow = min(piece, words) // rows
    step = narrow if narrow >= _SLICE_WORDS else words // rows
    for first in range(0, columns, step):
        yield _Band(first, min(columns, first + step), 0, rows)


def _chunks(spec: TensorSpec, source: TensorSource, piece: Words, band: Words) -> Iterator[Buffer]:
    word = np.dtype(_WORDS[DTYPE_BITS[spec.dtype]])
    rows, columns = spec.shape
    inputs = piece[: piece.nbytes // word.itemsize * word.itemsize].view(word)
    outputs = band[: band.nbytes // word.itemsize * word.itemsize].view(word)
    for part in _bands(rows, columns, outputs.size, inputs.size):
        width, height = part.end - part.begin, part.last - part.first
        target = outputs[: height * width].reshape(height, width)
        for row, column, words in _pieces(part, spec, source, inputs):
            count, wide = words.shape
            _transpose(words, target[column : column + wide, row : row + count])
        yield target.reshape(-1).view(np.uint8).data


def _pieces(
    part: _Band, spec: TensorSpec, source: TensorSource, inputs: Words
) -> Iterator[tuple[int, int, Words]]:
    """What the band is made of, in turn: its row and column in the band's part of the source."""
    columns = spec.shape[1]
    width = part.last - part.first
    whole = columns <= inputs.size and (width == columns or width < _SLICE_WORDS)
    # Of a narrow band, whole rows are read and most of them ignored: that is still one read.
    pitch = columns if whole else min(width, inputs.size)
    for column in [0] if whole else range(part.first, part.last, pitch):
        wide = columns if whole else min(pitch, part.last - column)
        step = inputs.size // wide
        for row in range(part.begin, part.end, step):
            words = inputs[: min(step, part.end - row) * wide].reshape(-1, wide)
            _read(source, spec, words, row, column)
            if whole:
                yield row - part.begin, 0, words[:, part.first : part.last]
            else:
                yield row - part.begin, column - part.first, words


def _read(source: TensorSource, spec: TensorSpec, words: Words, row: int, column: int) -> None:
    """Fill ``words`` from the matrix's ``row`` and ``column`` on; at once if rows are whole."""
    columns, item = spec.shape[1], words.itemsize
    lines = words.reshape(1, -1) if words.shape[1] == columns else words
    for index, line in enumerate(lines):
        at = ((row + index) * columns + column) * item
        source.read_into(spec.name, line.view(np.uint8).data, at)


def _transpose(read: Words, target: Words) -> None:
    """``target[...] = read.T`` in an order that stays in the caches; figures of one machine."""
    rows, columns = read.shape
    item = read.itemsize
    if rows <= _FEW_ROWS:
        target[...] = read.T
    elif columns * item <= _SHORT_ROW_BYTES:
        step = _BLOCK_BYTES // (columns * item)
        for first in range(0, rows, step):
            target[:, first : first + step] = read[first : first + step].T
    else:
        _transpose_by_tiles(read, target)


def _transpose_by_tiles(read: Words, target: Words) -> None:
    """By way of a tile with padded rows: rows a power of two apart evict each other."""
    rows, columns = read.shape
    high = min(rows, _TILE_ROWS)
    wide = min(columns, _TILE_BYTES // read.itemsize // high)
    tile = np.empty((high, wide + 32 // read.itemsize), read.dtype)
    for row in range(0, rows, high):
        for column in range(0, columns, wide):
            part = read[row : row + high, column : column + wide]
            copy = tile[: part.shape[0], : part.shape[1]]
            copy[...] = part
            target[column : column + wide, row : row + high] = copy.T
