"""Do two files say the same of one weight's change?

First element by element: equal factors are equal changes, and that is the common case. Where they
differ, what both changes do to random vectors, in float64: two different changes agree on those
with probability zero, so only the limit for rounding decides what goes unseen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from weighbridge.adapters.algebra_prover.weights import (
    Reals,
    Weights,
    Words,
    decoded,
    finite,
)
from weighbridge.domain.tensor_plan import Grid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weighbridge.domain.changes import Change, Factors
    from weighbridge.domain.tensors import TensorSpec

PROBES = 4
_SEED = 20_240_602
# Elements of a block: 1 MiB as float64, so that the products find it in the second cache.
_BLOCK_ELEMENTS = 1 << 17
# Elements that are read at a time to be compared as they are; most factors are smaller than that.
_READ_ELEMENTS = 1 << 21
# Rows and bytes compared at a time, where one side is the other's transpose: it is turned by way of
# a tile whose rows are padded, for rows a power of two apart evict each other from the caches.
_TILE_ROWS = 1024
_TILE_BYTES = 512 << 10
_PADDING_BYTES = 64
# A factor folded into float32, and out of it again, was rounded twice.
_UNITS = 2
# lora_alpha is scale * r in double precision, and divided by r again.
_ROUNDING = 1e-12


@frozen
class Difference:
    """Relative to the largest value of the change. ``same`` if the factors are equal, but for one
    rounding of the scale's part that was folded into B: then that is all of ``value``."""

    value: float
    same: bool


@frozen
class Comparison:
    """Both files, and the scale that MLX applied. ``source`` is MLX's."""

    source: Weights
    converted: Weights
    mlx_scale: float

    def difference(self, change: Change, factors: Factors, index: int) -> Difference:
        """How far the two are apart; 0 for equal factors, infinite if something is not finite."""
        same = self._same_factors(change, factors)
        if same and math.frexp(self._quotient(factors))[0] == 0.5:
            return Difference(0.0, same)
        with np.errstate(all="ignore"):  # what is not finite is told by the outcome
            found = self._probed(change, factors, index)
        if not math.isfinite(found):  # a NaN would lose every comparison
            return Difference(math.inf, same=False)
        return Difference(found, same)

    def _quotient(self, factors: Factors) -> float:
        """What of MLX's scale is in the written B; a power of two is there without rounding."""
        quotient = self.mlx_scale / factors.pair.scale
        return 1.0 if math.isclose(quotient, 1.0, rel_tol=_ROUNDING) else quotient

    def _same_factors(self, change: Change, factors: Factors) -> bool:
        """True if the written factors are the source's, the scales' quotient in B, zeros added."""
        pair = factors.pair
        if not pair.scale:
            return False
        rank = min(change.a.rows, factors.a.rows)
        if self._same_ranks(change, factors, 0, rank):
            return True
        first = self._first_rank(factors) if factors.a.rows > rank else 0
        return 0 < first <= factors.a.rows - rank and self._same_ranks(change, factors, first, rank)

    def _same_ranks(self, change: Change, factors: Factors, first: int, rank: int) -> bool:
        """True if the source's ranks are those from ``first`` on, and B is zero at all others."""
        target, pair = change.target, factors.pair
        mine, my_rest = _split(change.a.transposed, change.b, 0, rank)
        its, its_rest = _split(factors.a.transposed, factors.b, first, rank)
        return (
            self._equal(target.a.name, mine[0].transposed, pair.a.name, its[0].transposed, 1.0)
            and self._equal(target.b.name, mine[1], pair.b.name, its[1], self._quotient(factors))
            and _nothing(self.source, target.a.name, target.b.name, my_rest)
            and _nothing(self.converted, pair.a.name, pair.b.name, its_rest)
        )

    def _first_rank(self, factors: Factors) -> int:
        """The first rank at which B is not zero: those before are another part's of the module."""
        nonzero = np.zeros(factors.b.columns, bool)
        for part in _parts(factors.b, along_rows=True):
            nonzero |= self.converted.reals(factors.pair.b.name, part).any(axis=0)
        return int(nonzero.argmax())

    def _equal(self, ours: str, grid: Grid, theirs: str, other: Grid, factor: float) -> bool:
        """True if every element is the source's times ``factor``, and finite."""
        dtype, written = self.source.dtype(ours), self.converted.dtype(theirs)
        along_rows = grid.rows >= grid.columns
        parts = (_parts(g, along_rows, _READ_ELEMENTS) for g in (grid, other))
        for mine, its in zip(*parts, strict=True):
            words, found = self.source.words(ours, mine), self.converted.words(theirs, its)
            if not finite(words, dtype):
                return False
            if factor == 1.0 and dtype == written:
                if not _identical(words, found):
                    return False
            elif written != "F32" and dtype == "F32":  # MLX's side is the one that was rounded
                if not _rounded(found, written, words, dtype, 1 / factor):
                    return False
            elif not _rounded(words, dtype, found, written, factor):
                return False
        return True

    def is_nothing(self, a: str, b: str) -> bool:
        """True if a pair of the converted file adds nothing: one matrix zero, the other finite."""
        wholes = {n: Grid.whole(self.converted.slots[n].spec.shape) for n in (a, b)}
        sound = all(_finite(self.converted, name) for name in wholes)
        return sound and any(_zero(self.converted, n, whole) for n, whole in wholes.items())

    def not_finite(self, change: Change, factors: Factors) -> str:
        """The first of the factors that holds NaN or infinity, MLX's before the written; or ""."""
        sides = ((self.source, change.target), (self.converted, factors.pair))
        named = ((weights, spec.name) for weights, pair in sides for spec in (pair.a, pair.b))
        return next((name for weights, name in named if not _finite(weights, name)), "")

    def is_zero_beside(self, used: Iterable[Grid], b: TensorSpec) -> bool:
        """True if all rows of a converted B are zero but those of ``used``: the other parts of what
        transformers joins."""
        rows, columns = b.shape
        rest = np.ones(rows, bool)
        for grid in used:
            first = grid.start // columns
            rest[first : first + grid.rows] = False
        bounds = np.flatnonzero(np.diff(rest, prepend=False, append=False)).reshape(-1, 2).tolist()
        return all(
            _zero(self.converted, b.name, Grid.whole((end - start, columns), start=start * columns))
            for start, end in bounds
        )

    def same_magnitude(self, ours: str, theirs: str) -> bool:
        """True if DoRA's magnitudes are equal, element by element."""
        mine, its = self.source.slots[ours].spec, self.converted.slots[theirs].spec
        if (mine.dtype, math.prod(mine.shape)) != (its.dtype, math.prod(its.shape)):
            return False
        count = math.prod(mine.shape)
        words = self.source.words(ours, Grid.whole((1, count)))
        return finite(words, mine.dtype) and np.array_equal(
            words, self.converted.words(theirs, Grid.whole((1, count)))
        )

    def _probed(self, change: Change, factors: Factors, index: int) -> float:
        """What the two changes do to probes that are the weight's own."""
        generator = np.random.default_rng((_SEED, index))
        probe = generator.standard_normal((change.a.columns, PROBES))
        target, pair = change.target, factors.pair
        # The probe may be as large as the outcome, and goes before that is made.
        mlx = _product(self.source, target.a.name, change.a, probe)
        inner = _product(self.converted, pair.a.name, factors.a, probe)
        del probe
        expected = _product(self.source, target.b.name, change.b, mlx)
        expected *= self.mlx_scale
        actual = _product(self.converted, pair.b.name, factors.b, inner)
        actual *= pair.scale
        return _difference(expected, actual)


def _parts(grid: Grid, along_rows: bool, elements: int = _BLOCK_ELEMENTS) -> list[Grid]:
    """The grid cut across its longer side, each part of at most so many elements."""
    if along_rows:
        step = max(1, elements // max(1, grid.columns))
        return [
            evolve(grid, start=grid.start + row * grid.row_stride,
                   rows=min(step, grid.rows - row))
            for row in range(0, grid.rows, step)
        ]  # fmt: skip
    step = max(1, elements // max(1, grid.rows))
    return [
        evolve(grid, start=grid.start + column * grid.column_stride,
               columns=min(step, grid.columns - column))
        for column in range(0, grid.columns, step)
    ]  # fmt: skip


def _beyond(grid: Grid, columns: int) -> Grid:
    """The grid's columns from ``columns`` on."""
    start = grid.start + columns * grid.column_stride
    return evolve(grid, start=start, columns=grid.columns - columns)


def _split(
    a: Grid, b: Grid, first: int, rank: int
) -> tuple[tuple[Grid, Grid], tuple[tuple[Grid, Grid], ...]]:
    """A (in, ranks) and B (out, ranks) at ``rank`` ranks from ``first`` on, and at the others."""
    chosen = [evolve(_beyond(g, first), columns=rank) for g in (a, b)]
    before = [evolve(g, columns=first) for g in (a, b)]
    after = [_beyond(g, first + rank) for g in (a, b)]
    return (chosen[0], chosen[1]), ((before[0], before[1]), (after[0], after[1]))


def _nothing(weights: Weights, a: str, b: str, rest: tuple[tuple[Grid, Grid], ...]) -> bool:
    """True if those ranks add nothing: B is zero, and A is finite so that it stays so."""
    return all(
        _zero(weights, b, grid)
        and all(
            finite(weights.words(a, part), weights.dtype(a))
            for part in _parts(other, other.rows >= other.columns)
        )
        for other, grid in rest
        if grid.columns
    )


def _finite(weights: Weights, name: str) -> bool:
    """True if no element of that tensor is NaN or infinity."""
    whole = Grid.whole((1, math.prod(weights.slots[name].spec.shape)))
    dtype = weights.dtype(name)
    return all(finite(weights.words(name, part), dtype) for part in _parts(whole, False))


def _zero(weights: Weights, name: str, grid: Grid) -> bool:
    """True if every element is a zero of either sign."""
    parts = _parts(grid, grid.rows >= grid.columns)
    return not any(weights.reals(name, part).any() for part in parts)


def _identical(words: Words, found: Words) -> bool:
    if words.flags.c_contiguous == found.flags.c_contiguous:
        return np.array_equal(words, found)
    upright, lying = (words, found) if words.flags.c_contiguous else (found, words)
    (rows, columns), item = upright.shape, words.itemsize
    if not upright.size:
        return True
    wide = min(columns, _TILE_BYTES // item // min(rows, _TILE_ROWS))
    high = min(rows, _TILE_BYTES // item // wide)
    padded = np.empty((wide, high + _PADDING_BYTES // item), words.dtype)
    turned = np.empty((high, wide), words.dtype)
    return all(
        _same_tile(upright[row : row + high, column : column + wide],
                   lying[row : row + high, column : column + wide], padded, turned)
        for row in range(0, rows, high)
        for column in range(0, columns, wide)
    )  # fmt: skip


def _same_tile(upright: Words, lying: Words, padded: Words, turned: Words) -> bool:
    """Compare a tile of rows with one of columns, which is copied and then turned."""
    rows, columns = upright.shape
    copy, other = padded[:columns, :rows], turned[:rows, :columns]
    copy[...] = lying.T
    other[...] = copy.T
    return np.array_equal(upright, other)


def _rounded(words: Words, dtype: str, found: Words, written: str, factor: float) -> bool:
    """True if ``found`` (float32) is the product, rounded to float32."""
    if written != "F32":
        return bool(np.array_equal(decoded(words, dtype) * factor, decoded(found, written)))
    with np.errstate(over="ignore"):
        product = (decoded(words, dtype) * factor).astype("<f4").view("<i4").astype(np.int64)
    apart = np.abs(product - np.ascontiguousarray(found).view("<i4").astype(np.int64))
    return not apart.size or int(apart.max()) <= _UNITS


def _product(weights: Weights, name: str, grid: Grid, vectors: Reals) -> Reals:
    """The grid (rows, columns) times ``vectors``."""
    result: Reals = np.zeros((grid.rows, vectors.shape[1]))
    along_rows = grid.rows >= grid.columns
    row = column = 0
    for part in _parts(grid, along_rows):
        block = weights.reals(name, part)
        if along_rows:
            result[row : row + part.rows] = block @ vectors
            row += part.rows
        else:
            result += block @ vectors[column : column + part.columns]
            column += part.columns
    return result


def _difference(expected: Reals, actual: Reals) -> float:
    """The largest difference relative to the largest value; NaN if anything is not finite.

    Leaves the differences in ``actual``.
    """
    size, gap = _largest(expected), _largest(np.subtract(expected, actual, out=actual))
    return gap / size if size else gap and math.inf


def _largest(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The largest magnitude, without a copy; NaN if there is one."""
    least, most = values.min(initial=0.0), values.max(initial=0.0)
    return float(np.maximum(-least, most))
