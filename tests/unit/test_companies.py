"""What is missing, or too much, in models whose layers are not alike."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import fused_files, tensors
from tests.unit.examples_model import matrix
from tests.unit.subjects import Build, of
from weighbridge.domain.findings import judge
from weighbridge.domain.rules import CATALOGUE

_TRUNK = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
_NORMS = ("input_layernorm", "post_attention_layernorm")
_QKVO = tuple(f"self_attn.{leaf}_proj" for leaf in "qkvo")
_MLP = tuple(f"mlp.{leaf}_proj" for leaf in ("gate", "up", "down"))
_STACKS = tuple(f"mlp.switch_mlp.{leaf}_proj" for leaf in ("gate", "up", "down"))
_EACH = tuple(f"mlp.experts.{n}.{leaf}_proj" for n in range(2) for leaf in ("gate", "up", "down"))
_SHARED = tuple(f"mlp.shared_expert.{leaf}_proj" for leaf in ("gate", "up", "down"))
_DELTA = tuple(f"linear_attn.{leaf}" for leaf in ("in_proj_qkvz", "in_proj_ba", "conv1d", "norm",
                                                  "out_proj"))  # fmt: skip
_LATENT = ("q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm",
           "kv_b_proj", "o_proj")  # fmt: skip
_MAMBA = tuple(f"mixer.{leaf}" for leaf in ("in_proj", "x_proj", "dt_proj", "out_proj", "conv1d"))

#: By model type: what is around the layers, and what is in each.
MODELS: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "qwen3_moe": (
        _TRUNK,
        [(*_NORMS, *_QKVO, *_MLP), *[(*_NORMS, *_QKVO, *_STACKS, "mlp.gate")] * 2],
    ),
    "mixtral": (
        _TRUNK,
        [(*_NORMS, *_QKVO, "block_sparse_moe.gate",
          *(f"block_sparse_moe.experts.{n}.w{k}" for n in range(2) for k in (1, 2, 3)))] * 2,
    ),
    "qwen3_next": (
        _TRUNK,
        [(*_NORMS, *_DELTA, *_EACH, "mlp.gate", *_SHARED, "mlp.shared_expert_gate"),
         (*_NORMS, *_QKVO, *_EACH, "mlp.gate", *_SHARED, "mlp.shared_expert_gate")],
    ),
    "deepseek_v3": (
        _TRUNK,
        [(*_NORMS, *(f"self_attn.{leaf}" for leaf in _LATENT), *_MLP)] * 2,
    ),
    "gpt_oss": (_TRUNK, [(*_NORMS, *_QKVO, *_STACKS, "mlp.router")] * 2),
    "glm4_moe": (_TRUNK, [(*_NORMS, *_QKVO, *_MLP), (*_NORMS, *_QKVO, *_STACKS, "mlp.gate")]),
    "granitemoe": (
        _TRUNK,
        [(*_NORMS, *_QKVO, *(f"block_sparse_moe.{leaf}" for leaf in
                             ("input_linear", "output_linear", "router.layer")))] * 2,
    ),
    "mamba2": (
        ("backbone.embeddings.weight", "backbone.norm_f.weight"),
        [("norm", *(f"mixer.{leaf}" for leaf in ("in_proj", "out_proj", "conv1d", "norm")))] * 2,
    ),
    # mlx-lm folds figures into its weights, so that no LoRA of it is converted.
    "falcon_h1": (
        _TRUNK,
        [("input_layernorm", "pre_ff_layernorm", *_QKVO,
          *(f"feed_forward.{leaf}_proj" for leaf in ("gate", "up", "down")),
          *(f"mamba.{leaf}" for leaf in ("in_proj", "out_proj", "conv1d")))] * 2,
    ),
    "mamba": (
        ("backbone.embeddings.weight", "backbone.norm_f.weight"),
        [("norm", *_MAMBA)] * 2,
    ),
}  # fmt: skip
_BARE = {
    "mamba": ("mixer.A_log", "mixer.D"),
    "qwen3_next": ("linear_attn.A_log", "linear_attn.dt_bias"),
    "gpt_oss": ("self_attn.sinks",),
    "glm4_moe": ("mlp.gate.e_score_correction_bias",),
    "mamba2": ("mixer.A_log", "mixer.D", "mixer.dt_bias"),
    "falcon_h1": ("mamba.A_log", "mamba.D", "mamba.dt_bias"),
}
#: Which of these there are only beside another.
_BESIDE = {"mlp.gate.e_score_correction_bias": "mlp.gate"}


def _names(model_type: str) -> list[str]:
    trunk, layers = MODELS[model_type]
    stem = trunk[0].partition(".")[0]
    names = list(trunk)
    for number, modules in enumerate(layers):
        owners = {m.partition(".")[0] for m in modules}
        bare = [b for b in _BARE.get(model_type, ()) if b.partition(".")[0] in owners
                and _BESIDE.get(b, modules[0]) in modules]  # fmt: skip
        names += [f"{stem}.layers.{number}.{m}.weight" for m in modules]
        names += [f"{stem}.layers.{number}.{m}" for m in bare]
    return names


def _model(model_type: str, *names: str, **config: Any) -> Build:
    listed = tensors([matrix(name, 4, 4) for name in names])
    config = {"num_hidden_layers": len(MODELS[model_type][1])} | config
    return of(fused_files(model_type=model_type, **config) | {"model.safetensors": listed})


def _found(build: Build, code: str) -> list[str]:
    report = judge(build(), CATALOGUE)
    assert report.crashed == ()
    return [f.location.inside for f in report.findings if f.code == code]


@pytest.mark.parametrize("model_type", MODELS)
def test_whole_models_lack_nothing(model_type: str) -> None:
    build = _model(model_type, *_names(model_type))
    assert _found(build, "CF021") == _found(build, "CF026") == []


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [
        ("qwen3_moe", ["self_attn.v_proj"]),
        ("qwen3_moe", ["mlp.gate"]),
        ("qwen3_moe", ["mlp.switch_mlp.down_proj"]),
        ("qwen3_moe", ["mlp.gate_proj"]),
        ("qwen3_moe", ["post_attention_layernorm"]),
        ("mixtral", ["block_sparse_moe.experts.0.w2", "block_sparse_moe.experts.1.w2"]),
        ("mixtral", ["block_sparse_moe.gate"]),
        ("qwen3_next", ["linear_attn.in_proj_ba"]),
        ("qwen3_next", ["linear_attn.conv1d"]),
        ("qwen3_next", ["mlp.shared_expert_gate"]),
        ("deepseek_v3", ["self_attn.kv_b_proj"]),
        ("deepseek_v3", ["self_attn.q_a_layernorm"]),
        ("mamba", ["mixer.dt_proj"]),
        ("mamba", ["mixer.out_proj"]),
        ("mamba2", ["mixer.norm"]),
        ("granitemoe", ["block_sparse_moe.output_linear"]),
        ("falcon_h1", ["mamba.in_proj"]),
        ("falcon_h1", ["self_attn.k_proj"]),
    ],
)
def test_what_no_layer_has(model_type: str, missing: list[str]) -> None:
    ends = tuple(f".{leaf}.weight" for leaf in missing)
    names = _names(model_type)
    lost = [name for name in names if name.endswith(ends)]
    assert lost
    found = _found(_model(model_type, *(n for n in names if n not in lost)), "CF021")
    assert sorted(found) == sorted(lost)


def test_a_tower_that_hands_on_nothing() -> None:
    text = [f"language_model.{n}" for n in _TRUNK[:2]]
    text += [f"language_model.model.layers.0.{m}.weight" for m in (*_NORMS, *_QKVO, *_MLP)]
    names = [*text, "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
             "vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight"]  # fmt: skip
    said = "multi_modal_projector"
    assert said in _found(_tower(*names), "CF021")
    assert said not in _found(_tower(*names, f"{said}.linear_1.weight"), "CF021")
    assert said not in _found(_tower(*text), "CF021")


def _tower(*names: str) -> Build:
    listed = tensors([matrix(name, 4, 4) for name in names])
    files = fused_files(model_type="llava", text_config={"model_type": "llama"})
    return of(files | {"model.safetensors": listed})


@pytest.mark.parametrize(
    ("model_type", "missing", "named"),
    [
        ("gpt_oss", "self_attn.sinks", "self_attn.sinks"),
        ("glm4_moe", "mlp.gate.e_score_correction_bias", "mlp.gate.e_score_correction_bias"),
        ("granitemoe", "block_sparse_moe.router.layer.weight", "block_sparse_moe.router.weight"),
    ],
)
def test_a_parameter_that_no_layer_has(model_type: str, missing: str, named: str) -> None:
    names = _names(model_type)
    lost = [name for name in names if name.endswith(missing)]
    found = _found(_model(model_type, *(n for n in names if n not in lost)), "CF021")
    assert lost
    assert [n.partition(".layers.")[2].partition(".")[2] for n in found] == [named] * len(lost)


def test_the_answer_of_a_vision_towers_attention() -> None:
    held = [f"visual.blocks.{n}.attn.{leaf}.weight" for n in (0, 1) for leaf in ("qkv", "proj")]
    names = [*_names("qwen3_moe"), *held]
    assert _found(_model("qwen3_moe", *names), "CF021") == []
    lost = _found(_model("qwen3_moe", *(n for n in names if "attn.proj" not in n)), "CF021")
    assert lost == [f"visual.blocks.{n}.attn.proj.weight" for n in (0, 1)]


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [
        ("qwen3_moe", "model.layers.2.self_attn.k_proj.weight"),
        ("qwen3_moe", "model.layers.1.mlp.gate.weight"),
        ("qwen3_moe", "model.layers.1.input_layernorm.weight"),
        ("qwen3_next", "model.layers.1.mlp.experts.1.up_proj.weight"),
        ("qwen3_next", "model.embed_tokens.weight"),
        ("mixtral", "model.norm.weight"),
        ("mamba", "backbone.layers.1.mixer.in_proj.weight"),
    ],
)
def test_what_one_layer_lacks(model_type: str, missing: str) -> None:
    names = [name for name in _names(model_type) if name != missing]
    assert _found(_model(model_type, *names), "CF021") == [missing]


@pytest.mark.parametrize(
    "name",
    ["foo.weight", "model.foo.weight", "v_head.summary.weight", "model.layers.1.mlp.extra.weight",
     "model.layers.0.self_attn.hook.mask"],
)  # fmt: skip
def test_what_no_model_has(name: str) -> None:
    names = _names("qwen3_moe")
    assert _found(_model("qwen3_moe", *names, name), "CF026") == [name]


@pytest.mark.parametrize(
    "name",
    ["mtp.fc.weight", "model.layers.3.eh_proj.weight", "model.rotary_emb.inv_freq",
     "model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.bias",
     "model.layers.1.mlp.gate.e_score_correction_bias"],
)  # fmt: skip
def test_what_some_models_have_beside(name: str) -> None:
    assert not _found(_model("qwen3_moe", *_names("qwen3_moe"), name), "CF026")


def test_biases_are_in_every_layer_or_in_none() -> None:
    names = _names("qwen3_moe")
    biases = [f"model.layers.{n}.self_attn.q_proj.bias" for n in range(3)]
    assert _found(_model("qwen3_moe", *names, biases[1]), "CF021") == [biases[0], biases[2]]
    assert not _found(_model("qwen3_moe", *names, *biases), "CF021")
    denied = _model("qwen3_moe", *names, *biases, attention_bias=False)
    assert _found(denied, "CF026") == [biases[0]]
    said = [name.replace("q_proj", f"{leaf}_proj") for leaf in "kqv" for name in biases[:1]]
    assert sorted(_found(_model("qwen3_moe", *names, attention_bias=True), "CF021")) == said


@pytest.mark.parametrize(
    ("missing", "first"),
    [("_layernorm.weight", "model.layers.0.input_layernorm.weight"),
     (".self_attn.", "model.layers.0.self_attn.weight"), (".mlp.", "model.layers.0.mlp.weight")],
)  # fmt: skip
def test_what_layers_are_made_of(missing: str, first: str) -> None:
    names = [name for name in _names("qwen3_moe") if missing not in name]
    assert first in _found(_model("qwen3_moe", *names), "CF021")


def test_others_packing_has_its_modules_together_too() -> None:
    modules = [f"model.layers.{n}.self_attn.{m}_proj" for n in range(2) for m in "qko"]
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}}
    build = _model("qwen3_moe", *(f"{m}.qweight" for m in modules), **awq)
    lost = [f"model.layers.{n}.self_attn.v_proj.weight" for n in range(2)]
    assert _found(build, "CF021") == lost


def test_no_more_experts_are_chosen_than_there_are() -> None:
    names = _names("qwen3_moe")
    for chosen, seen in ((2, []), (9, ["num_experts_per_tok"]), (0, ["num_experts_per_tok"])):
        build = _model("qwen3_moe", *names, num_experts=4, num_experts_per_tok=chosen)
        assert _found(build, "CF027") == seen
    for sizes, where in (({"n_group": 3}, "n_group"), ({"topk_group": 3}, "topk_group")):
        config = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1} | sizes
        assert _found(_model("deepseek_v3", *_names("deepseek_v3"), **config), "CF027") == [where]
    narrow = _model("qwen3_moe", *names, num_experts=4, moe_intermediate_size=0)
    assert _found(narrow, "CF027") == ["moe_intermediate_size"]


def test_a_tower_has_its_companies_too() -> None:
    tower = "vision_tower.vision_model.encoder.layers.0."
    held = [f"{tower}self_attn.{leaf}_proj.weight" for leaf in ("q", "k", "out")]
    held += [f"{tower}{leaf}.weight" for leaf in ("layer_norm1", "mlp.fc1", "mlp.fc2")]
    files = fused_files(model_type="gemma3", text_config={"model_type": "gemma3_text"})
    build = of(files | {"model.safetensors": tensors([matrix(name, 4, 4) for name in held])})
    lost = [f"{tower}layer_norm2.weight", f"{tower}self_attn.v_proj.weight"]
    assert [n for n in sorted(_found(build, "CF021")) if n.startswith(tower)] == lost
