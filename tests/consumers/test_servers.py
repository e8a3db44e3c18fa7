"""vLLM, SGLang and llama.cpp take what we make of real runs, and refuse what we say they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weighbridge
from tests.consumers.acceptance import (
    assert_sglang_takes,
    assert_vllm_takes,
    llama_cpp_job,
    served_by_vllm,
)
from tests.consumers.real_runs import RUNS
from tests.witnesses import run
from tests.witnesses.toys import write_lora

pytestmark = pytest.mark.slow

#: Of ``RUNS``, some whose module names ``served_by_vllm`` knows.
SERVED = (
    *("llama", "llama, last layer", "llama, q_proj", "llama, odd scale", "llama, two ranks"),
    *("llama, vocabulary", "mixtral", "mixtral, last layer", "qwen3_moe"),
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What we convert each run to."""
    place = tmp_path_factory.mktemp("runs")
    return {name: RUNS[name].convert(place / name).output for name in SERVED}


def config_of(name: str) -> Any:
    return json.loads((RUNS[name].base / "config.json").read_text())


@pytest.mark.parametrize("name", SERVED)
def test_vllm_takes_our_output(name: str, outputs: dict[str, Path]) -> None:
    assert_vllm_takes(outputs[name], config_of(name))


@pytest.mark.parametrize("name", SERVED)
def test_sglang_takes_our_output(name: str, outputs: dict[str, Path]) -> None:
    assert_sglang_takes(outputs[name], config_of(name))


def test_llama_cpp_makes_our_gguf_of_our_output(
    outputs: dict[str, Path], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    theirs = {name: tmp_path / f"{name}.gguf" for name in SERVED}
    jobs = [llama_cpp_job(outputs[name], RUNS[name].base, theirs[name]) for name in SERVED]
    answers = run.convert(jobs)
    for name, answer in zip(SERVED, answers, strict=True):
        with subtests.test(run=name):
            assert answer == "ok"
            # The directory's name is the model's in the file.
            ours = tmp_path / name / outputs[name].name
            weighbridge.convert(outputs[name], ours, to="gguf", base=RUNS[name].base)
            assert (ours / "adapter.gguf").read_bytes() == theirs[name].read_bytes()


def vllm_refusal(directory: Path) -> str:
    return str(run.read_with_vllm(directory, served_by_vllm(config_of("llama")))["refused"])


def sglang_refusal(directory: Path) -> str:
    return str(run.read_with_sglang(directory, config_of("llama"))["refused"])


@pytest.fixture
def partial(outputs: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """Makes a LoRA of some modules of ours for Llama, as one without the portable form's care."""
    from safetensors.torch import load_file

    tensors = load_file(outputs["llama"] / "adapter_model.safetensors")

    def make(*leaves: str, **config: Any) -> Path:
        kept = {n: t for n, t in tensors.items() if any(f".{leaf}." in n for leaf in leaves)}
        return write_lora(tmp_path, kept, **{"r": 8, "lora_alpha": 160, **config})

    return make


def test_sglang_wants_v_wherever_q_is(partial: Callable[..., Path]) -> None:
    directory = partial("q_proj", "k_proj")
    told = sglang_refusal(directory)
    assert "KeyError" in told and "v_proj" in told
    assert_vllm_takes(directory, config_of("llama"))


def test_sglang_fills_in_up_where_only_gate_is(partial: Callable[..., Path]) -> None:
    found = run.read_with_sglang(partial("gate_proj"), config_of("llama"))
    stem = "base_model.model.model.layers.0.mlp.gate_up_proj"
    assert found["layers"][0][f"{stem}.lora_A.weight"][0] == [16, 64]


def test_nobody_serves_dora(partial: Callable[..., Path]) -> None:
    directory = partial("q_proj", "v_proj", use_dora=True)
    assert "DoRA" in vllm_refusal(directory)
    assert "DoRA" in sglang_refusal(directory)


def test_vllm_has_a_largest_rank(partial: Callable[..., Path]) -> None:
    directory = partial("q_proj", "v_proj")
    told = run.read_with_vllm(directory, served_by_vllm(config_of("llama")), max_rank=2)
    assert "greater than max_lora_rank 2" in told["refused"]


def test_vllm_refuses_modules_that_it_does_not_serve(tmp_path: Path) -> None:
    tensors = {f"base_model.model.model.layers.0.{leaf}": _zeros() for leaf in _PAIR}
    told = vllm_refusal(write_lora(tmp_path, tensors))
    assert "expected target modules" in told and "layers.0.strange" in told


def test_names_that_are_no_factors_are_refused_by_vllm(tmp_path: Path) -> None:
    tensors = {"base_model.model.model.layers.0.self_attn.q_proj.lora_a": _zeros()}
    assert "unsupported LoRA weight" in vllm_refusal(write_lora(tmp_path, tensors))


def test_sglang_takes_no_pattern_of_targets(partial: Callable[..., Path]) -> None:
    directory = partial("q_proj", "v_proj", target_modules=r".*\.(q|v)_proj")
    assert "string for target module" in sglang_refusal(directory)


_PAIR = ("strange.lora_A.weight", "strange.lora_B.weight")


def _zeros() -> Any:
    import torch

    return torch.zeros(4, 4)
