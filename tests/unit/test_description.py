"""What ``inspect`` says of models of every form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from tests.builders import (
    LORA_SPECS,
    PEFT_SPECS,
    Q,
    encode,
    fused_files,
    lora_files,
    npz,
    peft_files,
    tensors,
)
from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.inspect import Inspect, Inspection
from weighbridge.domain.detection import Choice
from weighbridge.domain.placement import Standing
from weighbridge.domain.tensors import TensorSpec
from weighbridge.entrypoints.render import text

A, B = LORA_SPECS
STACK = "model.layers.0.mlp.switch_mlp.up_proj"
MAGNITUDE = TensorSpec(f"{Q}.m", "F32", (16,))
VLM = {"rank": 4, "alpha": 8, "dropout": 0.0}


def inspected(files: Mapping[str, bytes], choice: Choice | None = None) -> Inspection:
    memory = MemoryFiles()
    memory.seed("run", files)
    return Inspect(memory)("run", choice)


def lora(*specs: TensorSpec, **config: Any) -> Inspection:
    return inspected(lora_files(**config) | {"adapters.safetensors": tensors(specs)})


def test_a_dora_is_told_by_its_tensors_and_its_magnitudes_are_counted() -> None:
    found = lora(A, B, MAGNITUDE)
    assert (found.training, found.tensors, found.parameters) == ("dora", 3, 64 + 64 + 16)
    assert found.modules == {"q_proj": 1}
    assert lora(A, B, fine_tune_type="dora").training == "lora"


def test_whole_weights_are_a_full_fine_tune() -> None:
    norm = TensorSpec("model.norm.weight", "F32", (16,))
    found = lora(norm, fine_tune_type="full")
    assert (found.training, found.scale) == ("full", None)
    assert found.scale_reason == "there are no LoRA tensors"  # so no --scale would help


def test_experts_and_embeddings_are_told() -> None:
    found = lora(
        TensorSpec(f"{STACK}.lora_a", "F32", (4, 2, 16)),
        TensorSpec(f"{STACK}.lora_b", "F32", (4, 32, 2)),
        TensorSpec("model.embed_tokens.lora_a", "F32", (90, 2)),
        TensorSpec("model.embed_tokens.lora_b", "F32", (2, 16)),
    )
    assert (found.experts, found.embeddings, found.rank) == (4, ("model.embed_tokens",), (2,))
    assert "experts" in text.inspection(found) and "model.embed_tokens" in text.inspection(found)


TURNED = (
    TensorSpec(f"{Q}.lora_a.weight", "F32", (4, 16)),
    TensorSpec(f"{Q}.lora_b.weight", "F32", (16, 4)),
)
VLMS = (TensorSpec(f"{Q}.A", "F32", (16, 4)), TensorSpec(f"{Q}.B", "F32", (4, 16)))


@pytest.mark.parametrize(
    ("specs", "config", "dialect"),
    [
        (LORA_SPECS, {}, "mlx-lm"),
        (TURNED, {}, "linear layers, as unsloth's"),
        (VLMS, {}, "mlx-vlm"),
        (LORA_SPECS, {"lora_parameters": None}, "mlx-lm"),
    ],
)
def test_the_trainer_is_told_by_its_form(
    specs: tuple[TensorSpec, ...], config: dict[str, Any], dialect: str
) -> None:
    assert lora(*specs, **config).dialect == dialect


def test_a_scale_that_cannot_be_known_is_unknown_with_the_reason() -> None:
    files = lora_files() | {"adapter_config.json": encode(VLM)}
    found = inspected(files)
    assert found.scale is None and found.dialect == "mlx-vlm"
    assert "mlx-vlm's" in found.scale_reason and found.scale_reason in text.inspection(found)
    assert lora(A, B).scale_reason == ""


def test_an_npz_with_its_checkpoints() -> None:
    config = lora_files()["adapter_config.json"]
    files = {"adapters.npz": npz(LORA_SPECS), "adapter_config.json": config}
    checkpoints = {f"{n:07d}_adapters.safetensors": tensors(LORA_SPECS) for n in (200, 100)}
    found = inspected(files | checkpoints)
    assert found.dialect == "npz, of mlx-lm before 0.5 or mlx-examples"
    assert (found.checkpoints, found.tensors, found.rank) == ((100, 200), 2, (4,))
    assert "100, 200" in text.inspection(found)
    assert found.weight_bytes == len(files["adapters.npz"])
    chosen = inspected(files | checkpoints, Choice(checkpoint=200))
    assert chosen.dialect == "mlx-lm" and chosen.weight_bytes == len(tensors(LORA_SPECS))


def test_ranks_of_a_peft_adapter_that_differ() -> None:
    stem = "base_model.model.model.layers.0.self_attn.v_proj"
    more = (
        TensorSpec(f"{stem}.lora_A.weight", "F32", (8, 16)),
        TensorSpec(f"{stem}.lora_B.weight", "F32", (16, 8)),
    )
    weights = {"adapter_model.safetensors": tensors((*PEFT_SPECS, *more))}
    targets = {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 8}}
    same = inspected(peft_files(**targets, alpha_pattern={"v_proj": 160}) | weights)
    assert (same.rank, same.scale, same.alpha, same.training) == ((4, 8), 20.0, 80.0, "lora")
    apart = inspected(peft_files(**targets) | weights)
    assert (apart.rank, apart.scale) == ((4, 8), None)
    assert apart.scale_reason == "differs between modules: 10, 20"


def test_a_whole_model_says_what_can_be_done_with_it_and_how_it_is_packed() -> None:
    found = inspected(fused_files())
    assert found.conversion is not None and found.training is None and found.quantisation is None
    assert found.conversion.standing is Standing.CONVERTIBLE
    refused = inspected(fused_files(model_type="bert")).conversion
    assert refused is not None and refused.standing is Standing.REFUSED and refused.reason
    assert "does not know" in text.inspection(inspected(fused_files(model_type="bert")))


def test_how_mlx_packed_a_model() -> None:
    scales = TensorSpec("model.layers.0.mlp.up_proj.scales", "F32", (8, 16))
    packed = {"model.safetensors": tensors([scales])}
    stated = {"group_size": 64, "bits": 4, "model.embed_tokens": {"bits": 8}}
    found = inspected(fused_files(quantization=stated) | packed)
    assert found.quantisation == {"mode": "affine", "bits": 4, "group_size": 64}
    assert "by MLX, mode affine, bits 4, group_size 64" in text.inspection(found)
    unsaid = inspected(fused_files() | packed)
    assert unsaid.quantisation == {} and "does not say how" in text.inspection(unsaid)


def test_a_peft_dora() -> None:
    stem = PEFT_SPECS[0].name.removesuffix(".lora_A.weight")
    vector = evolve(MAGNITUDE, name=f"{stem}.lora_magnitude_vector")
    weights = {"adapter_model.safetensors": tensors((*PEFT_SPECS, vector))}
    found = inspected(peft_files(use_dora=True) | weights)
    assert (found.training, found.dialect, found.tensors) == ("dora", "PEFT", 3)
    assert found.modules == {"q_proj": 1}


def test_mlx_forges_factors_are_told_by_those_that_fit_one_way_only() -> None:
    """Square factors fit either way, and those beside them tell; not where mlx-lm's config says
    that it could load them."""
    shapes = {"v_proj.lora_a": (4, 16), "v_proj.lora_b": (8, 4), "q_proj.lora_a": (4, 16),
              "q_proj.lora_b": (16, 4), "q_proj.magnitude": (16,)}  # fmt: skip
    specs = [TensorSpec(f"model.layers.0.self_attn.{n}", "F32", s) for n, s in shapes.items()]
    config = {"method": "dora", "rank": 4, "scale": 20.0, "base_model": "acme/base"}
    files = lora_files() | {"adapters.safetensors": tensors(specs)}
    found = inspected(files | {"adapter_config.json": encode(config)})
    assert (found.dialect, found.training) == ("MLX Forge", "dora")
    assert (found.scale, found.base_model) == (5.0, "acme/base")
    assert inspected(files).dialect == "mlx-lm"
