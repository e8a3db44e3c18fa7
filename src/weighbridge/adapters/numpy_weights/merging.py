"""A base matrix with its patches, band by band: ``W + scale * left @ right``, then DoRA's lengths.

The factors of one patch are held as float32, and nothing else that is larger than a band; of a
weight that the base stores transposed and that is replaced, the replacement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

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
from weighbridge.domain.checkpoint import Block, LowRank, Merge, Patch, Recast

if TYPE_CHECKING:
    from weighbridge.application.ports import Sources, TensorSource
    from weighbridge.domain.tensors import TensorSpec

_OVERFLOW = "see if the run diverged or is of another base"


def merge_jobs(merge: Merge, target: TensorSpec, sources: Sources, band: int) -> Iterator[Job]:
    """The chunks of a merged tensor; ``band`` is in values."""
    base = Block.of(merge.base)
    if merge.turned:
        yield from _turned_jobs(merge, base, target, sources, band)
        return
    at = 0
    for patch in merge.patches:
        yield from copy_jobs(sources.model, base.rows_at(at, patch.first - at))
        rows = base.rows_at(patch.first, patch.rows)
        match patch.change:
            case LowRank() as change:
                yield from _low_rank_jobs(change, rows, target, sources, band)
            case Recast() as change:
                yield from recast_jobs(change, target, sources.changes, band)
        at = patch.first + patch.rows
    yield from copy_jobs(sources.model, base.rows_at(at, base.rows - at))


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
            values = _widened_rows(source, block, first, last, room)
            np.add(values, np.float32(change.add), out=values)
            return _checked(values, target, room)

        yield job


def _low_rank_jobs(
    change: LowRank, rows: Block, target: TensorSpec, sources: Sources, band: int
) -> Iterator[Job]:
    update = _Update.of(change, sources.changes)
    for first, last in row_bands(rows.rows, rows.columns, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            values = _widened_rows(sources.model, rows, first, last, room)
            matrix = values.reshape(last - first, rows.columns)
            with np.errstate(all="ignore"):
                update.add(matrix, slice(first, last), room)
                if update.magnitude is not None:
                    _stretch(matrix, update.magnitude[first:last])
            return _checked(values, target, room)

        yield job


@frozen
class _Update:
    """The factors as float32; the scale is in ``left``, where mlx-lm multiplies it in.

    ``turned``: both are the transposes of what they are called.
    """

    left: Floats
    right: Floats
    magnitude: Floats | None

    @classmethod
    def of(cls, change: LowRank, source: TensorSource, *, turned: bool = False) -> _Update:
        with np.errstate(over="ignore"):
            left = _matrix(source, change.left) * np.float32(change.scale)
        right = _matrix(source, change.right)
        if turned:
            left, right = left.T, right.T
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        if change.magnitude is None:
            return cls(left, right, None)
        return cls(left, right, _matrix(source, change.magnitude).reshape(-1))

    def add(self, matrix: Floats, rows: slice, room: Room) -> None:
        """Add the update of those rows to ``matrix``."""
        delta = room.floats(matrix.size, "delta").reshape(matrix.shape)
        product_into(self.left[rows], self.right, delta)
        np.add(matrix, delta, out=matrix)

    def add_turned(self, matrix: Floats, columns: slice, room: Room) -> None:
        """The same for the transpose: ``columns`` are the update's."""
        delta = room.floats(matrix.size, "delta").reshape(matrix.shape)
        product_into(self.right[columns], self.left, delta)
        np.add(matrix, delta, out=matrix)


def _stretch(matrix: Floats, lengths: Floats) -> None:
    """Give each row that length. A row of zeros has no direction: the result is not finite."""
    factors = lengths / np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    np.multiply(matrix, factors[:, None], out=matrix)


def _turned_jobs(
    merge: Merge, base: Block, target: TensorSpec, sources: Sources, band: int
) -> Iterator[Job]:
    """For a base stored as (in, out): rows of the base are columns of the module."""
    (patch,) = merge.patches
    match patch.change:
        case LowRank() as change:
            yield from _turned_low_rank_jobs(change, base, target, sources, band)
        case Recast() as change:
            yield from _turned_recast_jobs(change, patch, base, target, sources.changes, band)


def _turned_low_rank_jobs(
    change: LowRank, base: Block, target: TensorSpec, sources: Sources, band: int
) -> Iterator[Job]:
    update = _Update.of(change, sources.changes, turned=True)

    def merged(room: Room, first: int, last: int) -> Floats:
        values = _widened_rows(sources.model, base, first, last, room)
        matrix = values.reshape(last - first, base.columns)
        update.add_turned(matrix, slice(first, last), room)
        return matrix

    factors: Floats | None = None
    if update.magnitude is not None:
        # The lengths are those of columns here, so that all rows are needed before the first.
        squares, own = np.zeros(base.columns), Room()
        with np.errstate(all="ignore"):
            for first, last in row_bands(base.rows, base.columns, band):
                matrix = merged(own, first, last)
                squares += np.einsum("ij,ij->j", matrix, matrix)
            factors = (update.magnitude / np.sqrt(squares)).astype(np.float32)
    for first, last in row_bands(base.rows, base.columns, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            with np.errstate(all="ignore"):
                matrix = merged(room, first, last)
                if factors is not None:
                    np.multiply(matrix, factors, out=matrix)
            return _checked(matrix.reshape(-1), target, room)

        yield job


def _turned_recast_jobs(
    change: Recast,
    patch: Patch,
    base: Block,
    target: TensorSpec,
    source: TensorSource,
    band: int,
) -> Iterator[Job]:
    words = whole(source, change.block).T
    dtype = change.block.tensor.dtype
    for first, last in row_bands(base.rows, patch.rows, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            part = np.ascontiguousarray(words[first:last]).reshape(-1)
            values = widened(part.view(np.uint8), dtype, room.floats(part.size))
            np.add(values, np.float32(change.add), out=values)
            return _checked(values, target, room)

        yield job


def _widened_rows(source: TensorSource, block: Block, first: int, last: int, room: Room) -> Floats:
    count = (last - first) * block.columns
    dtype = block.tensor.dtype
    raw = read_rows(source, block, first, last, room.bytes(count * ITEM[dtype]))
    return widened(raw, dtype, room.floats(count))


def _matrix(source: TensorSource, block: Block) -> Floats:
    """A factor as float32, turned if that is meant."""
    words = whole(source, block)
    values = widened(
        words.reshape(-1).view(np.uint8), block.tensor.dtype, np.empty(words.size, np.float32)
    )
    matrix = values.reshape(words.shape)
    return matrix.T if block.turned else matrix


def _checked(values: Floats, target: TensorSpec, room: Room) -> Words:
    """``values`` in the target's dtype. Raises NotConvertible if one does not fit in."""
    fine = all_finite(values.view(np.uint32), "F32")
    words = narrowed(values, target.dtype, room.scratch(values.size))
    if not fine or not all_finite(words, target.dtype):
        raise not_finite(target.name, target.dtype, "fusing", _OVERFLOW)
    return words
