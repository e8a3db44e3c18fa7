"""The portable form gives MLX's logits in every PEFT from 0.10 on; the others in the newest."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from tests.matrix.stacks import TOKENS, mlx_logits
from tests.witnesses.peft_stacks import STACKS, Loaded, Logits, load

from .real_runs import RUNS, Run

pytestmark = pytest.mark.slow

# Of the largest logit; beside it stands thrice what the stacks differ by on the base alone.
_TOLERANCE = 1e-4
#: Types that transformers 4.46 does not know yet, and the stacks with 4.57 do.
_NEEDS_457 = ("qwen3", "qwen3_moe")
_STACKED = Run("qwen2_moe")


def _runs(stack: str) -> dict[str, Run]:
    without = _NEEDS_457 if "4.46" in stack else ()
    return {name: run for name, run in RUNS.items() if run.model_type not in without}


@functools.cache
def _plain(base: Path) -> Logits:
    return mlx_logits(base, None)


def _assert_same_function(base: Path, source: Path, loaded: Loaded) -> None:
    assert loaded.refused is None
    assert loaded.unplaced == []
    assert not [text for text in loaded.warnings if "missing" in text]
    plain, adapted = _plain(base), mlx_logits(base, source)
    size = np.abs(plain).max()
    limit = _TOLERANCE * size + 3 * np.abs(plain - loaded.plain).max()
    assert np.abs(adapted - plain).max() > 100 * limit
    assert np.abs(adapted - loaded.lora).max() < limit
    assert np.abs(adapted - loaded.merged).max() < limit


@pytest.mark.parametrize(
    ("stack", "profile"), [*((name, "portable") for name in STACKS), ("installed", "peft")]
)
def test_mlx_and_peft_compute_the_same(
    stack: str, profile: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    runs = _runs(stack)
    made = [run.convert(tmp_path / name, profile=profile) for name, run in runs.items()]
    bases = [run.base for run in runs.values()]
    outputs = [each.output for each in made]
    answers = load(stack, list(zip(bases, outputs, strict=True)), TOKENS.tolist())
    for name, base, each, loaded in zip(runs, bases, made, answers, strict=True):
        with subtests.test(run=name):
            _assert_same_function(base, each.meaning, loaded)


def test_stacked_experts_are_for_the_newest_and_said_to_be(tmp_path: Path) -> None:
    made = _STACKED.convert(tmp_path / "run")
    assert made.done.plan is not None
    told = " ".join(made.done.plan.notes)
    assert "experts are stacked" in told and "PEFT 0.17 or later" in told
    pairs = [(_STACKED.base, made.output)]
    _assert_same_function(_STACKED.base, made.meaning, *load("installed", pairs, TOKENS.tolist()))
    (oldest,) = load("peft 0.10, transformers 4.46", pairs, TOKENS.tolist())
    assert "target_parameters" in (oldest.refused or "")
