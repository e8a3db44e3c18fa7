"""Back to MLX: what came from there is the same bits, what PEFT made is the same function."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weighbridge

from .cases import Case
from .run import base_of, quiet, trained
from .stacks import mlx_logits, peft_logits

pytestmark = [
    pytest.mark.slow,
    # PEFT warns of parameters that it wraps twice and of files that name a local base.
    pytest.mark.filterwarnings("ignore"),
]
_TYPES = (
    "llama", "mixtral", "qwen3_moe", "qwen2_moe", "lfm2_moe", "granitemoehybrid", "gpt2",
    "gpt_neox", "gemma3", "phi3", "deepseek_v3", "laguna", "qwen3_vl_moe",
)  # fmt: skip
LOSSLESS = [
    *(Case(name, profile="peft") for name in _TYPES),
    Case("qwen3", "DoRA", "peft"),
    Case("llama", "embeddings, head", "peft"),
    Case("llama", "q, odd scale", "peft"),
    Case("mixtral", "last layer", "peft"),
    *(
        Case(name, training, "peft")
        for training in ("up, odd rank", "gate")
        for name in ("qwen3_moe", "granitemoe")
    ),
]
PORTABLE = [
    *(Case(name) for name in _TYPES),
    Case("llama", "embeddings, head"),
    Case("llama", "q, odd scale"),
    Case("qwen2_moe", "all, odd scale"),
]


def _back(adapters: Path, base: Path, scratch: Path, profile: str) -> Path:
    with quiet():
        weighbridge.convert(adapters, scratch / "peft", base=base, profile=profile)
        weighbridge.convert(scratch / "peft", scratch / "mlx", base=base, to="mlx")
    return scratch / "mlx"


def _contents(directory: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    held = load_file(directory / "adapters.safetensors")
    return {name: (str(v.dtype), v.shape, v.tobytes()) for name, v in held.items()}


@pytest.mark.parametrize("case", LOSSLESS, ids=lambda case: case.name)
def test_to_peft_and_back_is_the_identity(case: Case, tmp_path: Path) -> None:
    base, adapters, _ = trained(case)
    back = _back(adapters, base, tmp_path, "peft")
    assert _contents(back) == _contents(adapters)
    np.testing.assert_array_equal(mlx_logits(base, back), mlx_logits(base, adapters))


@pytest.mark.parametrize("case", PORTABLE, ids=lambda case: case.name)
def test_the_portable_form_comes_back_as_the_same_function(case: Case, tmp_path: Path) -> None:
    base, adapters, _ = trained(case)
    back = _back(adapters, base, tmp_path, "portable")
    expected = mlx_logits(base, adapters)
    assert _apart(mlx_logits(base, back), expected) < 1e-5
    assert _apart(mlx_logits(base, None), expected) > 1e-2


def _apart(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


_EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
_DENSE_GRANITE = {"num_local_experts": 0, "shared_intermediate_size": 96}
#: By name: the architecture, fields of its config, and options of LoraConfig.
MADE_BY_PEFT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "rank-stabilised": ("llama", {}, {"target_modules": ["q_proj", "up_proj"], "use_rslora": True}),
    "ranks and strengths": (
        "llama", {}, {
            "target_modules": [*_ATTENTION, "down_proj"],
            "rank_pattern": {"v_proj": 2, "model.layers.1.mlp.down_proj": 6},
            "alpha_pattern": {"v_proj": 12, "model.layers.0.self_attn.q_proj": 3},
        },
    ),
    "DoRA": ("llama", {}, {"target_modules": _ATTENTION, "use_dora": True}),
    "embeddings": ("llama", {}, {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    "some layers": (
        "qwen3", {}, {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]},
    ),
    "weights of (in, out)": ("gpt2", {}, {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "experts, joint ranks": (
        "qwen2_moe", {}, {"target_modules": ["q_proj"], "target_parameters": _EXPERTS},
    ),
    "experts by a target's name": ("qwen3_moe", {}, {"target_modules": ["gate_proj", "up_proj",
                                                                         "down_proj"]}),
    "rows, joint ranks": (
        "granitemoehybrid", _DENSE_GRANITE, {"target_modules": ["input_linear", "output_linear"]},
    ),
}  # fmt: skip


def _made_by_peft(
    base: Path, directory: Path, options: dict[str, Any], embeddings: Any = False
) -> Path:
    """What PEFT saves of a LoRA with random values in both matrices."""
    torch, peft = import_module("torch"), import_module("peft")
    load = import_module("weighbridge.adapters.workers.peft_logits_worker").load_base
    config = peft.LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = peft.get_peft_model(load(str(base))[0], config)
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
                parameter.normal_(0, 0.1)
            elif "magnitude" in name:
                parameter.mul_(1.1)
    model.save_pretrained(directory, save_embedding_layers=embeddings)
    return directory


def _in_half(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = directory / "adapter_model.safetensors"
    halved = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(halved, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "half"),
    [(name, False) for name in MADE_BY_PEFT]
    + [("ranks and strengths", True), ("experts, joint ranks", True)],
)
def test_what_peft_made_is_the_same_function_in_mlx(name: str, half: bool, tmp_path: Path) -> None:
    model_type, fields, options = MADE_BY_PEFT[name]
    base = base_of(model_type, fields)
    made = _made_by_peft(base, tmp_path / "peft", options)
    if half:
        _in_half(made)
    with quiet():
        weighbridge.convert(made, tmp_path / "mlx", base=base, base_model="acme/base", to="mlx")
        plain, expected, _ = peft_logits(base, made)
    assert _apart(mlx_logits(base, tmp_path / "mlx"), expected) < 1e-4
    assert _apart(plain, expected) > 1e-2


def test_a_copy_of_the_bases_embeddings_is_left_out(tmp_path: Path) -> None:
    base = base_of("llama")
    options = MADE_BY_PEFT["embeddings"][2]
    made = _made_by_peft(base, tmp_path / "peft", options, embeddings="auto")
    with quiet():
        weighbridge.convert(made, tmp_path / "mlx", base=base, base_model="acme/base", to="mlx")
        _, expected, _ = peft_logits(base, made)
    assert _apart(mlx_logits(base, tmp_path / "mlx"), expected) < 1e-4
