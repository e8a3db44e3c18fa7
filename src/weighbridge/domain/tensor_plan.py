"""A conversion as a plan: every tensor that will be written, and what it is made of.

Two operations are enough for every form that a LoRA takes. ``Transpose`` is the common one, and is
streamed. ``Assemble`` puts pieces of source tensors on a ground of zeros: slices of stacked
experts, padding, block diagonals, interleavings are all grids with strides. Carrying a plan out is
the Converter's business.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from weighbridge.domain.tensors import TensorSpec


@frozen
class Transpose:
    """The target is ``source`` with its two axes exchanged."""

    source: TensorSpec


@frozen
class Grid:
    """``rows`` x ``columns`` elements of a tensor's flat memory; all numbers count elements."""

    start: int
    rows: int
    columns: int
    row_stride: int
    column_stride: int = 1

    @classmethod
    def whole(cls, shape: tuple[int, ...], *, start: int = 0) -> Grid:
        """A contiguous matrix; leading axes of ``shape`` are rows."""
        columns = shape[-1] if shape else 1
        return cls(start, math.prod(shape[:-1]), columns, columns)

    @property
    def transposed(self) -> Grid:
        """The same elements, rows and columns exchanged."""
        return Grid(self.start, self.columns, self.rows, self.column_stride, self.row_stride)

    @property
    def last(self) -> int:
        """The largest flat index that it touches; -1 if it is empty."""
        if not self.rows or not self.columns:
            return -1
        down, across = (self.rows - 1) * self.row_stride, (self.columns - 1) * self.column_stride
        return self.start + down + across


@frozen
class Piece:
    """``read`` of ``source`` goes to ``write`` of the target, times ``factor``.

    Bits are moved as they are if the factor is 1 and the dtypes are equal.
    """

    source: TensorSpec
    read: Grid
    write: Grid
    factor: float = 1.0


@frozen
class Assemble:
    """Pieces on a ground of zeros; they do not overlap."""

    pieces: tuple[Piece, ...]


Operation: TypeAlias = Transpose | Assemble


@frozen
class PlannedTensor:
    """One tensor to be written."""

    target: TensorSpec
    operation: Operation

    @property
    def sources(self) -> tuple[TensorSpec, ...]:
        """The source tensors that it is made of."""
        match self.operation:
            case Transpose(source):
                return (source,)
            case Assemble(pieces):
                return tuple({p.source.name: p.source for p in pieces}.values())


@frozen
class Padding:
    """What was added that changes nothing: zero tensors for the sake of some consumers."""

    tensors: int = 0
    nbytes: int = 0


@frozen
class ConversionPlan:
    """What will be written: tensors in file order, and the config.

    ``scale`` is what MLX multiplies by. ``notes`` say what a reader of the result should know.
    """

    tensors: tuple[PlannedTensor, ...]
    config: Mapping[str, Any]
    scale: float
    padding: Padding = Padding()
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Specs of the output, in file order."""
        return tuple(t.target for t in self.tensors)

    @property
    def config_bytes(self) -> bytes:
        """``adapter_config.json`` as written."""
        return (json.dumps(self.config, indent=2, sort_keys=True) + "\n").encode()


@frozen
class Matrix:
    """A matrix to be written: its dtype, its shape, and the pieces that are not zero."""

    dtype: str
    rows: int
    columns: int
    pieces: tuple[Piece, ...] = ()

    def grown(self, *, rows: int | None = None, columns: int | None = None) -> Matrix:
        """The same in the upper left corner of a larger one; what is added is zero."""
        wide = self.columns if columns is None else columns
        moved = tuple(_placed(p, 0, 0, self.columns, wide) for p in self.pieces)
        return Matrix(self.dtype, self.rows if rows is None else rows, wide, moved)

    def scaled(self, factor: float) -> Matrix:
        """Every element times ``factor``, in F32 since a narrower dtype could not hold it."""
        pieces = tuple(Piece(p.source, p.read, p.write, p.factor * factor) for p in self.pieces)
        return Matrix("F32", self.rows, self.columns, pieces)

    def planned(self, name: str) -> PlannedTensor:
        """The tensor of that name. A single whole transpose is said as such, to be streamed."""
        target = TensorSpec(name, self.dtype, (self.rows, self.columns))
        if len(self.pieces) == 1 and _is_transpose(self.pieces[0], target):
            return PlannedTensor(target, Transpose(self.pieces[0].source))
        return PlannedTensor(target, Assemble(self.pieces))


def transposed(source: TensorSpec) -> Matrix:
    """The matrix that is ``source`` (two axes) with its axes exchanged."""
    rows, columns = source.shape
    read = Grid.whole(source.shape).transposed
    piece = Piece(source, read, Grid.whole((columns, rows)))
    return Matrix(source.dtype, columns, rows, (piece,))


def sliced(source: TensorSpec, index: int, rows: int, columns: int) -> Matrix:
    """Slice ``index`` of a stack of (rows, columns) matrices, as it is."""
    read = Grid.whole((rows, columns), start=index * rows * columns)
    piece = Piece(source, read, Grid.whole((rows, columns)))
    return Matrix(source.dtype, rows, columns, (piece,))


def stacked(parts: Iterable[Matrix], dtype: str) -> Matrix:
    """The parts below one another; equal columns."""
    listed = tuple(parts)
    columns, pieces, row = listed[0].columns, [], 0
    for part in listed:
        pieces += [_placed(p, row, 0, part.columns, columns) for p in part.pieces]
        row += part.rows
    return Matrix(dtype, row, columns, tuple(pieces))


def block_diagonal(parts: Iterable[Matrix], dtype: str) -> Matrix:
    """The parts on the diagonal, zeros elsewhere."""
    listed = tuple(parts)
    columns = sum(p.columns for p in listed)
    pieces, row, column = [], 0, 0
    for part in listed:
        pieces += [_placed(p, row, column, part.columns, columns) for p in part.pieces]
        row, column = row + part.rows, column + part.columns
    return Matrix(dtype, row, columns, tuple(pieces))


def interleaved(parts: Iterable[Matrix], dtype: str) -> Matrix:
    """Columns taken in turn: column ``c`` of part ``e`` of ``n`` becomes column ``c * n + e``."""
    listed = tuple(parts)
    count = len(listed)
    columns = sum(p.columns for p in listed)
    pieces = []
    for index, part in enumerate(listed):
        for p in part.pieces:
            row, column = divmod(p.write.start, part.columns)
            write = Grid(row * columns + column * count + index, p.write.rows, p.write.columns,
                         columns, count)  # fmt: skip
            pieces.append(Piece(p.source, p.read, write, p.factor))
    return Matrix(dtype, listed[0].rows, columns, tuple(pieces))


def _placed(piece: Piece, row: int, column: int, width: int, wider: int) -> Piece:
    """The piece of a matrix ``width`` wide, moved within one that is ``wider``."""
    at_row, at_column = divmod(piece.write.start, width)
    start = (at_row + row) * wider + at_column + column
    write = Grid(start, piece.write.rows, piece.write.columns, wider, piece.write.column_stride)
    return Piece(piece.source, piece.read, write, piece.factor)


def _is_transpose(piece: Piece, target: TensorSpec) -> bool:
    source = piece.source
    return (
        piece.factor == 1.0
        and source.dtype == target.dtype
        and len(source.shape) == 2
        and source.shape[::-1] == target.shape
        and piece.read == Grid.whole(source.shape).transposed
        and piece.write == Grid.whole(target.shape)
    )
