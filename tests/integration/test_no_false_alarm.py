"""What mlx-lm and transformers write themselves is good: no rule may find an error in it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.matrix.run import base_of
from tests.mlx_artifacts.bases import tiny_base
from tests.mlx_artifacts.cache import cached
from tests.mlx_artifacts.smollm2 import smollm2_base
from tests.mlx_artifacts.training import fuse, tiny_lora
from weighbridge.application.validate import ValidateRequest
from weighbridge.domain.findings import Finding, Severity
from weighbridge.entrypoints.container import build

pytestmark = pytest.mark.slow
#: The two stacks read the configs of tiny bases differently; trainers write half a card.
_ANOTHER_MATTER = ("CF03", "CD")
MODES = [("affine", 4, 64), ("affine", 3, 32), ("affine", 8, 64), ("mxfp4", 4, 32),
         ("mxfp8", 8, 32), ("nvfp4", 4, 16)]  # fmt: skip


def _findings(directory: Path) -> list[Finding]:
    report = build().validate()(ValidateRequest(str(directory)))
    assert report.crashed == ()
    return [f for f in report.findings if not f.code.startswith(_ANOTHER_MATTER)]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_base_and_what_is_fused_into_it(family: str, tmp_path: Path) -> None:
    base = tiny_base(family)
    fused = fuse(base, tiny_lora(base), tmp_path / "fused")
    assert _findings(base) == [] and _findings(fused) == []


def test_a_run_names_the_machine_and_nothing_else() -> None:
    # The base is a path of this machine, the run has a checkpoint: both are true.
    found = {f.code for f in _findings(tiny_lora(tiny_base("llama")))}
    assert found <= {"AD010", "AD015", "FS010", "SC003"}


@pytest.mark.parametrize(("mode", "bits", "group_size"), MODES)
def test_a_quantised_model(mode: str, bits: int, group_size: int, tmp_path: Path) -> None:
    from mlx_lm import convert

    target = tmp_path / "quantised"
    base, sizes = str(tiny_base("llama")), {"q_bits": bits, "q_group_size": group_size}
    convert(base, str(target), quantize=True, q_mode=mode, **sizes)
    assert _findings(target) == []


@pytest.mark.parametrize(
    "model_type",
    ["cohere2", "deepseek_v3", "gemma2", "gemma3", "gpt2", "gpt_neox", "mamba2", "nemotron_h",
     "phi3", "qwen3_moe", "qwen3_next"],
)  # fmt: skip
def test_a_checkpoint_of_transformers(model_type: str) -> None:
    errors = [f for f in _findings(base_of(model_type)) if f.severity is Severity.ERROR]
    assert errors == []


def _saved_again(base: Path, directory: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(base).save_pretrained(directory)
    AutoTokenizer.from_pretrained(base).save_pretrained(directory)


def test_smollm2_saved_by_transformers(tmp_path: Path) -> None:
    base = cached("smollm2", functools.partial(smollm2_base))
    _saved_again(base, tmp_path / "saved")
    found = _findings(tmp_path / "saved")
    assert [f for f in found if f.severity is not Severity.INFO] == []
