"""A LoRA that was trained on a base MLX quantised: proved on its unpacked weights, the gap told."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("mlx_lm")

from mlx_lm import convert

import weighbridge
from tests.matrix.run import base_of
from tests.mlx_artifacts import cached, make_architecture
from tests.mlx_artifacts.bases import tiny_base
from tests.mlx_artifacts.training import quantise, train_lora
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.proof import ProofLevel

pytestmark = pytest.mark.slow


def _make(directory: Path) -> None:
    quantise(tiny_base("llama", dtype="bfloat16"), directory / "packed")
    train_lora(directory / "packed", directory / "run", model_name="mlx-community/tiny-4bit")


@pytest.fixture(scope="module")
def trained() -> Path:
    return cached("lora-on-four-bits", _make)


def test_the_quantised_copy_is_not_named_as_the_base(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(NotConvertible, match="name the original with --base-model"):
        weighbridge.convert(trained / "run", tmp_path / "out")


def test_logits_are_compared_on_the_unpacked_weights(trained: Path, tmp_path: Path) -> None:
    packed, full = trained / "packed", tiny_base("llama", dtype="bfloat16")
    run, out = trained / "run", tmp_path / "out"
    weighbridge.convert(run, out, base=packed, base_model="acme/tiny")
    proof = weighbridge.verify(run, out, base=packed, full_base=full)
    assert proof.passed and proof.level is ProofLevel.LOGITS
    figures = dict(proof.steps[-1].figures)
    assert float(figures["base_difference_relative"]) < 1e-4
    assert float(figures["lora_difference_relative"]) < 1e-4
    # what users of the full-precision base will see is far more than rounding, and no fault
    assert float(figures["full_base_difference_relative"]) > 1e-2
    assert 0 <= float(figures["full_base_argmax_agreement"]) <= 1


def _make_multimodal(directory: Path) -> None:
    full = make_architecture(directory / "full", "gemma3")
    quantise(full, directory / "packed")
    train_lora(directory / "packed", directory / "run", model_name="mlx-community/tiny-4bit")


def test_a_base_whose_tower_mlx_left_out_is_unpacked_as_what_it_came_from(tmp_path: Path) -> None:
    made = cached("lora-on-four-bits-of-gemma3", _make_multimodal)
    packed, run, out = made / "packed", made / "run", tmp_path / "out"
    weighbridge.convert(run, out, base=packed, base_model="acme/tiny")
    # On the original PEFT would adapt the tower's projections as well, of which nothing is held.
    proof = weighbridge.verify(run, out, base=packed, full_base=made / "full")
    assert proof.passed and proof.level is ProofLevel.LOGITS
    assert "full_base_difference_relative" in dict(proof.steps[-1].figures)


def _make_renamed(directory: Path, model_type: str) -> None:
    convert(str(base_of(model_type)), str(directory / "copy"))
    train_lora(directory / "copy", directory / "run", model_name="mlx-community/tiny-bf16")


@pytest.mark.parametrize("model_type", ["qwen3_5", "gpt2"])
def test_a_copy_that_is_not_packed_is_read_by_mlxs_names(model_type: str, tmp_path: Path) -> None:
    make = partial(_make_renamed, model_type=model_type)
    made = cached(f"lora-on-a-copy-of-{model_type.replace('_', '-')}", make)
    weighbridge.convert(made / "run", tmp_path / "out", base=made / "copy", base_model="acme/tiny")
    proof = weighbridge.verify(made / "run", tmp_path / "out", base=made / "copy")
    assert proof.passed and proof.level is ProofLevel.LOGITS
