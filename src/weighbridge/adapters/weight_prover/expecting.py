"""What rows of a planned tensor should be, in float64, and how far off float32 may have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from attrs import frozen

from weighbridge.adapters.weight_prover.decoding import (
    Matrix,
    Reals,
    group_scales,
    packed_numbers,
)
from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    Copy,
    Dequantise,
    LowRank,
    Merge,
    Operation,
    Patch,
    Recast,
    Turn,
)
from weighbridge.domain.checkpoints.packing import Mode

if TYPE_CHECKING:
    from weighbridge.application.ports import Sources

SINGLE = 2.0**-24
#: Half a unit in the last place, relative to the value.
ROUNDING = {"F32": SINGLE, "F16": 2.0**-11, "BF16": 2.0**-8}
_GLOBAL = 448.0 * 6.0
_MOST = 1 << 18


@frozen
class Expected:
    """Values, and the slack that each has beside the rounding of its dtype."""

    values: Reals
    slack: Reals


Expectation: TypeAlias = Callable[[Sequence[int]], Expected]


@frozen
class Claim:
    """What is claimed of a rectangle in a part of a tensor, seen as rows of ``width`` elements.

    It begins ``at`` so many elements into the part, with ``rows`` rows, and has ``columns`` from
    ``column`` on. Either its rows are the very bytes of ``copied``, or row ``i`` is what ``expect``
    says; ``turned``: row ``i`` of its transpose.
    """

    at: int
    rows: int
    width: int
    copied: Block | None = None
    expect: Expectation | None = None
    column: int = 0
    columns: int | None = None
    turned: bool = False

    @property
    def sampled(self) -> tuple[int, int]:
        """How many rows there are to sample, and how long they are."""
        columns = self.width if self.columns is None else self.columns
        return (columns, self.rows) if self.turned else (self.rows, columns)

    @property
    def end(self) -> int:
        """Elements of the part until behind the rectangle's last row."""
        return self.at + self.rows * self.width


def claims(operation: Operation, sources: Sources) -> Iterator[Claim]:
    """What is claimed of one part of a tensor, in order of its rows."""
    match operation:
        case Copy(block):
            yield Claim(0, block.rows, block.columns, copied=block)
        case Recast(block, add):
            expect = _recast(Matrix(sources.model, block), add)
            yield Claim(0, block.rows, block.columns, expect=expect)
        case Dequantise():
            expect = _dequantised(operation, sources)
            yield Claim(0, operation.weight.rows, operation.columns, expect=expect)
        case Turn():
            yield from _turned(operation, sources)
        case Merge():
            yield from _merged(operation, sources)


def _turned(turn: Turn, sources: Sources) -> Iterator[Claim]:
    """Each part's rows are columns of what is written."""
    column = 0
    for part in turn.of:
        block = part.block if isinstance(part, Copy) else part.weight
        expect = (
            _recast(Matrix(sources.model, part.block), 0.0)
            if isinstance(part, Copy)
            else _dequantised(part, sources)
        )
        yield Claim(
            0, turn.columns, turn.rows,
            expect=expect, column=column, columns=block.rows, turned=True,
        )  # fmt: skip
        column += block.rows


def _merged(merge: Merge, sources: Sources) -> Iterator[Claim]:
    base, at = Block.of(merge.base), 0
    for patch in merge.patches:
        yield from _kept(base, at, patch.first)
        own = base.rows_at(patch.first, patch.rows)
        before = Matrix(sources.model, own, patch.column, patch.columns, patch.turned)
        yield Claim(
            patch.first * base.columns,
            patch.rows,
            base.columns,
            expect=_patched(patch, before, sources),
            column=patch.column,
            columns=patch.columns,
            turned=patch.turned,
        )
        at = patch.first + patch.rows
    yield from _kept(base, at, base.rows)


def _kept(base: Block, first: int, last: int) -> Iterator[Claim]:
    if last > first:
        rows = base.rows_at(first, last - first)
        yield Claim(first * base.columns, rows.rows, base.columns, copied=rows)


def _patched(patch: Patch, before: Matrix, sources: Sources) -> Expectation:
    match patch.change:
        case Recast(block, add):
            return _recast(Matrix(sources.changes, block), add)
        case LowRank() as change:
            return _low_rank(change, before, sources)


def _recast(source: Matrix, add: float) -> Expectation:
    def expect(rows: Sequence[int]) -> Expected:
        values = source.rows(rows) + add
        return Expected(values, SINGLE * np.abs(values))

    return expect


def _low_rank(change: LowRank, base: Matrix, sources: Sources) -> Expectation:
    left = Matrix(sources.changes, change.left)
    right = Matrix(sources.changes, change.right).all()
    lengths = None
    if change.magnitude is not None:
        lengths = Matrix(sources.changes, change.magnitude).all().reshape(-1)

    def expect(rows: Sequence[int]) -> Expected:
        weight, factors = base.rows(rows), change.scale * left.rows(rows)
        values = weight + _product(factors, right)
        sums = np.abs(weight) + _product(np.abs(factors), np.abs(right))
        slack = (len(right) + 4) * SINGLE * sums
        if lengths is None:
            return Expected(values, slack)
        return _stretched(values, slack, lengths[list(rows)])

    return expect


def _product(left: Reals, right: Reals) -> Reals:
    """``left @ right`` by columns: larger products go to threads of the BLAS, which spin."""
    step = max(1, _MOST // max(1, left.size))
    parts = [left @ right[:, at : at + step] for at in range(0, right.shape[1], step)]
    return np.concatenate(parts, axis=1)


def _stretched(values: Reals, slack: Reals, lengths: Reals) -> Expected:
    """DoRA: each row at its length. The norm sums squares, each with an error of its own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.linalg.norm(values, axis=1)
        factors = lengths / norms
        scaled = values * factors[:, None]
        error = (values.shape[1] + 8) * SINGLE + np.linalg.norm(slack, axis=1) / norms
        return Expected(scaled, slack * np.abs(factors[:, None]) + np.abs(scaled) * error[:, None])


def _dequantised(operation: Dequantise, sources: Sources) -> Expectation:
    packing, source = operation.packing, sources.model
    weight, scales = Matrix(source, operation.weight), Matrix(source, operation.scales)
    dtype = operation.scales.tensor.dtype
    factor = 1.0
    if operation.global_scale is not None:
        factor = float(Matrix(source, operation.global_scale).all()[0, 0]) / _GLOBAL

    def expect(rows: Sequence[int]) -> Expected:
        numbers = packed_numbers(weight.raw(rows), packing)
        groups = numbers.reshape(-1, packing.group_size)
        values = groups * group_scales(scales.raw(rows), dtype, packing).reshape(-1, 1) * factor
        slack = 4 * SINGLE * np.abs(values)
        if operation.biases is not None and packing.mode is Mode.AFFINE:
            # MLX rounds the product before it adds the bias.
            slack = (ROUNDING[dtype] + SINGLE) * np.abs(values)
            values = values + Matrix(source, operation.biases).rows(rows).reshape(-1, 1)
        return Expected(values.reshape(len(rows), -1), slack.reshape(len(rows), -1))

    return expect
