"""What MLX's trainers have written since 2024: read, converted, the same in both stacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

import weighbridge
from tests.mlx_artifacts.bases import tiny_base
from tests.mlx_artifacts.training import tiny_lora
from weighbridge.domain.errors import InvalidModelStructure, NotConvertible
from weighbridge.domain.proof import ProofLevel

Tensors = dict[str, Any]
WEIGHTS = "adapters.safetensors"


def trained() -> tuple[Tensors, dict[str, Any]]:
    source = tiny_lora(tiny_base("llama"))
    return mx.load(str(source / WEIGHTS)), json.loads((source / "adapter_config.json").read_text())


def save(directory: Path, tensors: Tensors, config: dict[str, Any] | None) -> None:
    mx.save_safetensors(str(directory / WEIGHTS), tensors)
    if config is not None:
        (directory / "adapter_config.json").write_text(json.dumps(config))


def npz(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    mx.savez(str(directory / "adapters.npz"), **tensors)
    (directory / "adapter_config.json").write_text(json.dumps(config))


def bare_npz(directory: Path, tensors: Tensors, _config: dict[str, Any]) -> None:
    mx.savez(str(directory / "adapters.npz"), **tensors)


def half_npz(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    npz(directory, {k: v.astype(mx.bfloat16) for k, v in tensors.items()}, config)


def swift(directory: Path, tensors: Tensors, _config: dict[str, Any]) -> None:
    save(directory, tensors, None)


def oldest_config(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    old = {"rank": 8, "alpha": 16, "scale": 10.0, "dropout": 0.0}
    save(directory, tensors, {"lora_layers": 16, "lora_parameters": old})


def unsloth(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    more = {"peft_type": "LORA", "base_model_name_or_path": "acme/base", "rank": 8}
    save(directory, tensors, config | more)


def unsloth_linears(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    turned = {f"{name}.weight": value.T for name, value in tensors.items()}
    save(directory, turned, config)


def mlx_lm_lora(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    own = config["lora_parameters"] | {"use_dora": False, "num_layers": 2}
    save(directory, tensors, {"lora_parameters": own, "num_layers": 2})


def _forged(tensors: Tensors) -> Tensors:
    """As MLX Forge lays them: (rank, in) and (out, rank)."""
    return {name: mx.contiguous(value.T) for name, value in tensors.items()}


def mlx_forge(directory: Path, tensors: Tensors, _config: dict[str, Any]) -> None:
    uploaded = {"method": "lora", "rank": 8, "scale": 160.0, "base_model": "acme/base"}
    save(directory, _forged(tensors), uploaded)


def mlx_forge_checkpoint(directory: Path, tensors: Tensors, _config: dict[str, Any]) -> None:
    save(directory, _forged(tensors), None)


def mlx_vlm(directory: Path, tensors: Tensors, _config: dict[str, Any]) -> None:
    renamed = {k.replace("lora_a", "A").replace("lora_b", "B"): v for k, v in tensors.items()}
    save(directory, renamed, {"rank": 8, "alpha": 160.0, "dropout": 0.0})


def dora_by_name_only(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    save(directory, tensors, config | {"fine_tune_type": "dora"})


def one_module_of_lower_rank(directory: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    stem = "model.layers.1.self_attn.q_proj"
    lower = {f"{stem}.lora_a": tensors[f"{stem}.lora_a"][:, :3],
             f"{stem}.lora_b": tensors[f"{stem}.lora_b"][:3]}  # fmt: skip
    save(directory, tensors | lower, config)


Writer = Callable[[Path, Tensors, dict[str, Any]], None]
NEEDS_SCALE: tuple[Writer, ...] = (bare_npz, swift, mlx_vlm, mlx_forge_checkpoint)
KNOWS_SCALE: tuple[Writer, ...] = (
    npz, half_npz, oldest_config, unsloth, unsloth_linears, mlx_lm_lora, mlx_forge,
    dora_by_name_only, one_module_of_lower_rank,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("write", [*NEEDS_SCALE, *KNOWS_SCALE], ids=lambda w: w.__name__)
def test_a_dialect_is_the_same_function_in_both_stacks(write: Writer, tmp_path: Path) -> None:
    run, out, base = tmp_path / "run", tmp_path / "out", tiny_base("llama")
    run.mkdir()
    write(run, *trained())
    scale = 20.0 if write in NEEDS_SCALE else None
    done = weighbridge.convert(run, out, base=base, base_model="acme/base", scale=scale)
    assert done.plan is not None and done.plan.scale == 20.0
    proof = weighbridge.verify(run, out, base=base, scale=scale)
    assert proof.level is ProofLevel.LOGITS, proof


@pytest.mark.parametrize("write", NEEDS_SCALE, ids=lambda w: w.__name__)
def test_what_no_file_says_must_be_said(write: Writer, tmp_path: Path) -> None:
    write(tmp_path, *trained())
    with pytest.raises((NotConvertible, InvalidModelStructure), match="--scale"):
        weighbridge.convert(tmp_path, tmp_path / "out", base_model="acme/base")


def test_a_checkpoint_is_chosen_by_its_number(tmp_path: Path) -> None:
    tensors, config = trained()
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    other = {k: v * 2 for k, v in tensors.items()}
    for step, held in ((100, tensors), (200, other)):
        mx.save_safetensors(str(tmp_path / f"{step:07d}_{WEIGHTS}"), held)
    with pytest.raises(InvalidModelStructure, match="--checkpoint"):
        weighbridge.convert(tmp_path, tmp_path / "out", base_model="acme/base")
    with pytest.raises(InvalidModelStructure, match="those here: 100, 200"):
        weighbridge.convert(tmp_path, tmp_path / "out", base_model="acme/base", checkpoint=300)
    outs = {n: tmp_path / f"out-{n}" for n in (100, 200)}
    for number, out in outs.items():
        weighbridge.convert(tmp_path, out, base_model="acme/base", checkpoint=number)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    one, two = (mx.load(str(outs[n] / "adapter_model.safetensors"))[name] for n in (100, 200))
    assert mx.array_equal(one * 2, two)
    proof = weighbridge.verify(tmp_path, outs[100], checkpoint=200)
    assert not proof.passed
