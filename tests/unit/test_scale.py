"""The scale that MLX applied, by the signature of the config."""

from __future__ import annotations

from typing import Any

import pytest

from weighbridge.domain.scale import effective_scale, scale_to_use

OLD = {"lora_layers": 16}


def parameters(**given: Any) -> dict[str, Any]:
    return {"lora_parameters": given}


@pytest.mark.parametrize(
    ("config", "rank", "value"),
    [
        (parameters(rank=8, scale=20.0), 8, 20.0),
        (parameters(rank=8, scale=2), 8, 2.0),
        # alpha was still written, and ignored, until 2025-04
        (parameters(rank=8, alpha=16, scale=10.0) | {"num_layers": 16}, 8, 10.0),
        # where alpha equals the rank, both readings agree
        (parameters(rank=8, alpha=8, scale=10.0) | OLD | {"use_dora": False}, 8, 10.0),
        (parameters(rank=8, scale=10.0) | OLD | {"use_dora": False}, 8, 10.0),
        # before 0.13.1 the scale was multiplied by alpha / rank
        (parameters(rank=8, alpha=16, scale=10.0) | OLD, 8, 20.0),
        (parameters(rank=8, alpha=16.0, scale=10.0) | OLD, 4, 40.0),
        # MLX Forge divides by the rank
        ({"method": "lora", "rank": 4, "scale": 20.0, "base_model": "acme/base"}, 4, 5.0),
    ],
)
def test_known(config: dict[str, Any], rank: int, value: float) -> None:
    found = effective_scale(config, rank)
    assert found.value == value and not found.reason


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lora_parameters": None},
        parameters(rank=8),
        parameters(scale="20"),
        parameters(scale=True),
        parameters(scale=float("nan")),
        parameters(rank=8, alpha=16, scale=10.0) | OLD | {"use_dora": False},
    ],
)
def test_unknown_says_what_to_do(config: dict[str, Any]) -> None:
    found = effective_scale(config, 8)
    assert found.value is None and found.reason.endswith("give --scale")


def test_the_ambiguous_range_names_both_values() -> None:
    config = parameters(rank=8, alpha=16, scale=10.0) | OLD | {"use_dora": False}
    reason = effective_scale(config, 8).reason
    assert "20" in reason and "10" in reason and "0.13.1" in reason


@pytest.mark.parametrize(
    ("scale", "said", "used"),
    [(2.0, None, 2.0), (-2.0, None, None), (-2.0, -2.0, -2.0), (2.0, 0.0, None), (0.0, 2.0, 2.0),
     (2.0, float("inf"), None), (2.0, float("nan"), None)],
)  # fmt: skip
def test_a_scale_that_makes_no_sense_is_not_used(
    scale: float, said: float | None, used: float | None
) -> None:
    """A negative one makes sense only to whoever says it."""
    found = scale_to_use(parameters(rank=8, scale=scale), 8, said)
    assert found.value == used and ("--scale" in found.reason) == (used is None)
