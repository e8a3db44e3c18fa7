"""Judging takes a time in proportion to what there is to read, whatever a stranger wrote there."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.builders import PEFT_CONFIG, fused_files, lora_files, peft_files, tensors
from tests.unit.subjects import of
from weighbridge.domain.findings import judge
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.tensors import TensorSpec

_MANY = 20_000


def _peft(**config: Any) -> dict[str, bytes]:
    specs = [
        TensorSpec(f"base_model.model.layers.{n}.q_proj.lora_{part}.weight", "F32", shape)
        for n in range(1000)
        for part, shape in (("A", (4, 4)), ("B", (4, 4)))
    ]
    files = {"adapter_model.safetensors": tensors(specs)}
    return files | {"adapter_config.json": json.dumps(PEFT_CONFIG | config).encode()}


def _shards(count: int) -> dict[str, bytes]:
    """An index of that many files, of a tensor each."""
    held = {f"t{n}": f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)}
    made = {path: tensors([TensorSpec(name, "F32", (1,))]) for name, path in held.items()}
    index = {"model.safetensors.index.json": json.dumps({"weight_map": held}).encode()}
    return {"config.json": fused_files()["config.json"]} | index | made


#: Each took minutes, or for ever.
HOSTILE = {
    "targets": _peft(target_modules=[f"m{n}" for n in range(_MANY)]),
    "targets that are there": _peft(target_modules=[f"{n}.q_proj" for n in range(_MANY)]),
    "exclusions": _peft(exclude_modules=[f"m{n}" for n in range(_MANY)]),
    "layers": _peft(layers_to_transform=list(range(10**6, 10**6 + 200_000))),
    "layers' names": _peft(layers_to_transform=[1], layers_pattern=["x"] * _MANY),
    "parameters": _peft(target_modules=["x"], target_parameters=["y.z"] * _MANY),
    "modules to save": _peft(modules_to_save=[f"m{n}" for n in range(_MANY)]),
    "patterns": peft_files(rank_pattern={f"(a+)+{n}": 4 for n in range(_MANY)}),
    # Not one letter is matched, a hundred million times.
    "a pattern of nothing": peft_files(rank_pattern={"((((){99}){99}){99}){99}b": 4}),
    "tokens beyond the embedding": fused_files(eos_token_id=list(range(500_000))),
    "a layer of five thousand digits": fused_files(
        num_hidden_layers=2, quantization={f"layers.{'9' * 5000}.x": {"bits": 4, "group_size": 64}}
    ),
    "shards": _shards(10_000),
    "dots in a name": {
        **lora_files(),
        "adapters.safetensors": tensors([TensorSpec("." * 2_000_000, "F32", (16, 4))]),
    },
}


@pytest.mark.parametrize("files", HOSTILE.values(), ids=HOSTILE)
def test_no_rule_takes_for_ever(files: dict[str, bytes]) -> None:
    subject = of(files)()
    begun = time.process_time()
    report = judge(subject, CATALOGUE)
    assert report.crashed == () and time.process_time() - begun < 10


def test_what_is_too_much_to_look_at_is_said() -> None:
    report = judge(of(HOSTILE["patterns"])(), CATALOGUE)
    assert any("one of more than 5000" in f.message for f in report.findings if f.code == "AD014")
