"""What the sums over a sample say of a change, and whether a fused model holds it."""

from __future__ import annotations

import math

import pytest

from weighbridge.domain.kept_changes import judged
from weighbridge.domain.measures import Measure, together


def fused(kept: float, noise: float = 0.0, module: str = "m") -> Measure:
    """Of a change of norm 1 that part is made, and noise of that square beside it."""
    return Measure(module, 100, change=1.0, weight=4.0, moved=kept**2 + noise, along=kept)


def test_the_ratio_is_of_norms() -> None:
    assert fused(1).ratio == 0.5
    assert Measure("m", 1, change=1.0, weight=0.0).ratio == math.inf
    assert Measure("m", 1, change=0.0, weight=0.0).ratio == 0.0


def test_doubt_is_the_rounding_seen_along_the_change() -> None:
    assert fused(1).doubt == 0.0 and fused(1, noise=1.0).doubt == pytest.approx(0.1)
    assert together([fused(1, 1.0)] * 4).doubt == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("kept", "passed"),
    [(1.0, True), (0.6, True), (0.4, False), (2.0, False), (0.0, False), (math.nan, False)],
)
def test_a_fused_model_must_hold_the_change(kept: float, passed: bool) -> None:
    assert judged([fused(kept)]).passed is passed


def test_one_module_that_lost_its_change_is_named() -> None:
    step = judged([*[fused(1.0)] * 9, fused(0.01, module="lost")])
    assert not step.passed and [p.split(":")[0] for p in step.problems] == ["lost"]


@pytest.mark.parametrize("measures", [[], [Measure("m", 9, 0.0, 1.0)], [fused(1.0, noise=4.0)]])
def test_what_cannot_be_told_is_not_proved(measures: list[Measure]) -> None:
    step = judged(measures)
    assert not step.passed and "too small to be told" in step.problems[0]
