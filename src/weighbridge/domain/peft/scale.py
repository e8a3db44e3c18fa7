"""What ``lora_alpha`` becomes, so that every consumer multiplies by what MLX multiplied by.

Ollama parses ``lora_alpha`` as an unsigned integer, so the portable form writes one and puts what
is left of the scale into B; a sign goes there in both forms. A power of two leaves every bit of B's
mantissa as it is; any other factor is rounded once, in float32.
"""

from __future__ import annotations

import math

from attrs import frozen

_MOST_HALVINGS = 16
_LARGEST_ALPHA = 2**24


@frozen
class Strength:
    """``alpha / rank * fold`` is MLX's scale; B is multiplied by ``fold``."""

    alpha: int | float
    fold: float = 1.0


def exact_strength(scale: float, rank: int) -> Strength:
    """``lora_alpha`` as it is, written as an integer if it is one; only a sign is left to B."""
    alpha = abs(scale) * rank
    return Strength(int(alpha) if alpha == int(alpha) else alpha, math.copysign(1.0, scale))


def integer_strength(scale: float, rank: int) -> Strength:
    """A positive integer ``lora_alpha``, and what B has to be multiplied by."""
    sign, size = math.copysign(1.0, scale), abs(scale)
    for halvings in range(_MOST_HALVINGS + 1):
        alpha = size * rank * 2**halvings
        if alpha > _LARGEST_ALPHA:
            break
        if alpha >= 1 and math.isclose(alpha, round(alpha), rel_tol=1e-14):
            return Strength(round(alpha), sign * 2.0**-halvings)
    return Strength(rank, scale)


def scale_of(alpha: float, rank: int) -> float:
    """The scale whose product with ``rank`` is ``alpha``: the one that is written shortest."""
    exact = alpha / rank
    for digits in range(1, 17):
        shorter = float(f"{exact:.{digits}g}")
        if shorter * rank == alpha:
            return shorter
    return exact
