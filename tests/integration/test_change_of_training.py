"""Where the limit of rule WT011 comes from: what real trainings of a real model change."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("mlx_lm")

import weighbridge
from tests.mlx_artifacts import cached, smollm2_base, train_lora

pytestmark = pytest.mark.slow


def _seen(learning_rate: float) -> list[str]:
    """The modules whose change is out of reason, after twenty steps."""
    base = cached("smollm2", smollm2_base)
    train = partial(train_lora, base, iters=20, learning_rate=learning_rate)
    run: Path = cached(f"smollm2-rate-{learning_rate:g}", train)
    found = weighbridge.validate(run / "adapters", base=base).findings
    return [f.location.inside for f in found if f.code == "WT011"]


def test_a_training_that_learnt_is_within_reason() -> None:
    assert _seen(1e-4) == []


def test_a_training_that_diverged_is_not() -> None:
    assert _seen(1e-3)
