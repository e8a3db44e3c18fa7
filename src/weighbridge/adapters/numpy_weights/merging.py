"""A base matrix with its patches, band by band: ``W + scale * left @ right``, then DoRA's lengths.

The factors of one patch are held as float32, and nothing else that is larger than a band; of a
weight that the base stores transposed and that is replaced, the replacement.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import numpy as np
from attrs import evolve, frozen

from weighbridge.adapters.numpy_weights.bands import (
    Job,
    Room,
    copy_jobs,
    not_finite,
    read_rows,
    row_bands,
    whole,
)
from weighbridge.adapters.numpy_weights.floats import (
    ITEM,
    Floats,
    Words,
    all_finite,
    narrowed,
    widened,
)
from weighbridge.adapters.numpy_weights.products import product_into
from weighbridge.domain.checkpoints.checkpoint import Block, LowRank, Merge, Patch, Recast

if TYPE_CHECKING:
    from weighbridge.application.ports import Sources, TensorSource
    from weighbridge.domain.tensors import TensorSpec

_OVERFLOW = "see if the run diverged or is of another base"


def merge_jobs(merge: Merge, target: TensorSpec, sources: Sources, band: int) -> Iterator[Job]:
    """The chunks of a merged tensor; ``band`` is in values."""
    base, at = Block.of(merge.base), 0
    for first, group in groupby(merge.patches, key=lambda patch: patch.first):
        patches = tuple(group)
        count = patches[0].rows
        yield from copy_jobs(sources.model, base.rows_at(at, first - at))
        rows = base.rows_at(first, count)
        if (whole := _replacement(patches, rows)) is not None:
            yield from recast_jobs(whole, target, sources.changes, band)
        else:
            yield from _changed_jobs(patches, rows, target, sources, band)
        at = first + count
    yield from copy_jobs(sources.model, base.rows_at(at, base.rows - at))


def _replacement(patches: tuple[Patch, ...], rows: Block) -> Recast | None:
    """What replaces these rows altogether, in the order in which it is stored."""
    change = patches[0].change
    if not isinstance(change, Recast) or patches[0].columns != rows.columns:
        return None
    return None if patches[0].turned or change.block.turned else change


def _changed_jobs(
    patches: tuple[Patch, ...], rows: Block, target: TensorSpec, sources: Sources, band: int
) -> Iterator[Job]:
    """Rows of the base with all patches of those rows."""
    changes = [_prepared(patch, rows, sources, band) for patch in patches]
    for first, last in row_bands(rows.rows, rows.columns, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            matrix = _widened_rows(sources.model, rows, first, last, room)
            # What is not finite is told of once, when all is done.
            with np.errstate(all="ignore"):
                for patch, change in zip(patches, changes, strict=True):
                    across = slice(patch.column, patch.column + patch.columns)
                    change.apply(matrix[:, across], first, last, room)
            return _checked(matrix.reshape(-1), target, room)

        yield job


class _Change(Protocol):
    """What a patch does to rows ``first`` to ``last`` of its rectangle."""

    def apply(self, matrix: Floats, first: int, last: int, room: Room) -> None: ...


def _prepared(patch: Patch, rows: Block, sources: Sources, band: int) -> _Change:
    match patch.change:
        case Recast(block, add):
            matrix = _words(sources.changes, block)
            turned = matrix.T if patch.turned else matrix
            return _Replacement(turned, block.tensor.dtype, add)
        case LowRank() as change:
            update = _Update.of(change, sources.changes, turned=patch.turned)
            if patch.turned and update.magnitude is not None:
                return _lengths_of_columns(update, patch, rows, sources.model, band)
            return update


def recast_jobs(
    change: Recast, target: TensorSpec, source: TensorSource, band: int
) -> Iterator[Job]:
    """The values of a block plus a number, in the target's dtype."""
    block = change.block
    if change.add == 0 and block.tensor.dtype == target.dtype:
        yield from copy_jobs(source, block)
        return
    for first, last in row_bands(block.rows, block.columns, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            matrix = _widened_rows(source, block, first, last, room)
            np.add(matrix, np.float32(change.add), out=matrix)
            return _checked(matrix.reshape(-1), target, room)

        yield job


@frozen
class _Update:
    """The factors as float32; the scale is in ``left``, where mlx-lm multiplies it in.

    ``left`` has a row for each of the rectangle's, ``right`` a column for each. Of the magnitude,
    ``rows`` are lengths and ``columns`` factors that are known already.
    """

    left: Floats
    right: Floats
    magnitude: Floats | None
    factors: Floats | None = None

    @classmethod
    def of(cls, change: LowRank, source: TensorSource, *, turned: bool) -> _Update:
        with np.errstate(over="ignore"):
            left = _matrix(source, change.left) * np.float32(change.scale)
        right = _matrix(source, change.right)
        if turned:
            left, right = right.T, left.T
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        if change.magnitude is None:
            return cls(left, right, None)
        return cls(left, right, _matrix(source, change.magnitude).reshape(-1))

    def add(self, matrix: Floats, first: int, last: int, room: Room) -> None:
        """The update of those rows."""
        delta = room.floats(matrix.size, "delta").reshape(matrix.shape)
        product_into(self.left[first:last], self.right, delta)
        np.add(matrix, delta, out=matrix)

    def apply(self, matrix: Floats, first: int, last: int, room: Room) -> None:
        """See ``_Change``. A row of zeros has no direction: it becomes what is not finite."""
        self.add(matrix, first, last, room)
        if self.factors is not None:
            np.multiply(matrix, self.factors, out=matrix)
        elif self.magnitude is not None:
            norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
            np.multiply(matrix, (self.magnitude[first:last] / norms)[:, None], out=matrix)


def _lengths_of_columns(
    update: _Update, patch: Patch, rows: Block, source: TensorSource, band: int
) -> _Update:
    """The lengths are those of columns here, so that all rows are needed before the first."""
    squares, room = np.zeros(patch.columns), Room()
    across = slice(patch.column, patch.column + patch.columns)
    with np.errstate(all="ignore"):
        for first, last in row_bands(rows.rows, rows.columns, band):
            matrix = _widened_rows(source, rows, first, last, room)[:, across]
            update.add(matrix, first, last, room)
            squares += np.einsum("ij,ij->j", matrix, matrix)
        return evolve(update, factors=(update.magnitude / np.sqrt(squares)).astype(np.float32))


@frozen
class _Replacement:
    """Words of a dtype that take the rectangle's place, plus a number."""

    words: Words
    dtype: str
    add: float

    def apply(self, matrix: Floats, first: int, last: int, room: Room) -> None:
        """See ``_Change``."""
        part = np.ascontiguousarray(self.words[first:last])
        values = widened(
            part.reshape(-1).view(np.uint8), self.dtype, room.floats(part.size, "delta")
        )
        np.add(values.reshape(part.shape), np.float32(self.add), out=matrix)


def _widened_rows(source: TensorSource, block: Block, first: int, last: int, room: Room) -> Floats:
    count = (last - first) * block.columns
    dtype = block.tensor.dtype
    raw = read_rows(source, block, first, last, room.bytes(count * ITEM[dtype]))
    return widened(raw, dtype, room.floats(count)).reshape(last - first, block.columns)


def _words(source: TensorSource, block: Block) -> Words:
    """A block as words, turned if that is meant."""
    words = whole(source, block)
    return words.T if block.turned else words


def _matrix(source: TensorSource, block: Block) -> Floats:
    """A factor as float32, turned if that is meant."""
    words = whole(source, block)
    raw = words.reshape(-1).view(np.uint8)
    values = widened(raw, block.tensor.dtype, np.empty(words.size, np.float32))
    matrix = values.reshape(words.shape)
    return matrix.T if block.turned else matrix


def _checked(values: Floats, target: TensorSpec, room: Room) -> Words:
    """``values`` in the target's dtype. Raises NotConvertible if one does not fit in."""
    fine = all_finite(values.view(np.uint32), "F32")
    words = narrowed(values, target.dtype, room.scratch(values.size))
    if not fine or not all_finite(words, target.dtype):
        raise not_finite(target.name, target.dtype, "fusing", _OVERFLOW)
    return words
