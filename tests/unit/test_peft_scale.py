"""lora_alpha: an integer for Ollama, and never another multiplier than MLX's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from weighbridge.domain.peft.scale import exact_strength, integer_strength, scale_of


@pytest.mark.parametrize(
    ("scale", "rank", "alpha", "fold"),
    [
        (20.0, 8, 160, 1.0),
        (2.5, 8, 20, 1.0),
        (16 / 12, 12, 16, 1.0),  # what comes of alpha 16 and rank 12
        (0.9375, 8, 15, 0.5),
        (0.0625, 4, 1, 0.25),
        (0.3, 8, 8, 0.3),
        (1e9, 8, 8, 1e9),
        (-20.0, 8, 160, -1.0),
        (-0.3, 8, 8, -0.3),
    ],
)
def test_an_integer_alpha(scale: float, rank: int, alpha: int, fold: float) -> None:
    found = integer_strength(scale, rank)
    assert (found.alpha, found.fold) == (alpha, fold)
    assert type(found.alpha) is int


@given(st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6), st.integers(1, 512))
def test_alpha_and_fold_are_the_scale(scale: float, rank: int) -> None:
    for found in (exact_strength(scale, rank), integer_strength(scale, rank)):
        assert math.isclose(found.alpha / rank * found.fold, scale, rel_tol=1e-13)
        assert found.alpha > 0


@given(st.sampled_from([0.1, 0.3, 1.0, 2.0, 10.0, 20.0, 1.25, 1 / 3]), st.integers(1, 512))
def test_the_scale_is_found_again(scale: float, rank: int) -> None:
    assert scale_of(scale * rank, rank) == pytest.approx(scale, rel=1e-15)


def test_a_scale_is_written_as_a_person_would() -> None:
    assert scale_of(0.1 * 3, 3) == 0.1
