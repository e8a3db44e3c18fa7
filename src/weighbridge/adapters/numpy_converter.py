"""Carries out a conversion plan with numpy: moves raw integers, so no value can change.

A transpose is written in bands of the target's rows: memory is one band and one piece of input,
whatever the tensor's size; a tensor larger than a band is read once per band. What is assembled of
pieces is made whole, one tensor at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import evolve, field, frozen

from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensor_plan import Assemble, Grid, Piece, Transpose
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, TensorSource
    from weighbridge.domain.tensor_plan import ConversionPlan, PlannedTensor
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
_REALS = frozenset({"F32", "F16", "BF16"})
_ASSEMBLED_WORDS = 2 << 20
_SCALED_WORDS = 1 << 20


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
            match planned.operation:
                case Transpose(spec):
                    yield planned.target, _chunks(spec, source, piece, band)
                case Assemble(pieces):
                    yield planned.target, _assembled(planned.target, pieces, source)


def _refusal(planned: PlannedTensor) -> str | None:
    match planned.operation:
        case Transpose(spec):
            return _transpose_refusal(planned.target, spec)
        case Assemble(pieces):
            problems = (_piece_refusal(planned.target, p) for p in pieces)
            return next((p for p in problems if p), None)
        case other:
            return f"{planned.target.name}: {type(other).__name__} is not supported"


def _transpose_refusal(target: TensorSpec, spec: TensorSpec) -> str | None:
    if DTYPE_BITS[spec.dtype] not in _WORDS:
        return f"{spec.name}: a transpose of {spec.dtype} is not supported"
    if len(spec.shape) != 2:
        return f"{spec.name}: {list(spec.shape)} has not two axes to exchange"
    if (target.dtype, target.shape) != (spec.dtype, spec.shape[::-1]):
        found = f"{target.dtype} {list(target.shape)}"
        return f"{target.name}: {found} is no transpose of {spec.dtype} {list(spec.shape)}"
    return None


def _piece_refusal(target: TensorSpec, piece: Piece) -> str | None:
    spec, read, write = piece.source, piece.read, piece.write
    if spec.dtype not in _REALS or target.dtype not in _REALS:
        return f"{target.name}: pieces of {spec.dtype} in {target.dtype} are not supported"
    if not _moves_bits(target, piece) and target.dtype != "F32":
        return f"{target.name}: arithmetic in {target.dtype} is not supported"
    if (read.rows, read.columns) != (write.rows, write.columns):
        return f"{target.name}: a piece of {spec.name} has another form than its place"
    if read.last >= math.prod(spec.shape) or write.last >= math.prod(target.shape):
        return f"{target.name}: a piece of {spec.name} reaches beyond its tensor"
    return None


def _moves_bits(target: TensorSpec, piece: Piece) -> bool:
    return piece.factor == 1.0 and piece.source.dtype == target.dtype


def _assembled(
    target: TensorSpec, pieces: tuple[Piece, ...], source: TensorSource
) -> Iterator[Buffer]:
    words = np.zeros(math.prod(target.shape), _WORDS[DTYPE_BITS[target.dtype]])
    held: tuple[str, Words] | None = None
    for piece in pieces:
        if held is None or held[0] != piece.source.name:
            # Slices are read by themselves; of what is scattered, the tensor is read once.
            held = None if _dense(piece.read) else (piece.source.name, _whole(piece.source, source))
        read = _grid(held[1], piece.read) if held else _slice(piece, source)
        place = _grid(words, piece.write)
        if _moves_bits(target, piece):
            place[...] = read
        else:
            _put_scaled(read, piece, place)
    for start in range(0, words.size, _ASSEMBLED_WORDS):
        yield words[start : start + _ASSEMBLED_WORDS].view(np.uint8).data


def _dense(grid: Grid) -> bool:
    """True if what lies between its first and last element is mostly its own."""
    return grid.last - grid.start < 2 * grid.rows * grid.columns


def _slice(piece: Piece, source: TensorSource) -> Words:
    """The piece's elements, by reading only what lies between its first and last."""
    word = np.dtype(_WORDS[DTYPE_BITS[piece.source.dtype]])
    words = np.empty(max(0, piece.read.last + 1 - piece.read.start), word)
    if words.size:
        at = piece.read.start * word.itemsize
        source.read_into(piece.source.name, words.view(np.uint8).data, at)
    return _grid(words, evolve(piece.read, start=0))


def _whole(spec: TensorSpec, source: TensorSource) -> Words:
    words = np.empty(math.prod(spec.shape), _WORDS[DTYPE_BITS[spec.dtype]])
    source.read_into(spec.name, words.view(np.uint8).data, 0)
    return words


def _grid(words: Words, grid: Grid) -> Words:
    """A view of the grid's elements, (rows, columns)."""
    item = words.itemsize
    return np.lib.stride_tricks.as_strided(
        words[grid.start :],
        (grid.rows, grid.columns),
        (grid.row_stride * item, grid.column_stride * item),
    )


def _put_scaled(read: Words, piece: Piece, place: Words) -> None:
    """The piece's values times its factor, with one rounding to float32, some rows at a time."""
    step = max(1, _SCALED_WORDS // max(1, read.shape[1]))
    for row in range(0, read.shape[0], step):
        words = np.ascontiguousarray(read[row : row + step])
        match piece.source.dtype:
            case "BF16":
                values = (words.astype("<u4") << 16).view("<f4")
            case "F16":
                values = words.view("<f2").astype("<f4")
            case _:
                values = words.view("<f4")
        with np.errstate(over="ignore"):  # infinity, which no proof lets through
            product = (values.astype("<f8") * piece.factor).astype("<f4")
        place[row : row + step] = product.view("<u4")


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
