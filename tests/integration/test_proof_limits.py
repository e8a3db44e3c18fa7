"""A proof that ends where the caller says, for a base that the two stacks compute otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx_lm")
pytest.importorskip("peft")

import weighbridge
from tests.mlx_artifacts.bases import tiny_base
from tests.mlx_artifacts.training import tiny_lora
from weighbridge.domain.errors import ProofFailed, UsageError
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.proof import ProofLevel


@pytest.mark.slow
def test_a_base_of_two_functions_is_published_up_to_binding(tmp_path: Path) -> None:
    base = tiny_base("llama", agreeing_rope=False)
    known = Policy(ignore=("CF030",))
    said: dict[str, Any] = {"name": "acme/bot", "base": base, "policy": known}
    run = tiny_lora(base, model_name="acme/base")
    with pytest.raises(ProofFailed, match="--prove-up-to binding"):
        weighbridge.publish(run, tmp_path / "registry", **said)
    plan = weighbridge.plan(
        run, tmp_path / "registry", prove_up_to="binding", output=tmp_path / "plan.json", **said
    )
    done = weighbridge.publish(plan=tmp_path / "plan.json", policy=known)
    assert plan.wishes.prove_up_to == "binding"
    assert done.proof is not None and done.proof.level is ProofLevel.BINDING
    assert [(m.level, m.reason) for m in done.proof.unattempted] == [
        (ProofLevel.LOGITS, "not asked for")
    ]


def test_less_than_is_insisted_on_is_a_contradiction(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="up to algebra does not reach binding"):
        weighbridge.verify(tmp_path, tmp_path, up_to="algebra", require=ProofLevel.BINDING)
