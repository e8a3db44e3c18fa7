"""Spellings and shapes that the rules on a whole model tell apart, beyond one example each."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.builders import FUSED_SPECS, encode, fused_files, lora_files, sharded_files, tensors
from tests.unit.examples_model import HEADS, Q, matrix, model
from tests.unit.subjects import Build, of
from weighbridge.domain.findings import judge
from weighbridge.domain.regular import backtracks
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.rules.index import escapes


def codes(build: Build) -> set[str]:
    report = judge(build(), CATALOGUE)
    assert report.crashed == ()
    return {f.code for f in report.findings}


@pytest.mark.parametrize(
    "shard",
    ["../x", "..", ".", "", "a/b", "/etc/passwd", "a\\b", "C:x", "c:\\x", "~", "~root", "a\0b",
     "%2e%2e%2fx", "..%2Fx", "%252e%252e%252f", "\uff0e\uff0e\uff0fx", "a\u2044b\uff0fc",
     "a\u202eb", "x\n"],
)  # fmt: skip
def test_every_spelling_of_a_way_out_is_one(shard: str) -> None:
    assert escapes(shard)
    index = {"weight_map": {spec.name: shard for spec in FUSED_SPECS}}
    files = fused_files() | {"model.safetensors.index.json": encode(index)}
    assert "IX003" in codes(of(files)) and "IX002" not in codes(of(files))


@pytest.mark.parametrize("shard", ["model.safetensors", "model-00001-of-00002.safetensors",
                                   "Modell-\u00e4.safetensors", "a.b-c_d"])  # fmt: skip
def test_plain_names_are_none(shard: str) -> None:
    assert not escapes(shard)


@pytest.mark.parametrize(
    "name",
    ["", "../../etc/passwd", "/abs", "~root", "a\\b", "\x1b[31mred", "a\u202eb", "x" * 501,
     "zero\u200bwidth", "line\nbreak"],
)  # fmt: skip
def test_names_that_deceive(name: str) -> None:
    assert "ST030" in codes(model(matrix(name, 1)))


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"num_hidden_layers": "1"}, "JS008"),
        ({"num_hidden_layers": 1.5}, "JS008"),
        ({"num_hidden_layers": True}, "JS008"),
        ({"rope_theta": "1e6"}, "JS008"),
        ({"tie_word_embeddings": "true"}, "JS008"),
        ({"vocab_size": 9}, "CF010"),
        ({"hidden_size": 32}, "CF010"),
        ({"eos_token_id": [7, 8]}, "CF013"),
        ({"bos_token_id": -1}, "CF013"),
        ({"quantization": {"mode": "mxfp5"}}, "QT005"),
        ({"quantization": {"mode": "mxfp4", "bits": 8, "group_size": 32}}, "QT005"),
        ({"quantization": {"bits": 4, "group_size": 64, "a": {"bits": 9}}}, "QT005"),
    ],
)
def test_a_config_that_contradicts(config: dict[str, Any], code: str) -> None:
    assert code in codes(of(fused_files(**config)))


HEAD = [("k_proj", (8, 16)), ("v_proj", (8, 16)), ("o_proj", (16, 16)), ("q_proj", (16, 16))]


@pytest.mark.parametrize(("leaf", "shape"), HEAD)
def test_attention_has_the_shape_of_its_heads(leaf: str, shape: tuple[int, int]) -> None:
    name = Q.format(0).replace("q_proj", leaf)
    config = HEADS | {"num_key_value_heads": 2}
    assert "CF010" not in codes(model(matrix(name, *shape), **config))
    assert "CF010" in codes(model(matrix(name, shape[0] + 4, shape[1]), **config))
    assert "CF010" in codes(model(matrix(name, *shape, 1), **config))


_MIXTURE = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "hidden_size": 16,
            "intermediate_size": 40, "moe_intermediate_size": 24}  # fmt: skip
_LATENT = {"num_attention_heads": 4, "hidden_size": 16, "q_lora_rank": 10, "kv_lora_rank": 12,
           "qk_nope_head_dim": 6, "qk_rope_head_dim": 2, "v_head_dim": 5, "n_shared_experts": 2,
           "moe_intermediate_size": 8}  # fmt: skip
_DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 3,
          "linear_value_head_dim": 5}  # fmt: skip
_STATES = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 3}


@pytest.mark.parametrize(
    ("model_type", "path", "shape", "config"),
    [
        ("qwen3_moe", "self_attn.k_proj", (12, 16), _MIXTURE),
        ("qwen3_moe", "self_attn.o_proj", (16, 24), _MIXTURE),
        ("qwen3_moe", "mlp.experts.1.down_proj", (16, 24), _MIXTURE | {"num_experts": 2}),
        ("qwen3_moe", "mlp.switch_mlp.up_proj", (2, 24, 16), _MIXTURE | {"num_experts": 2}),
        ("mixtral", "block_sparse_moe.experts.0.w1", (40, 16), _MIXTURE | {"num_local_experts": 1}),
        # A key that the type does not read says nothing of its experts.
        ("jamba", "feed_forward.experts.0.gate_proj", (40, 16), _MIXTURE | {"num_experts": 1}),
        ("qwen3_next", "self_attn.q_proj", (48, 16), _MIXTURE),
        ("qwen3_next", "linear_attn.in_proj_qkvz", (52, 16), _MIXTURE | _DELTA),
        ("deepseek_v3", "self_attn.q_b_proj", (32, 10), _LATENT),
        ("deepseek_v3", "self_attn.kv_b_proj", (44, 12), _LATENT),
        ("deepseek_v3", "mlp.shared_experts.gate_proj", (16, 16), _LATENT),
        ("granitemoehybrid", "mamba.in_proj", (80, 16), {"hidden_size": 16} | _STATES),
    ],
)
def test_a_module_of_any_tree_has_the_sizes_of_its_config(
    model_type: str, path: str, shape: tuple[int, ...], config: dict[str, Any]
) -> None:
    def found(*sizes: int, **changed: int) -> bool:
        spec = matrix(f"model.layers.0.{path}.weight", *sizes)
        said = {"num_hidden_layers": 1, "model_type": model_type} | config | changed
        return "CF010" in codes(model(spec, **said))

    assert not found(*shape)
    assert found(*shape[:-2], shape[-2] + 2, shape[-1])
    assert found(*shape[:-2], shape[-2], shape[-1] + 2)
    assert found(*shape, hidden_size=34) or "hidden_size" not in config or shape[-1] != 16


_LISTED = {"layer_types": ["linear_attention", "full_attention"]}


@pytest.mark.parametrize(
    ("model_type", "parts", "right", "wrong"),
    [
        ("deepseek_v3", ("mlp.up_proj", "mlp.gate"), {"first_k_dense_replace": 1},
         {"first_k_dense_replace": 2}),
        ("glm4_moe", ("mlp.up_proj", "mlp.gate"), {"mlp_layer_types": ["dense", "sparse"]},
         {"mlp_layer_types": ["sparse", "dense"]}),
        ("lfm2_moe", ("feed_forward.w1", "feed_forward.gate"), {"num_dense_layers": 1},
         {"num_dense_layers": 0}),
        ("qwen3_moe", ("mlp.up_proj", "mlp.gate"), {"decoder_sparse_step": 2,
                                                    "mlp_only_layers": []},
         {"decoder_sparse_step": 1, "mlp_only_layers": []}),
        ("qwen3_next", ("linear_attn.out_proj", "self_attn.o_proj"), _LISTED,
         {"layer_types": _LISTED["layer_types"][::-1]}),
        ("lfm2", ("conv.in_proj", "self_attn.q_proj"),
         {"layer_types": ["conv", "full_attention"]}, {"layer_types": ["full_attention", "conv"]}),
    ],
)  # fmt: skip
def test_layers_are_of_the_kind_that_the_config_says(
    model_type: str, parts: tuple[str, str], right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    specs = [matrix(f"model.layers.{n}.{part}.weight", 4, 4) for n, part in enumerate(parts)]
    said = {"model_type": model_type, "num_hidden_layers": 2}
    assert "CF015" not in codes(model(*specs, **said | right))
    assert "CF015" in codes(model(*specs, **said | wrong))
    assert "CF015" not in codes(model(*specs, **said | wrong | {"model_type": "llama"}))


@pytest.mark.parametrize(("layers", "wrong"), [((0, 1), False), ((0,), True), ((1,), True),
                                              ((), False)])  # fmt: skip
def test_a_tower_has_the_layers_that_its_config_counts(
    layers: tuple[int, ...], wrong: bool
) -> None:
    tower = [matrix(f"vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.weight", 4, 4)
             for n in layers]  # fmt: skip
    said = {"model_type": "gemma3", "vision_config": {"num_hidden_layers": 2}}
    assert ("CF011" in codes(model(*tower, **said))) is wrong


def test_a_stack_of_experts_lies_either_way() -> None:
    config = {"model_type": "gpt_oss", "num_hidden_layers": 1, "hidden_size": 16,
              "intermediate_size": 12, "num_local_experts": 2}  # fmt: skip
    name = "model.layers.0.mlp.experts.gate_up_proj"
    for sizes, wrong in (((16, 24), False), ((24, 16), False), ((16, 20), True)):
        assert ("CF010" in codes(model(matrix(name, 2, *sizes), **config))) is wrong


def test_a_hole_between_layers_is_a_wrong_count() -> None:
    specs = [matrix(Q.format(n), 16, 16) for n in (0, 2)]
    assert "CF011" in codes(model(*specs, num_hidden_layers=3))
    assert "CF011" in codes(model(*specs, num_hidden_layers=2))


@pytest.mark.parametrize("count", [None, 0, 3])
def test_experts_that_the_config_does_not_count(count: int | None) -> None:
    """transformers takes 128 where nothing is said."""
    stack = matrix("model.layers.0.mlp.switch_mlp.up_proj.weight", 2, 24, 16)
    said = {} if count is None else {"num_experts": count}
    config = {"model_type": "qwen3_moe", "num_hidden_layers": 1, "moe_intermediate_size": 24}
    assert "CF010" in codes(model(stack, **config, **said))
    assert "CF010" not in codes(model(stack, **config, num_experts=2))
    # Its width is 768 where nothing is said.
    assert "CF010" in codes(model(stack, **config | {"moe_intermediate_size": 0}, num_experts=2))
    del config["moe_intermediate_size"]
    assert "CF010" in codes(model(stack, **config, num_experts=2))


def test_layers_of_prediction_may_follow() -> None:
    specs = [matrix(Q.format(n), 16, 16) for n in (0, 1)]
    config = {"num_hidden_layers": 1, "num_nextn_predict_layers": 1}
    assert "CF011" in codes(model(*specs, **config))
    joint = matrix("model.layers.1.eh_proj.weight", 16, 32)
    assert "CF011" not in codes(model(*specs, joint, **config))


def test_other_tools_may_write_lists() -> None:
    assert codes(of(fused_files() | {"data_config.json": b"[]"})) == set()
    assert "JS006" in codes(of(fused_files() | {"generation_config.json": b"[]"}))


def test_a_shard_of_another_count_is_seen() -> None:
    files = sharded_files()
    other = files.pop("model-00002-of-00002.safetensors")
    files["model-00002-of-00003.safetensors"] = other
    index = {
        FUSED_SPECS[0].name: "model-00001-of-00002.safetensors",
        FUSED_SPECS[1].name: "model-00002-of-00003.safetensors",
    }
    files["model.safetensors.index.json"] = encode({"weight_map": index})
    assert codes(of(files)) == {"IX010"}


def test_a_tensor_of_a_lora_may_be_of_any_dtype_that_mlx_has() -> None:
    specs = [evolve(FUSED_SPECS[0], name="x", dtype=d) for d in ("F64", "F8_E5M2", "F4")]
    for spec in specs:
        files = lora_files() | {"adapters.safetensors": tensors([spec])}
        assert "ST031" in codes(of(files))


@pytest.mark.parametrize(
    ("pattern", "runs_away"),
    [
        (r"(a+)+$", True), (r"(a*)*", True), (r"((a+)b?)*", True), (r"(a|a)*", True),
        (r"([a-z]+)*", True), (r"(.*a){20}", True), (r".*.*.*.*.*.*.*.*b", True), ("(", True),
        ("a" * 3000, True), (r"(\(+)+", True), (r"(?:a+){2,}", True),
        (r".*\.(q|v)_proj", False), ("all-linear", False), (r"(?:model\.)?layers\.\d+\.x", False),
        (r"^(?!.*lm_head).*\.(q_proj|k_proj)$", False), (r"[(+]+[)+]+", False), 
        (r"(a{2}){3}", False), (r"\(a+\)+", False),
    ],
)  # fmt: skip
def test_expressions_that_run_away(pattern: str, runs_away: bool) -> None:
    assert backtracks(pattern) is runs_away
