"""Is a checkpoint, as written, what its plan says? A sample of the rows of every tensor.

Allows each value the rounding of its dtype and of the float32 arithmetic before it, and no more. A
sample has a row of each stretch of rows, so that whatever is made of many rows is looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field, frozen

from weighbridge.adapters.weight_prover.decoding import Matrix, Reals
from weighbridge.adapters.weight_prover.expecting import (
    ROUNDING,
    Claim,
    Expectation,
    claims,
)
from weighbridge.domain.checkpoints.checkpoint import Block
from weighbridge.domain.proof import ProofLevel, ProofStep

if TYPE_CHECKING:
    from weighbridge.application.ports import Sources, TensorSource
    from weighbridge.domain.checkpoints.checkpoint import PlannedWeight

_SEED = 20_261_123
_LEAST_ROWS = 32
#: Of a large matrix one row in so many is computed anew.
_STRETCH = 256
_VALUES = 1 << 18
_LISTED = 20
#: Half of the least number that each can represent.
_LEAST = {"F32": 2.0**-150, "F16": 2.0**-25, "BF16": 2.0**-134}


@define
class _Tally:
    """What was seen so far; ``share`` is the largest error as a part of what is allowed."""

    computed: int = 0
    compared: int = 0
    share: float = 0.0
    problems: list[str] = field(factory=list)


@frozen
class SamplingProver:
    """The WeightProver over numpy."""

    def prove(
        self, weights: Sequence[PlannedWeight], sources: Sources, written: TensorSource
    ) -> ProofStep:
        """The verdict, and how much of the allowance the largest error takes."""
        began, tally = time.perf_counter(), _Tally()
        for index, weight in enumerate(weights):
            _Written(weight, written, np.random.default_rng((_SEED, index))).check(sources, tally)
        rest = len(tally.problems) - _LISTED
        more = [f"and {rest} more problems"] if rest > 0 else []
        figures = (
            ("tensors", len(weights)),
            ("rows_computed_anew", tally.computed),
            ("rows_compared_bit_by_bit", tally.compared),
            ("largest_error_of_the_allowed", tally.share),
            ("seconds", round(time.perf_counter() - began, 3)),
        )
        problems = (*tally.problems[:_LISTED], *more)
        return ProofStep(ProofLevel.ALGEBRA, not problems, figures, problems)


@frozen
class _Written:
    """One tensor as written."""

    weight: PlannedWeight
    source: TensorSource
    random: np.random.Generator

    def check(self, sources: Sources, tally: _Tally) -> None:
        """Hold the tensor against what its parts claim."""
        at = 0  # in elements
        for part in self.weight.parts:
            end = 0
            for claim in claims(part, sources):
                own = Block(self.weight.target, at + claim.at, claim.rows, claim.width)
                found = Matrix(self.source, own, claim.column, claim.columns, claim.turned)
                if claim.copied is not None:
                    self._compare(found, Matrix(sources.model, claim.copied), tally)
                elif claim.expect is not None:
                    self._compute(found, claim, claim.expect, tally)
                end = max(end, claim.end)
            at += end

    def _compare(self, found: Matrix, kept: Matrix, tally: _Tally) -> None:
        for rows in self._sample(found.block.rows, found.block.columns):
            tally.compared += len(rows)
            if not np.array_equal(found.raw(rows), kept.raw(rows)):
                said = f"differ from {kept.block.tensor.name}, which is to be kept"
                self._problem(tally, rows, said)

    def _compute(self, found: Matrix, claim: Claim, expect: Expectation, tally: _Tally) -> None:
        for rows in self._sample(*claim.sampled):
            tally.computed += len(rows)
            expected = expect(rows)
            allowed = self._allowed(expected.values) + expected.slack
            with np.errstate(invalid="ignore"):
                share = _largest(np.abs(found.rows(rows) - expected.values) / allowed)
            tally.share = max(tally.share, share)
            if not np.isfinite(expected.values).all():
                said = "come of values that are not finite; see if the run diverged"
                self._problem(tally, rows, said)
            elif share > 1:
                said = f"are off by up to {share:.3g} times what rounding allows"
                self._problem(tally, rows, said)

    def _allowed(self, values: Reals) -> Reals:
        dtype = self.weight.target.dtype
        return ROUNDING[dtype] * np.abs(values) + _LEAST[dtype]

    def _sample(self, rows: int, columns: int) -> Iterator[list[int]]:
        """A row of each of as many stretches as there are to be rows, a few at a time."""
        count = min(rows, max(_LEAST_ROWS, rows // _STRETCH))
        edges = np.linspace(0, rows, count + 1).astype(np.int64)
        chosen = self.random.integers(edges[:-1], edges[1:]).tolist()
        step = max(1, _VALUES // max(1, columns))
        for begin in range(0, count, step):
            yield chosen[begin : begin + step]

    def _problem(self, tally: _Tally, rows: Sequence[int], said: str) -> None:
        between = f"{rows[0]}" if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
        tally.problems.append(f"{self.weight.target.name}: of the rows {between}, some {said}")


def _largest(values: Reals) -> float:
    """The largest; infinite if there is a NaN, which would lose every comparison."""
    most = float(values.max(initial=0.0))
    return math.inf if math.isnan(most) else most
