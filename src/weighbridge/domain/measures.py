"""How much a LoRA changes each weight, and how much of that is in what was made of it.

Decides from sums of squares; how they are obtained is the business of the meter behind
``weighbridge.application.ports.ChangeMeter``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from attrs import frozen

#: Beyond this a change is out of reason: it is larger than the weight that it is to adjust.
#: Measured on SmolLM2-135M-Instruct, mlx-lm's default LoRA of every linear module, 20 steps, the
#: loss before 6.65; the largest ratio of all modules:
#:   learning rate 1e-5   loss 2.99   ratio   0.02
#:                 1e-4        0.05           0.09
#:                 1e-3        6.80           1.67   diverged
#:                 1e-2        8.41           151    diverged
#: tests/integration/test_change_of_training.py measures the two in the middle again.
MOST_RELATIVE_CHANGE = 1.0


@frozen
class Measure:
    """Sums over a sample of one weight's rows. ``change`` and ``weight`` are of squares, of the
    LoRA's change and of the weight; ``moved`` of the squares by which what was made of it differs
    from the weight, and ``along`` of the products of that difference and the change.

    ``values`` counts what was summed up.
    """

    module: str
    values: int
    change: float
    weight: float
    moved: float = 0.0
    along: float = 0.0

    @property
    def ratio(self) -> float:
        """The norm of the change as a part of the weight's; infinite for a weight of zeros."""
        if not self.weight:
            return math.inf if self.change else 0.0
        return math.sqrt(self.change / self.weight)

    @property
    def kept(self) -> float:
        """How much of the change was made: 1 for all of it, 0 for none; 1 if there is none.

        The projection of what moved on the change, so that rounding cancels.
        """
        return self.along / self.change if self.change else 1.0

    @property
    def doubt(self) -> float:
        """The standard deviation that the rounding of what was made leaves in ``kept``."""
        if not self.change or not self.values:
            return 0.0
        rest = max(0.0, self.moved - self.along * self.along / self.change)
        return math.sqrt(rest / self.values / self.change)


@frozen
class Offset:
    """How a vector lies beside the base's, beyond what the form asks for: the mean of the
    differences, and the largest deviation from it."""

    name: str
    mean: float
    spread: float

    @property
    def ones(self) -> int:
        """How many times one was added (or taken off, below 0); 0 if it is something else."""
        whole = round(self.mean) if math.isfinite(self.mean) else 0
        exact = abs(self.mean - whole) < 0.1 and self.spread < 0.5
        return whole if exact and abs(whole) < 3 else 0


@frozen
class Alike:
    """The cosine between a weight's sampled rows in a base and in what was made of it: 1 for the
    same but for a factor, about 0 for any other weight. NaN if one of them is zero."""

    module: str
    cosine: float


@frozen
class BesideBase:
    """A whole model beside its base: ``same`` bit for bit, how its norms lie, and how its matrices
    are alike."""

    same: bool
    norms: tuple[Offset, ...] = ()
    matrices: tuple[Alike, ...] = ()


def together(measures: Iterable[Measure]) -> Measure:
    """All of them as if one weight."""
    listed = tuple(measures)
    return Measure(
        "all modules",
        sum(m.values for m in listed),
        math.fsum(m.change for m in listed),
        math.fsum(m.weight for m in listed),
        math.fsum(m.moved for m in listed),
        math.fsum(m.along for m in listed),
    )
