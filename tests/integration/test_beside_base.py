"""Weights beside their base's: a LoRA out of reason, and one that mlx-lm's fuse lost in packing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("mlx_lm")

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

import weighbridge
from tests.matrix.run import base_of, trained_on
from tests.mlx_artifacts import cached, fuse, make_architecture, quantise, tiny_base
from weighbridge.domain.errors import UsageError

pytestmark = pytest.mark.slow
MODULES = ("self_attn.q_proj", "mlp.down_proj")


def write_run(base: Path, run: Path, size: float) -> Path:
    """A LoRA on two kinds of modules whose change is so large, relative to the weight."""
    weights, tensors = load_file(base / "model.safetensors"), {}
    draw = np.random.default_rng(7).standard_normal
    for layer in range(2):
        for module in MODULES:
            name = f"model.layers.{layer}.{module}"
            weight = weights[f"{name}.weight"]
            a, b = draw((weight.shape[1], 4)), draw((4, weight.shape[0]))
            b *= size * np.linalg.norm(weight) / np.linalg.norm(a @ b) / 20.0
            tensors |= {f"{name}.lora_a": a.astype("f4"), f"{name}.lora_b": b.astype("f4")}
    (run / "adapters").mkdir(parents=True)
    save_file(tensors, run / "adapters" / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "num_layers": 2, "model": "acme/tiny",
              "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}}  # fmt: skip
    (run / "adapters" / "adapter_config.json").write_text(json.dumps(config))
    return run / "adapters"


def _make(directory: Path) -> None:
    base, packed = tiny_base("llama"), directory / "packed"
    quantise(base, packed)
    for name, size in (("usual", 0.3), ("weak", 0.0003), ("wild", 3.0)):
        write_run(base, directory / name, size)
    fuse(base, directory / "usual" / "adapters", directory / "fused")
    fuse(packed, directory / "weak" / "adapters", directory / "lost")
    fuse(packed, directory / "usual" / "adapters", directory / "requantised")


def _make_norms(directory: Path) -> None:
    make_architecture(directory / "qwen3_5-base", "qwen3_5")
    quantise(directory / "qwen3_5-base", directory / "qwen3_5")
    quantise(tiny_base("gemma"), directory / "gemma")


def shift_norms(model: Path, out: Path, by: float) -> Path:
    """A copy whose norms have that much more."""
    shutil.copytree(model, out)
    for file in out.glob("*.safetensors"):
        tensors = mx.load(str(file))
        moved = {n: t + by if "norm" in n and t.ndim == 1 else t for n, t in tensors.items()}
        mx.save_safetensors(str(file), moved, metadata={"format": "mlx"})
    return out


@pytest.fixture(scope="module")
def normed() -> Path:
    return cached("norms-beside-their-base", _make_norms)


@pytest.mark.parametrize("family", ["qwen3_5", "gemma"])
@pytest.mark.parametrize("by", [0.0, 1.0, -1.0])
def test_norms_that_were_shifted_are_seen_beside_the_base(
    normed: Path, tmp_path: Path, family: str, by: float
) -> None:
    base = normed / "qwen3_5-base" if family == "qwen3_5" else tiny_base("gemma")
    shifted = shift_norms(normed / family, tmp_path / "out", by)
    assert ("WT013" in found(shifted, base)) is bool(by)
    assert ("WT013" in found(shifted, normed / family)) is bool(by)


@pytest.fixture(scope="module")
def made() -> Path:
    return cached("runs-beside-their-base", _make)


def found(path: Path, base: Path) -> dict[str, list[str]]:
    report = weighbridge.validate(path, base=base)
    codes: dict[str, list[str]] = {}
    for finding in report.findings:
        codes.setdefault(finding.code, []).append(finding.location.inside)
    return codes


@pytest.mark.parametrize("base", ["packed", "full"])
def test_a_change_larger_than_its_weight_is_out_of_reason(made: Path, base: str) -> None:
    beside = made / "packed" if base == "packed" else tiny_base("llama")
    assert "WT011" not in found(made / "usual", beside)
    expected = sorted(f"model.layers.{n}.{m}" for n in range(2) for m in MODULES)
    assert found(made / "wild", beside)["WT011"] == expected


def test_the_same_is_seen_of_a_peft_adapter(made: Path, tmp_path: Path) -> None:
    base = tiny_base("llama")
    for run in ("usual", "wild"):
        weighbridge.convert(made / run, tmp_path / run, base=base, base_model="acme/tiny")
    assert "WT011" not in found(tmp_path / "usual", base)
    assert len(found(tmp_path / "wild", base)["WT011"]) == 4


def test_without_the_bases_weights_it_is_said_that_nobody_looked(made: Path) -> None:
    skipped = weighbridge.validate(made / "wild").skipped
    assert any(s.code == "WT011" and "base model's weights" in s.reason for s in skipped)


def test_a_fused_model_holds_its_lora(made: Path) -> None:
    proof = weighbridge.verify(made / "usual", made / "fused", base=tiny_base("llama"))
    figures = dict(proof.steps[0].figures)
    assert proof.passed and figures["modules"] == 4
    assert float(figures["change_kept"]) == pytest.approx(1, abs=1e-3)
    assert weighbridge.verify(made / "usual", made / "requantised", base=made / "packed").passed


def test_a_change_that_packing_lost_is_no_proof(made: Path) -> None:
    proof = weighbridge.verify(made / "weak", made / "lost", base=made / "packed")
    assert not proof.passed and proof.steps[0].problems


def test_a_fused_model_holds_its_full_fine_tune(tmp_path: Path) -> None:
    base = base_of("qwen3_moe")
    run = trained_on(base, "full-qwen3-moe", fine_tune_type="full", num_layers=1)
    weighbridge.fuse(run, tmp_path / "ours", base=base)
    for fused in (tmp_path / "ours", fuse(base, run, tmp_path / "theirs")):
        proof = weighbridge.verify(run, fused, base=base)
        assert proof.passed and dict(proof.steps[0].figures)["change_kept"] == pytest.approx(1)
    assert not weighbridge.verify(run, base, base=base).passed


def test_another_loras_fuse_is_no_proof(made: Path) -> None:
    assert not weighbridge.verify(made / "wild", made / "fused", base=tiny_base("llama")).passed


def test_a_fused_model_that_is_the_base_is_an_error(made: Path) -> None:
    packed = made / "packed"
    assert "WT012" in found(packed, packed)
    assert "WT012" not in found(made / "requantised", packed)


def test_a_fused_model_needs_its_base_to_be_verified(made: Path) -> None:
    with pytest.raises(UsageError, match="--base"):
        weighbridge.verify(made / "usual", made / "fused")
