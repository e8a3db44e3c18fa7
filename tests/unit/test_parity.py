"""The verdict on two stacks' logits: what counts as rounding, and what as a mistake."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import evolve

from weighbridge.domain.parity import LogitParity, base_suspects, lora_problems

# A LoRA whose effect is a tenth of the largest logit, on stacks that differ by float32 rounding.
RIGHT = LogitParity(
    largest_logit=4.0,
    base_difference=3e-6,
    lora_difference=3e-6,
    lora_effect=0.4,
    base_square=1e-13,
    effect_square=1e-2,
    error_square=1e-13,
    error_projection=1e-9,
    positions=96,
    argmax_agreement=1.0,
)


def scaled(factor: float, strength: float = 1.0) -> LogitParity:
    """RIGHT, its LoRA weakened to ``strength``, and ``factor`` times too strong in PEFT."""
    effect = RIGHT.effect_square * strength**2
    return evolve(
        RIGHT,
        lora_effect=RIGHT.lora_effect * strength,
        effect_square=effect,
        error_square=RIGHT.error_square + effect * (factor - 1) ** 2,
        error_projection=effect * (factor - 1),
        lora_difference=max(RIGHT.lora_difference, 0.4 * strength * abs(factor - 1)),
    )


def test_rounding_is_no_problem() -> None:
    assert RIGHT.base_agrees
    assert lora_problems(RIGHT) == ()


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("factor", [0.99, 1.01, 0.0, 1 / 8, 20.0])
def test_a_wrong_scale_is_a_problem_however_weak_the_lora(factor: float, strength: float) -> None:
    problems = lora_problems(scaled(factor, strength))
    assert f"{factor:.4f} times" in problems[-1]


def test_a_lora_below_the_noise_proves_nothing() -> None:
    (problem,) = lora_problems(scaled(1.0, strength=1e-5))
    assert problem.startswith("the LoRA has no measurable effect")


def test_a_lora_without_any_effect_divides_by_nothing() -> None:
    parity = evolve(RIGHT, effect_square=0.0, lora_effect=0.0)
    assert not parity.measurable
    assert parity.effect_resolution == parity.scale_resolution == math.inf
    assert parity.effect_error == parity.scale_error == 0.0
    assert dict(parity.figures)["lora_effect"] == 0.0


def test_an_error_in_another_direction_is_seen_although_the_scale_is_right() -> None:
    problems = lora_problems(evolve(RIGHT, error_square=1e-6, error_projection=0.0))
    assert len(problems) == 1 and "1.00% away" in problems[0]


def test_an_error_at_one_logit_is_seen_although_the_mean_hides_it() -> None:
    (problem,) = lora_problems(evolve(RIGHT, lora_difference=1e-3))
    assert "1.00e-03 in a logit" in problem


@pytest.mark.parametrize(("difference", "agrees"), [(3.9e-3, True), (4.1e-3, False)])
def test_the_bases_may_differ_by_a_thousandth_of_the_largest_logit(
    difference: float, agrees: bool
) -> None:
    assert evolve(RIGHT, base_difference=difference).base_agrees is agrees


def test_logits_that_are_not_finite_agree_with_nothing() -> None:
    assert not evolve(RIGHT, finite=False).base_agrees
    assert not evolve(RIGHT, base_difference=math.nan).base_agrees


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model_type": "llama", "rope_parameters": {"rope_theta": 5e5}},
            'add "rope_theta": 500000',
        ),
        ({"model_type": "qwen2"}, "uses 1000000, transformers uses 10000"),
        ({"model_type": "llama"}, "ties the head"),
        ({"hidden_act": "gelu"}, "asks for gelu"),
    ],
)
def test_a_differing_base_names_the_fields_that_are_read_differently(
    config: dict[str, Any], words: str
) -> None:
    assert any(words in suspect for suspect in base_suspects(config))


def test_a_config_that_both_read_alike_raises_no_suspicion() -> None:
    config = {
        "model_type": "llama",
        "rope_theta": 5e5,
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
    }
    assert not list(base_suspects(config))


def test_weights_that_were_made_up_are_suspected_first() -> None:
    first = next(base_suspects({}, [f"model.layers.{i}.weight" for i in range(7)]))
    assert "made them up" in first and "7 weights" in first and first.endswith("...")
