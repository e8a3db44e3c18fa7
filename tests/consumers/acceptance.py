"""Assertions on any directory with a PEFT LoRA, by the readers of vLLM, SGLang and llama.cpp.

What is asserted is that the consumer takes it and takes all of it: every tensor arrives, and the
scale is the config's. What a consumer then computes with it needs its GPU (llama.cpp's does not,
see ``tests/integration/test_gguf_witness.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.witnesses import run

#: What vLLM's models of the Llama family serve: packed modules taken apart, embeddings, router.
_SERVED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
           "embed_tokens", "lm_head", "gate")  # fmt: skip
_PARTS = {"MixtralForCausalLM": ("w1", "w2", "w3")}
_GATED = ("gate_proj", "up_proj", "down_proj")
# SGLang's buffer of a layer has these names; what they replace must be gone.
_UNSTACKED = re.compile(r"\.(q_proj|k_proj|v_proj|gate_proj|up_proj|w[123])\.")


def served_by_vllm(base_config: Mapping[str, Any]) -> list[str]:
    """The module names that vLLM's model of that base expects in a LoRA."""
    count = base_config.get("num_local_experts") or base_config.get("num_experts") or 0
    parts = _PARTS.get(base_config["architectures"][0], _GATED)
    experts = [f"experts.{number}.{part}" for number in range(count) for part in parts]
    return [*_SERVED, *experts, *(["experts"] if count else [])]


def assert_vllm_takes(directory: Path, base_config: Mapping[str, Any]) -> None:
    """vLLM validates the config at its default rank, and reads both factors of every module."""
    found = run.read_with_vllm(directory, served_by_vllm(base_config))
    assert "refused" not in found, found
    config, tensors = _config(directory), _tensors(directory)
    assert {each["scaling"] for each in found.values()} == {config["lora_alpha"] / config["r"]}
    expected = {_module(name) for name in tensors}
    assert set(found) == expected
    for name, tensor in tensors.items():
        half = found[_module(name)]["a" if re.search(r"lora_(embedding_)?A", name) else "b"]
        assert half == [list(tensor.shape), pytest.approx(float(tensor.sum()), abs=1e-9)]


def assert_sglang_takes(directory: Path, base_config: Mapping[str, Any]) -> None:
    """SGLang validates the config, and stacks every layer's factors without losing one."""
    found = run.read_with_sglang(directory, dict(base_config))
    assert "refused" not in found, found
    config, tensors = _config(directory), _tensors(directory)
    assert found["scaling"] == config["lora_alpha"] / config["r"]
    held = [found["embeddings"], *found["layers"]]
    names = [name for part in held for name in part]
    assert names and not [name for name in names if _UNSTACKED.search(name)]
    # Stacking joins rows, so neither elements nor their sum may change, in any layer.
    for number, layer in enumerate(found["layers"]):
        source = [t for n, t in tensors.items() if f".layers.{number}." in n]
        _assert_conserved(layer, source)
    _assert_conserved(found["embeddings"], [t for n, t in tensors.items() if ".layers." not in n])


def assert_llama_cpp_converts(directory: Path, base: Path, output: Path) -> None:
    """llama.cpp's converter takes it and writes a file. Paths are made absolute."""
    assert run.convert([llama_cpp_job(directory, base, output)]) == ["ok"]
    assert output.read_bytes()[:4] == b"GGUF"


def llama_cpp_job(directory: Path, base: Path, output: Path) -> dict[str, Any]:
    """The same as a job of ``run.convert``, for several in one process."""
    arguments = ["--base", str(base.absolute()), "--outfile", str(output.absolute())]
    return {"kind": "lora", "arguments": [*arguments, str(directory.absolute())]}


def _config(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "adapter_config.json").read_text()))


def _tensors(directory: Path) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.torch import load_file

    loaded = load_file(directory / "adapter_model.safetensors")
    return {name: tensor.double().numpy() for name, tensor in loaded.items()}


def _module(name: str) -> str:
    stem = re.sub(r"\.lora_(embedding_)?[AB](\.weight)?$", "", name)
    return stem.removeprefix("base_model.model.")


def _assert_conserved(found: Mapping[str, Any], source: list[np.ndarray[Any, Any]]) -> None:
    sizes = [int(np.prod(shape)) for shape, _ in found.values()]
    assert sum(sizes) == sum(tensor.size for tensor in source)
    total = sum(value for _, value in found.values())
    assert total == pytest.approx(sum(float(tensor.sum()) for tensor in source), abs=1e-6)
