"""The table speaks of every model of mlx-lm, and finds the entry for a base's config.json."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from weighbridge.domain.architectures import (
    ARCHITECTURES,
    UNKNOWN,
    architecture_for,
    architecture_of,
)
from weighbridge.domain.placement import (
    Experts,
    Impossible,
    Layout,
    Part,
    Plain,
    RouteForm,
    Rows,
    Standing,
    Stored,
)


def _mlx_models() -> list[str]:
    spec = find_spec("mlx_lm")
    assert spec is not None and spec.origin is not None
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return [path.stem for path in files if "class ModelArgs" in path.read_text("utf-8")]


def test_every_model_of_mlx_lm_has_an_entry() -> None:
    from mlx_lm.utils import MODEL_ARCHITECTURE_REMAPPING, MODEL_REMAPPING

    known = {*_mlx_models(), *MODEL_REMAPPING, *MODEL_ARCHITECTURE_REMAPPING.values()}
    assert len(known) > 130
    assert not known - set(ARCHITECTURES)


def test_each_entry_stands_under_its_own_name() -> None:
    assert all(name == entry.model_type for name, entry in ARCHITECTURES.items())


@pytest.mark.parametrize("entry", ARCHITECTURES.values(), ids=lambda entry: entry.model_type)
def test_what_is_not_proved_says_why(entry: object) -> None:
    assert isinstance(entry, type(UNKNOWN))
    assert (entry.standing is Standing.CONVERTIBLE) is not bool(entry.reason)
    assert (entry.standing is Standing.REFUSED) is not bool(entry.rules)


@pytest.mark.slow
def test_rewriting_is_what_peft_does() -> None:
    from peft.utils import transformers_weight_conversion as peft_table

    patterns = peft_table._MODEL_TO_CONVERSION_PATTERN
    forms = {form.value: form for form in RouteForm}
    for name, entry in ARCHITECTURES.items():
        has_experts = any(isinstance(rule.place, Experts) for rule in entry.rules)
        if has_experts and entry.standing is Standing.CONVERTIBLE:
            expected = forms.get(patterns.get(name, ""), RouteForm.NONE)
            assert entry.rewriting is expected, name


@pytest.mark.parametrize(
    ("config", "model_type", "path"),
    [
        ({"model_type": "mistral"}, "mistral", "model.layers.3.self_attn.q_proj"),
        (
            {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
            "gemma3",
            "model.language_model.layers.3.self_attn.q_proj",
        ),
        (
            {"model_type": "qwen3_5", "architectures": ["Qwen3_5ForCausalLM"]},
            "qwen3_5",
            "model.layers.3.self_attn.q_proj",
        ),
        ({"model_type": "qwen3_5_moe_text"}, "qwen3_5_moe", "model.layers.3.self_attn.q_proj"),
        (
            {"model_type": "minimax", "architectures": ["MiniMaxM2ForCausalLM"]},
            "minimax_m2",
            "model.layers.3.self_attn.q_proj",
        ),
    ],
)
def test_the_class_in_the_config_decides(
    config: dict[str, object], model_type: str, path: str
) -> None:
    entry = architecture_for(config)
    assert entry.model_type == model_type
    place = entry.place(f"{entry.inside}model.layers.3.self_attn.q_proj")
    assert isinstance(place, Plain) and place.path == path


def test_mistral_3_is_a_tower_around_the_nested_text_model() -> None:
    module = "language_model.model.layers.0.self_attn.q_a_proj"
    plain = architecture_for({"model_type": "mistral3", "text_config": {"model_type": "mistral"}})
    assert isinstance(plain.place(module), Impossible)
    fourth = architecture_for({"model_type": "mistral3", "text_config": {"model_type": "mistral4"}})
    place = fourth.place(module)
    assert isinstance(place, Plain)
    assert place.path == "model.language_model.layers.0.self_attn.q_a_proj"


def test_bailing_hybrid_is_two_models() -> None:
    v3 = {"model_type": "bailing_hybrid", "architectures": ["BailingMoeV3ForCausalLM"]}
    v2 = {"model_type": "bailing_hybrid", "architectures": ["BailingMoeV2_5ForCausalLM"]}
    assert architecture_for(v3).standing is Standing.CONVERTIBLE
    assert architecture_for(v2).standing is Standing.NEEDS_BASE


@pytest.mark.parametrize("config", [{}, {"model_type": 3}, {"model_type": None}])
def test_a_config_without_a_type_is_an_unknown_base(config: dict[str, object]) -> None:
    assert architecture_for(config) is UNKNOWN


@pytest.mark.parametrize("classes", [[], None, "LlamaForCausalLM", [7]])
def test_any_list_of_classes_is_read(classes: object) -> None:
    config = {"model_type": "llama", "architectures": classes}
    assert architecture_for(config) is ARCHITECTURES["llama"]


def test_an_unheard_of_type_is_refused_by_name() -> None:
    place = architecture_of("perceptron").place("model.layers.0.self_attn.q_proj")
    assert isinstance(place, Impossible) and "perceptron" in place.reason


def test_an_unknown_base_is_read_as_the_llama_tree_only() -> None:
    assert isinstance(UNKNOWN.place("model.layers.0.mlp.up_proj"), Plain)
    other = UNKNOWN.place("model.layers.0.mlp.switch_mlp.up_proj")
    assert isinstance(other, Impossible) and "give --base" in other.reason


def test_mixtral_has_three_names_for_an_expert() -> None:
    place = architecture_of("mixtral").place("model.layers.7.block_sparse_moe.switch_mlp.up_proj")
    assert isinstance(place, Experts) and place.part is Part.UP
    assert place.container == "model.layers.7.mlp.experts"
    assert place.each(11) == "model.layers.7.block_sparse_moe.experts.11.w3"


def test_the_router_is_a_parameter_only_where_it_holds_its_weight_itself() -> None:
    router = architecture_of("qwen3_moe").place("model.layers.0.mlp.gate")
    linear = architecture_of("afmoe").place("model.layers.0.mlp.router.gate")
    assert isinstance(router, Plain) and router.parameter
    assert isinstance(linear, Plain) and not linear.parameter


def test_split_matrices_are_rows_of_the_joined_one() -> None:
    place = architecture_of("granitemoehybrid").place("model.layers.0.mlp.up_proj")
    joined = "model.layers.0.shared_mlp.input_linear"
    assert place == Rows(joined, joined, 1, 2)


@pytest.mark.parametrize(
    ("model_type", "tensor", "stored"),
    [
        (
            "qwen3_next",
            "model.layers.0.input_layernorm.weight",
            Stored("model.layers.0.input_layernorm.weight", Layout.MINUS_ONE),
        ),
        # The gated norm of linear attention is not among those that mlx-lm shifts.
        (
            "qwen3_next",
            "model.layers.0.linear_attn.norm.weight",
            Stored("model.layers.0.linear_attn.norm.weight"),
        ),
        ("qwen3_next", "model.norm.weight", Stored("model.norm.weight", Layout.MINUS_ONE)),
        ("gemma2", "model.norm.weight", Stored("model.norm.weight")),
        (
            "gpt2",
            "model.h.0.attn.c_attn.weight",
            Stored("transformer.h.0.attn.c_attn.weight", Layout.TRANSPOSED),
        ),
        ("gpt2", "model.wte.weight", Stored("transformer.wte.weight")),
        (
            "deepseek_v3",
            "model.layers.0.self_attn.embed_q.weight",
            Stored("model.layers.0.self_attn.kv_b_proj.weight", Layout.LATENT, 0, 2),
        ),
        (
            "qwen3_vl_moe",
            "language_model.model.layers.0.mlp.switch_mlp.up_proj.weight",
            Stored(
                "model.language_model.layers.0.mlp.experts.gate_up_proj", Layout.TRANSPOSED, 1, 2
            ),
        ),
    ],
)
def test_restored_names_and_layouts(model_type: str, tensor: str, stored: Stored) -> None:
    assert architecture_of(model_type).restore(tensor) == stored


def test_a_text_only_model_restores_to_the_text_classes_names() -> None:
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    whole = architecture_of("gemma3")
    assert whole.restore(name) == Stored("language_model.model.layers.0.self_attn.q_proj.weight")
    assert whole.dropped
    text = whole.text_only()
    assert text.restore(name) == Stored("model.layers.0.self_attn.q_proj.weight")
    assert not text.dropped


@pytest.mark.parametrize(
    ("model_type", "module", "way_out"),
    [
        ("mamba2", "backbone.layers.0.mixer.out_proj", "weighbridge fuse"),
        ("jamba", "model.layers.0.mamba.dt_proj", "weighbridge fuse"),
        ("gpt_oss", "model.layers.0.mlp.experts.up_proj", "publish the fused model"),
        (
            "llama4",
            "language_model.model.layers.0.feed_forward.experts.down_proj",
            "weighbridge fuse",
        ),
        ("dbrx", "transformer.blocks.0.ffn.experts.2.v1", "publish the fused model"),
        ("nemotron_h", "backbone.layers.2.mixer.switch_mlp.fc1", "weighbridge fuse"),
        ("falcon_h1", "model.layers.0.self_attn.v_proj", "publish the fused model"),
        ("bailing_moe", "lm_head", "cannot be undone"),
    ],
)
def test_what_has_no_exact_form_says_what_to_do(model_type: str, module: str, way_out: str) -> None:
    place = architecture_of(model_type).place(module)
    assert isinstance(place, Impossible) and way_out in place.reason
