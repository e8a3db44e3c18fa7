"""The binding and logits provers against the real MLX, transformers and PEFT.

The converter below is a throwaway: the shortest correct one, with a switch for each mistake that
published converters make.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

pytest.importorskip("mlx_lm")
pytest.importorskip("peft")

import mlx.core as mx
import safetensors.torch as torch_file
import torch
from safetensors.numpy import load_file, save_file

from tests.matrix.run import base_of
from tests.mlx_artifacts import cached, quantise, smollm2_base, tiny_base, tiny_lora, train_lora
from weighbridge.adapters.binding_prover import BindingProver
from weighbridge.adapters.logits_prover import LogitsProver
from weighbridge.adapters.workers import mlx_logits_worker, peft_logits_worker
from weighbridge.application.ports import ProofRequest
from weighbridge.domain.proof import ProofLevel, ProofStep

Tensors = dict[str, Any]
Edit = Callable[[Tensors], object]
SCALE = 20.0


def convert(source: Path, out: Path, *, alpha: float = 1.0, edit: Edit = len) -> Path:
    """Write the PEFT form; ``alpha`` multiplies lora_alpha, ``edit`` changes the tensors."""
    tensors: Tensors = {}
    for name, array in load_file(source / "adapters.safetensors").items():
        path, _, leaf = name.rpartition(".")
        key = f"base_model.model.{path}.lora_{leaf[-1].upper()}.weight"
        tensors[key] = np.ascontiguousarray(array.T)
    parts = [key.split(".") for key in tensors]
    rank = len(next(tensors[key] for key in tensors if "lora_A" in key))
    edit(tensors)
    out.mkdir(parents=True)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "acme/base",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": SCALE * rank * alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({part[-3] for part in parts}),
        "layers_to_transform": sorted({int(part[4]) for part in parts}),
        "layers_pattern": "layers",
        "bias": "none",
    }
    (out / "adapter_config.json").write_text(json.dumps(config))
    return out


def request(base: Path, source: Path, out: Path, **mistake: Any) -> ProofRequest:
    converted = convert(source, out / "peft", **mistake)
    return ProofRequest(source=str(source), converted=str(converted), base=str(base), scale=SCALE)


def on_llama(out: Path, **mistake: Any) -> ProofRequest:
    base = tiny_base("llama")
    return request(base, tiny_lora(base), out, **mistake)


@pytest.fixture
def llama(tmp_path: Path) -> ProofRequest:
    return on_llama(tmp_path)


def told(step: ProofStep) -> str:
    assert not step.passed
    return "\n".join(step.problems)


def transposed(tensors: Tensors) -> None:
    for key in tensors:
        tensors[key] = np.ascontiguousarray(tensors[key].T)


def one_model_short(tensors: Tensors) -> None:
    for key in list(tensors):
        tensors[key.replace("model.model.", "model.", 1)] = tensors.pop(key)


def swapped_layers(tensors: Tensors) -> None:
    for key in [key for key in tensors if ".layers.0." in key]:
        other = key.replace(".layers.0.", ".layers.1.")
        tensors[key], tensors[other] = tensors[other], tensors[key]


KEY = "base_model.model.model.layers.{}.weight"


def stray(name: str, *shape: int) -> Edit:
    return lambda tensors: tensors.update({KEY.format(name): np.ones(shape, np.float32)})


def dropped(tensors: Tensors) -> None:
    del tensors[KEY.format("1.mlp.up_proj.lora_B")]


DEFECTS = [
    ({"edit": transposed}, "size mismatch"),
    ({"edit": one_model_short}, "binds to nothing 28 tensors"),
    ({"edit": stray("0.input_layernorm.lora_A", 8, 64)}, "binds to nothing 1 tensor: "),
    ({"edit": stray("0.input_layernorm", 64)}, "replace weights of the base: 1 tensor: "),
    ({"edit": dropped}, f"PEFT misses 1 tensor: {KEY.format('1.mlp.up_proj.lora_B')}"),
]


def test_a_good_conversion_binds(llama: ProofRequest) -> None:
    prover = BindingProver()
    assert prover.obstacle(llama) is None
    step = prover.prove(llama)
    assert step.problems == ()
    assert step.passed and step.level is prover.level is ProofLevel.BINDING
    figures = dict(step.figures)
    assert figures["tensors"] == figures["tensors_bound"] == 28
    assert figures["modules_adapted"] == 14
    assert figures["missing"] == figures["unexpected"] == figures["replaced"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "words"), DEFECTS)
def test_binding_sees(mistake: dict[str, Any], words: str, tmp_path: Path) -> None:
    problem = told(BindingProver().prove(on_llama(tmp_path, **mistake)))
    assert words in problem
    assert problem.count("lora_") <= 40 and ("and 8 more" in problem) == ("28 tens" in problem)


@pytest.mark.slow
def test_binding_needs_no_weights_and_minds_no_mlx_quantisation(
    llama: ProofRequest, tmp_path: Path
) -> None:
    quantised = quantise(tiny_base("llama"), tmp_path / "quantised")
    (tmp_path / "bare").mkdir()
    shutil.copy(quantised / "config.json", tmp_path / "bare")
    assert BindingProver().prove(evolve(llama, base=str(tmp_path / "bare"))).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gemma", "qwen2"])
def test_a_good_conversion_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    base = tiny_base(family)
    prover = LogitsProver()
    asked = request(base, tiny_lora(base), tmp_path)
    assert prover.obstacle(asked) is None
    step = prover.prove(asked)
    assert step.problems == ()
    assert step.passed and step.level is prover.level is ProofLevel.LOGITS
    figures = dict(step.figures)
    assert figures["positions"] == 96 and figures["mlx_config"] == "as written"
    assert figures["argmax_agreement"] == 1.0
    assert 0 < float(figures["smallest_visible_scale_error"]) <= 0.01
    assert {type(value) for value in figures.values()} <= {int, float, str}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("rate", [1e-3, 1e-6])
def test_logits_see_one_per_cent_of_alpha(family: str, rate: float, tmp_path: Path) -> None:
    base = tiny_base(family)
    source = tiny_lora(base, learning_rate=rate)
    step = LogitsProver().prove(request(base, source, tmp_path, alpha=1.01))
    assert "the LoRA's effect in PEFT is" in told(step)


@pytest.mark.slow
def test_only_logits_see_swapped_layers(tmp_path: Path) -> None:
    asked = on_llama(tmp_path, edit=swapped_layers)
    assert BindingProver().prove(asked).passed
    assert "away from that in MLX" in told(LogitsProver().prove(asked))


@pytest.mark.slow
def test_logits_see_a_lora_that_peft_ignores(tmp_path: Path) -> None:
    step = LogitsProver().prove(on_llama(tmp_path, edit=one_model_short))
    assert "is 0.0000 times that in MLX" in told(step)


@pytest.mark.slow
def test_logits_prove_nothing_with_an_untrained_lora(tmp_path: Path) -> None:
    base = tiny_base("llama")
    asked = request(base, tiny_lora(base, learning_rate=0.0), tmp_path)
    assert told(LogitsProver().prove(asked)).startswith(
        "the LoRA has no measurable effect: every lora_b is zero"
    )


@pytest.mark.slow
def test_bases_that_are_read_differently_are_not_the_conversions_fault(tmp_path: Path) -> None:
    base = tiny_base("llama", agreeing_rope=False)
    step = LogitsProver().prove(request(base, tiny_lora(base), tmp_path))
    first, *suspects = step.problems
    assert not step.passed
    assert first.startswith("the base model differs between MLX and transformers")
    assert (
        'rope_theta: mlx-lm uses 10000, transformers uses 500000; add "rope_theta": 500000'
        in suspects[0]
    )
    assert "PEFT" not in told(step)


# mlx-lm 0.6 to 0.13: effective scale 10 * 16 / 8, which today's mlx-lm cannot even read; and
# 0.19 to 0.21: num_layers 1 and all layers trained.
OLDER: list[dict[str, Any]] = [
    {"lora_layers": 2, "lora_parameters": {"rank": 8, "alpha": 16, "scale": 10.0}},
    {"num_layers": 1, "lora_parameters": {"rank": 8, "dropout": 0.0, "scale": SCALE}},
]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["qwen3_5", "qwen3_next"])
def test_norms_that_mlx_lm_shifts_are_shifted_in_float32(model_type: str, tmp_path: Path) -> None:
    """mlx-lm adds 1 to them, and of those that are published in bfloat16 rounds the sum."""
    base = tmp_path / "base"
    shutil.copytree(base_of(model_type), base)
    for path in base.glob("*.safetensors"):
        held = {name: tensor.bfloat16() for name, tensor in torch_file.load_file(path).items()}
        torch_file.save_file(held, path, {"format": "pt"})
    tokens = np.random.default_rng(5).integers(4, 300, (2, 24))
    models = {
        "read.npy": import_module("mlx_lm.utils").load_model(base)[0],
        "ours.npy": mlx_logits_worker.load_base(base),
    }
    for name, model in models.items():
        mlx_logits_worker.save_logits(model, mx.array(tokens), tmp_path / name)
    model, _ = peft_logits_worker.load_base(str(base))
    peft_logits_worker.save_logits(model, torch.tensor(tokens), tmp_path / "torch.npy")
    read, ours, wanted = (np.load(tmp_path / f"{n}.npy") for n in ("read", "ours", "torch"))
    assert np.abs(ours - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(read - wanted).max() > 1e-3 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("old", OLDER)
def test_a_source_of_an_older_mlx_lm_is_proved_as_it_was_then(
    old: dict[str, Any], tmp_path: Path
) -> None:
    base, source = tiny_base("llama"), tmp_path / "source"
    shutil.copytree(tiny_lora(base), source)
    (source / "adapter_config.json").write_text(json.dumps(old))
    step = LogitsProver().prove(request(base, source, tmp_path))
    assert step.problems == ()
    assert dict(step.figures)["mlx_config"] == "stated anew"


@pytest.mark.slow
def test_smollm2(tmp_path: Path) -> None:
    base = cached("smollm2", smollm2_base)
    source = train_lora(base, tmp_path, num_layers=2, iters=2, learning_rate=1e-4)
    asked = request(base, source, tmp_path)
    assert BindingProver().prove(asked).problems == ()
    assert LogitsProver().prove(asked).problems == ()


@pytest.mark.slow
def test_nothing_in_the_working_directory_is_run(
    llama: ProofRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("open('run', 'w')")
    monkeypatch.chdir(tmp_path)
    assert BindingProver().prove(llama).passed
    assert not (tmp_path / "run").exists()
