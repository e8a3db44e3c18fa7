"""Other people's PEFT adapters to MLX: the same logits in mlx-lm as in PEFT, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx_lm")
pytest.importorskip("peft")

import weighbridge
from tests.matrix.stacks import mlx_logits, peft_logits
from tests.mlx_artifacts import tiny_base
from weighbridge.domain.errors import InvalidModelStructure, NotConvertible

pytestmark = pytest.mark.slow

Edit = Callable[[Path], object]
_QV: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}


def written(base: Path, out: Path, embeddings: bool = False, **form: Any) -> Path:
    """A LoRA with random factors on that base, as ``save_pretrained`` leaves it."""
    import torch

    peft, transformers = import_module("peft"), import_module("transformers")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    options = {"r": 4, "lora_alpha": 10, "task_type": "CAUSAL_LM"} | _QV | form
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(out, save_embedding_layers=embeddings)
    return out


def configured(adapter: Path, **config: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def renamed(adapter: Path, edit: Callable[[str, Any], tuple[str, Any]]) -> None:
    import torch

    safetensors = import_module("safetensors.torch")
    path = adapter / "adapter_model.safetensors"
    held: dict[str, torch.Tensor] = safetensors.load_file(path)
    changed = dict(edit(name, tensor) for name, tensor in held.items())
    safetensors.save_file({k: v.contiguous() for k, v in changed.items()}, path)


def refusal(adapter: Path, base: Path | None, out: Path) -> str:
    with pytest.raises(NotConvertible) as caught:
        weighbridge.convert(adapter, out, to="mlx", base=base)
    assert not out.exists()
    return " ".join(caught.value.reasons)


@pytest.mark.parametrize(
    ("form", "later"),
    [
        ({"use_rslora": True, "rank_pattern": {"v_proj": 7}, "alpha_pattern": {"q_proj": 3}}, {}),
        ({"lora_alpha": -10, "alpha_pattern": {"q_proj": 3}}, {}),
        ({"lora_alpha": 0, "alpha_pattern": {"q_proj": 9}}, {}),
        ({"exclude_modules": ["0.self_attn.q_proj"]}, {}),
        ({"exclude_modules": r".*\.0\..*q_proj"}, {}),
        ({"target_modules": "all-linear"}, {"target_modules": "all-linear"}),
        ({"layers_to_transform": []}, {}),
        ({"layers_to_transform": [1]}, {}),
        ({"init_lora_weights": "gaussian"}, {}),
        ({"target_modules": ["q_proj", "lm_head"]}, {}),
    ],
)
def test_the_same_logits(form: dict[str, Any], later: dict[str, Any], tmp_path: Path) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft", **form)
    configured(adapter, **later)
    weighbridge.convert(adapter, tmp_path / "mlx", to="mlx", base=base, base_model="acme/tiny")
    plain, in_peft, _ = peft_logits(base, adapter)
    in_mlx = mlx_logits(base, tmp_path / "mlx")
    # A negative scale in a config would be taken for a slip.
    told = json.loads((tmp_path / "mlx" / "adapter_config.json").read_text())
    assert told["lora_parameters"]["scale"] > 0
    assert np.abs(in_mlx - in_peft).max() < 1e-5 * np.abs(plain).max()
    assert np.abs(in_peft - plain).max() > 1e-2 * np.abs(plain).max()


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_a_lora_on_a_base_that_peft_changes_is_refused(init: str, tmp_path: Path) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft", init_lora_weights=init)
    assert "merge_and_unload" in refusal(adapter, base, tmp_path / "mlx")


def _excluded(adapter: Path) -> None:
    configured(adapter, exclude_modules=["q_proj"])


def _elsewhere(adapter: Path) -> None:
    renamed(adapter, lambda name, tensor: (name.replace("layers.1.", "layers.7."), tensor))


def _narrow(adapter: Path) -> None:
    renamed(adapter, lambda name, t: (name, t[:, :32] if "lora_A" in name else t))


def _named_default(adapter: Path) -> None:
    renamed(adapter, lambda name, t: (name.replace(".weight", ".default.weight"), t))


def _invalid(adapter: Path) -> None:
    configured(adapter, target_modules="(")


def _another_kind(adapter: Path) -> None:
    configured(adapter, peft_type="VERA")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_excluded, "q_proj: is not selected by the config"),
        (_elsewhere, "the base has no model.layers.7.self_attn.q_proj"),
        (_narrow, "maps 32 -> 64, but the base's"),
        (_named_default, "weighbridge repair"),
        (_invalid, "the target selection is invalid"),
        (_another_kind, "peft_type is 'VERA', not LORA; PEFT's merge_and_unload"),
    ],
)
def test_what_is_none_of_the_base_is_refused(edit: Edit, reason: str, tmp_path: Path) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft")
    edit(adapter)
    assert reason in refusal(adapter, base, tmp_path / "mlx")


def test_a_head_that_the_base_ties_is_refused(tmp_path: Path) -> None:
    base = tiny_base("llama", tied=True)
    adapter = written(base, tmp_path / "peft", target_modules=["q_proj", "lm_head"])
    assert "ties its head" in refusal(adapter, base, tmp_path / "mlx")


def test_a_head_on_an_unknown_base_is_remarked(tmp_path: Path) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft", target_modules=["q_proj", "lm_head"])
    told = [
        weighbridge.convert(adapter, tmp_path / name, to="mlx", base=at, base_model="acme/tiny")
        for name, at in (("alone", None), ("with the base", base))
    ]
    assert [[note for note in made.plan.notes if "lm_head" in note] != [] for made in told
            if made.plan] == [True, False]  # fmt: skip


def trained_whole(adapter: Path) -> None:
    """Every whole weight of it is another than the base's."""
    renamed(adapter, lambda name, value: (name, value if "lora_" in name else value * 1.5))


def as_float32(adapter: Path) -> None:
    renamed(adapter, lambda name, value: (name, value.float()))


_SAVED: dict[str, Any] = {"embeddings": True, "target_modules": ["q_proj", "lm_head"]}


@pytest.mark.parametrize(
    ("form", "tensor"),
    [
        ({"modules_to_save": ["lm_head"]}, "lm_head.weight"),
        ({"embeddings": True}, "model.embed_tokens.weight"),
        (_SAVED, "lm_head.base_layer.weight"),
    ],
)
def test_trained_whole_weights_are_refused_with_the_way_out(
    form: dict[str, Any], tensor: str, tmp_path: Path
) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft", **form)
    trained_whole(adapter)
    reasons = refusal(adapter, base, tmp_path / "mlx")
    assert f"base_model.model.{tensor}: is a whole weight" in reasons
    assert "save_embedding_layers=False" in reasons and "merge_and_unload" in reasons


@pytest.mark.parametrize(
    ("tied", "dtype", "form", "edit"),
    [
        (False, "float32", _SAVED, None),
        (True, "float32", {"embeddings": True}, None),
        (False, "bfloat16", {"embeddings": True}, as_float32),
    ],
    ids=["adapted head", "tied", "base in bfloat16"],
)
def test_the_bases_own_weights_are_left_out(
    tied: bool, dtype: Any, form: dict[str, Any], edit: Edit | None, tmp_path: Path
) -> None:
    base = tiny_base("llama", tied=tied, dtype=dtype)
    adapter, out = written(base, tmp_path / "peft", **form), tmp_path / "mlx"
    if edit is not None:
        edit(adapter)
    assert "--base DIR" in refusal(adapter, None, tmp_path / "none")
    made = weighbridge.convert(adapter, out, to="mlx", base=base, base_model="acme/tiny")
    assert made.plan is not None and "whole weights are the base's own" in made.plan.notes[0]
    again = weighbridge.convert(out, tmp_path / "peft again", base=base, base_model="acme/tiny")
    assert again.proof is not None and again.proof.passed
    held = {spec.name for spec in made.plan.specs}
    assert held and not any("embed" in name for name in held)


def test_a_resized_vocabulary_is_told(tmp_path: Path) -> None:
    base = tiny_base("llama", tied=False)
    adapter = written(base, tmp_path / "peft", embeddings=True)
    renamed(adapter, lambda n, v: (n, v if "lora_" in n else v.repeat(2, 1)))
    assert "the vocabulary was resized" in refusal(adapter, base, tmp_path / "mlx")


def test_pickled_weights_are_named(tmp_path: Path) -> None:
    adapter = written(tiny_base("llama", tied=False), tmp_path / "peft")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(InvalidModelStructure, match="is pickled"):
        weighbridge.convert(adapter, tmp_path / "mlx", to="mlx")
