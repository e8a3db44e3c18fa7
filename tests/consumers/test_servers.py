"""The readers of vLLM, SGLang and llama.cpp take our PEFT form, and refuse what we say they do."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.acceptance import (
    assert_llama_cpp_converts,
    assert_sglang_takes,
    assert_vllm_takes,
    served_by_vllm,
)
from tests.witnesses import run
from tests.witnesses.outcomes import toys
from tests.witnesses.toys import write_lora

pytestmark = pytest.mark.slow

FAMILIES = ("llama", "mixtral", "qwen3_moe")


@functools.cache
def base_config(family: str) -> Any:
    return json.loads((toys() / family / "base" / "config.json").read_text())


def partial(directory: Path, *leaves: str, **config: Any) -> Path:
    """The Llama toy's LoRA on modules of those names only."""
    from safetensors.torch import load_file

    tensors = load_file(toys() / "llama" / "lora" / "adapter_model.safetensors")
    kept = {n: t for n, t in tensors.items() if any(f".{leaf}." in n for leaf in leaves)}
    return write_lora(directory, kept, **config)


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm(family: str) -> None:
    assert_vllm_takes(toys() / family / "lora", base_config(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_sglang(family: str) -> None:
    assert_sglang_takes(toys() / family / "lora", base_config(family))


def test_llama_cpp(tmp_path: Path) -> None:
    place = toys() / "llama"
    assert_llama_cpp_converts(place / "lora", place / "base", tmp_path / "lora.gguf")


def vllm_refusal(directory: Path) -> str:
    return str(run.read_with_vllm(directory, served_by_vllm(base_config("llama")))["refused"])


def sglang_refusal(directory: Path) -> str:
    return str(run.read_with_sglang(directory, base_config("llama"))["refused"])


def test_sglang_wants_v_wherever_q_is(tmp_path: Path) -> None:
    directory = partial(tmp_path, "q_proj", "k_proj")
    told = sglang_refusal(directory)
    assert "KeyError" in told and "v_proj" in told
    assert_vllm_takes(directory, base_config("llama"))


def test_sglang_fills_in_up_where_only_gate_is(tmp_path: Path) -> None:
    found = run.read_with_sglang(partial(tmp_path, "gate_proj"), base_config("llama"))
    stem = "base_model.model.model.layers.0.mlp.gate_up_proj"
    assert found["layers"][0][f"{stem}.lora_A.weight"][0] == [8, 64]


def test_nobody_serves_dora(tmp_path: Path) -> None:
    directory = partial(tmp_path, "q_proj", "v_proj", use_dora=True)
    assert "DoRA" in vllm_refusal(directory)
    assert "DoRA" in sglang_refusal(directory)


def test_vllm_has_a_largest_rank(tmp_path: Path) -> None:
    directory = partial(tmp_path, "q_proj", "v_proj")
    told = run.read_with_vllm(directory, served_by_vllm(base_config("llama")), max_rank=2)
    assert "greater than max_lora_rank 2" in told["refused"]


def test_vllm_refuses_modules_that_it_does_not_serve(tmp_path: Path) -> None:
    tensors = {f"base_model.model.model.layers.0.{leaf}": _zeros() for leaf in _PAIR}
    told = vllm_refusal(write_lora(tmp_path, tensors))
    assert "expected target modules" in told and "layers.0.strange" in told


def test_names_that_are_no_factors_are_refused_by_vllm(tmp_path: Path) -> None:
    tensors = {"base_model.model.model.layers.0.self_attn.q_proj.lora_a": _zeros()}
    assert "unsupported LoRA weight" in vllm_refusal(write_lora(tmp_path, tensors))


def test_sglang_takes_no_pattern_of_targets(tmp_path: Path) -> None:
    directory = partial(tmp_path, "q_proj", "v_proj", target_modules=r".*\.(q|v)_proj")
    assert "string for target module" in sglang_refusal(directory)


_PAIR = ("strange.lora_A.weight", "strange.lora_B.weight")


def _zeros() -> Any:
    import torch

    return torch.zeros(4, 4)
