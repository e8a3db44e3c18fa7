"""Both stacks compute one function from each directory, so that logits can prove a LoRA on it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mlx_artifacts.architectures import APART

from .stacks import Base


@pytest.mark.slow
def test_the_two_bases_answer_alike(base: Base, case: str) -> None:
    ours, theirs = base.answers
    assert np.abs(theirs).max() > 0.3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=APART.get(case, 2e-4))
