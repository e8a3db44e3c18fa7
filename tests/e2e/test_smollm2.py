"""A real language model from training to PEFT by name, and its logits measured once more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mlx_artifacts import cached, smollm2_base, tiny_lora

pytestmark = pytest.mark.slow

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
BASE, LORA = "HuggingFaceTB/SmolLM2-135M-Instruct", "acme/support-bot"

# The tokens are those of the proof, so that its figures can be asked for again.
LOAD = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, lora, tokens = json.load(sys.stdin)
kind = {"dtype": torch.float32, "attn_implementation": "eager"}
model = AutoModelForCausalLM.from_pretrained(base, **kind).eval()
ids = torch.tensor(tokens)
with torch.inference_mode():
    plain = model(input_ids=ids, use_cache=False).logits
    model = PeftModel.from_pretrained(model, lora).eval()
    tuned = model(input_ids=ids, use_cache=False).logits
print(json.dumps([float(plain.abs().max()), float((tuned - plain).abs().max())]))
"""


def run(*arguments: object, **environ: str) -> tuple[int, dict[str, Any], str]:
    command = [WEIGHBRIDGE, *map(str, arguments), "--format", "json"]
    env = {**os.environ, **environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    return done.returncode, json.loads(done.stdout), done.stderr


def step(proof: dict[str, Any], level: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in proof["steps"] if each["level"] == level)
    return found


def test_from_training_to_peft_by_name(tmp_path: Path) -> None:
    from weighbridge.adapters.logits_prover import _config, _tokens

    base, registry = cached("smollm2", smollm2_base), tmp_path / "registry"
    lora = tiny_lora(base, model_name=BASE, iters=3, num_layers=4)
    code, fused, errors = run("publish", base, registry, "--name", BASE)
    assert code == 0 and fused["proof"] is None, errors
    # The base is found by its name in the cache that the registry is.
    code, published, errors = run(
        "publish", lora, registry, "--name", LORA, "--require-proof", "logits",
        HF_HUB_CACHE=str(registry),
    )  # fmt: skip
    assert code == 0 and published["proof"]["level"] == "logits", errors
    figures = step(published["proof"], "logits")["figures"]
    assert figures["lora_difference_relative"] < 1e-4 < 1e-2 < figures["lora_effect_relative"]

    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        input=json.dumps([BASE, LORA, _tokens(_config(base))]),
        env={**os.environ, "HF_HUB_CACHE": str(registry), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    _, effect = json.loads(loaded.stdout)
    assert effect > 0.1
    assert effect == pytest.approx(figures["lora_effect"], rel=1e-3)


def test_rope_settings_that_the_stacks_read_differently(tmp_path: Path) -> None:
    base = cached("smollm2-rope", _disagreeing)
    lora, out = tiny_lora(base, model_name=BASE, iters=3, num_layers=4), tmp_path / "out"
    assert run("convert", lora, "-o", out)[0] == 0
    code, proof, errors = run("verify", lora, out, "--base", base)
    assert code == 1, errors
    assert step(proof, "algebra")["passed"] and step(proof, "binding")["passed"]
    failed = step(proof, "logits")
    assert not failed["passed"]
    assert any("base model differs" in problem for problem in failed["problems"])
    assert any("rope_theta" in problem for problem in failed["problems"])


def _disagreeing(directory: Path) -> None:
    smollm2_base(directory, agreeing_rope=False)
