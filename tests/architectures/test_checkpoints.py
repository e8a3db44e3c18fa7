"""``fuse`` and ``dequantize`` on every architecture: what they write answers as MLX does.

transformers has to load it with no key missing and none left over, since it would go on otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weighbridge
from tests.mlx_artifacts.architectures import APART
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.placement import Stored

from .stacks import Array, Base, answer_of, directory_of, mlx_answer_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_SCALE = 4.0
#: What a fused MLX model of these lacks; nothing that transformers loads can be made of it.
_INCOMPLETE = {
    "ernie4_5_moe": "the routers' e_score_correction_bias",
    **dict.fromkeys(
        ("minimax_m3_vl", "mistral3, mistral4", "muse_glimmer", "qwen2_5_vl", "qwen2_vl",
         "qwen3_vl", "qwen3_vl_moe"),
        "the vision tower and its projector",
    ),
}  # fmt: skip
#: Experts or values that cannot be brought back.
_REFUSED = {"dbrx": "blocks of rows", "falcon_h1": "multipliers", "gpt_oss": "interleaves"}
#: mlx-lm cannot quantise a tied head of that width, or load what it wrote.
_NOT_PACKED = ("granite", "granitemoe", "llama4_text")


def limit(case: str) -> float:
    """How far apart the stacks may be, relative to the largest logit."""
    return max(1e-4, APART.get(case, 0.0))


def far(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def train(directory: Path, base: Base, run: Path) -> Array:
    """A LoRA of noise on all that can have one and has a place; MLX's answer with it."""
    mx, utils = import_module("mlx.core"), import_module("mlx_lm.utils")
    tuner = import_module("mlx_lm.tuner.utils")
    tree = import_module("mlx.utils")
    keys = [
        name.removesuffix(".weight")
        for name, tensor in base.mlx.items()
        if tensor.lora
        and (isinstance(base.architecture.restore(name), Stored) or not base.architecture.rules)
    ]
    if base.architecture.model_type == "llama4_text":
        # mlx-lm reads the weight of its tied embedding, which a LoRA there has not.
        keys.remove("model.embed_tokens")
    model, _ = utils.load_model(directory)
    parameters = {"rank": 2, "scale": _SCALE, "dropout": 0.0, "keys": keys}
    tuner.linear_to_lora_layers(model, len(model.layers), parameters)
    generator = np.random.default_rng(3)
    noise = {
        name: mx.array(generator.normal(0, 0.05, value.shape).astype(np.float32))
        for name, value in tree.tree_flatten(model.parameters())
        if name.endswith(("lora_a", "lora_b"))
    }
    model.update(tree.tree_unflatten(list(noise.items())))
    run.mkdir()
    mx.save_safetensors(str(run / "adapters.safetensors"), noise)
    config = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": parameters}
    (run / "adapter_config.json").write_text(json.dumps(config))
    return mlx_answer_of(model)


def load(directory: Path) -> Array:
    """What transformers answers, if it loads every key and no other."""
    torch, transformers = import_module("torch"), import_module("transformers")
    config: Mapping[str, Any] = json.loads((directory / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0], transformers.AutoModelForCausalLM)
    model, told = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(told.values()), told
    return answer_of(model)


def test_fused(case: str, base: Base, tmp_path: Path) -> None:
    directory = directory_of(case)
    wanted = train(directory, base, tmp_path / "run")
    if case == "falcon_h1":
        with pytest.raises(NotConvertible, match=_REFUSED[case]):
            weighbridge.fuse(tmp_path / "run", tmp_path / "out", base=directory)
        return
    done = weighbridge.fuse(tmp_path / "run", tmp_path / "out", base=directory)
    assert done.proof.passed
    assert far(load(tmp_path / "out"), wanted) < limit(case)
    assert far(base.answers[0], wanted) > 10 * limit(case)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_dequantised(case: str, packed: bool, tmp_path: Path) -> None:
    if packed and case in _NOT_PACKED:
        packed = False
    mlx = tmp_path / "mlx"
    options = {"quantize": True, "q_bits": 8, "q_group_size": 32} if packed else {}
    import_module("mlx_lm").convert(str(directory_of(case)), str(mlx), **options)
    if why := _INCOMPLETE.get(case) or _REFUSED.get(case):
        with pytest.raises(NotConvertible, match=why):
            weighbridge.dequantize(mlx, tmp_path / "out")
        return
    done = weighbridge.dequantize(mlx, tmp_path / "out")
    assert done.proof.passed and bool(done.plan.packings) is packed
    wanted = mlx_answer_of(import_module("mlx_lm.utils").load_model(mlx)[0])
    assert far(load(tmp_path / "out"), wanted) < limit(case)
