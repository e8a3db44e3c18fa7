"""What a conversion decides from names, shapes and configs alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.conversion import PeftRequest, Profile, plan_peft
from weighbridge.domain.detection import pair_targets
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import LoraModel
from weighbridge.domain.placement import Plain
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.domain.tensors import TensorSpec

Shapes = Mapping[str, tuple[int, ...]]
Q, K, V = (f"model.layers.1.self_attn.{x}_proj" for x in "qkv")
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "num_hidden_layers": 3, "vocab_size": 40,
}  # fmt: skip


def dense(module: str, wide: int = 16, out: int = 16, rank: int = 4) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_a": (wide, rank), f"{module}.lora_b": (rank, out)}


def experts(module: str, wide: int, out: int, rank: int = 4, count: int = 3) -> Shapes:
    return {f"{module}.lora_a": (count, rank, wide), f"{module}.lora_b": (count, out, rank)}


def specs(shapes: Shapes, dtype: str = "F32") -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, dtype, shape) for name, shape in shapes.items()}


def plan(
    shapes: Shapes,
    config: Mapping[str, Any] | None = None,
    *,
    base: BaseModel | None = None,
    profile: Profile = Profile.PORTABLE,
    **request: Any,
) -> ConversionPlan:
    given = {"model": "acme/base", "lora_parameters": {"rank": 4, "scale": 20.0}} | dict(
        config or {}
    )
    targets, others = pair_targets(specs(shapes).values(), may_lie_turned=False)
    model = LoraModel("", "adapters.safetensors", "adapter_config.json", given, targets, others)
    asked = PeftRequest(base or BaseModel(), profile, **request)
    return plan_peft(model, location="run", request=asked)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(NotConvertible) as caught:
        plan(*args, **kwargs)
    return str(caught.value)


def names(made: ConversionPlan) -> set[str]:
    stems = {s.name.removeprefix("base_model.model.").partition(".lora_")[0] for s in made.specs}
    return stems


def test_the_minimal_form_holds_what_was_trained_and_no_more() -> None:
    made = plan(dense(Q), profile=Profile.PEFT, base=BaseModel(LLAMA))
    assert names(made) == {Q}
    assert made.config["layers_to_transform"] == [1] and made.config["target_modules"] == ["q_proj"]


def test_the_portable_form_completes_layers_and_siblings() -> None:
    made = plan(dense(Q), base=BaseModel(LLAMA))
    layers = range(3)
    assert names(made) == {f"model.layers.{i}.self_attn.{x}_proj" for i in layers for x in "qkv"}
    shapes = {s.name: s.shape for s in made.specs}
    assert shapes["base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight"] == (8, 4)
    assert made.padding.tensors == 16
    assert made.padding.nbytes == sum(s.nbytes for s in made.specs) - 2 * 16 * 4 * 4
    assert made.config["layers_to_transform"] is None


def test_without_a_base_layers_end_with_the_last_that_was_trained() -> None:
    made = plan(dense(Q) | dense(K, out=8) | dense(V, out=8))
    assert {n.split(".")[2] for n in names(made)} == {"0", "1"}


def test_siblings_of_unknown_size_are_left_out_and_said() -> None:
    made = plan(dense(Q))
    assert names(made) == {Q, Q.replace(".1.", ".0.")}
    assert any("give --base" in note for note in made.notes)


@pytest.mark.parametrize("profile", Profile)
def test_towers_that_no_header_shows_are_not_selected_by_an_ending(profile: Profile) -> None:
    """Gemma 4's have a q_proj that PEFT cannot adapt; mlx-lm leaves them out of its copies."""
    module = "language_model.model.layers.0.self_attn.q_proj"
    full = "model.language_model.layers.0.self_attn.q_proj"
    config = {"model_type": "gemma4", "text_config": {"num_hidden_layers": 1}}
    text = {f"{full}.weight": (16, 16)}
    tower = {"model.vision_tower.encoder.layers.0.self_attn.qkv.weight": (48, 16)}
    for headers, wanted in (({}, full), (text, full), (text | tower, "q_proj")):
        base = BaseModel.of(config, specs(headers))
        assert wanted in plan(dense(module), base=base, profile=profile).config["target_modules"]


def test_headers_decide_which_layers_have_a_module() -> None:
    held = {f"model.layers.{i}.self_attn.q_proj.weight": (16, 16) for i in (0, 2)}
    config = LLAMA | {"model_type": "qwen3_next", "num_hidden_layers": 3}
    module = "model.layers.2.self_attn.q_proj"
    made = plan(dense(module), base=BaseModel.of(config, specs(held)))
    assert names(made) == {"model.layers.0.self_attn.q_proj", module}


def test_keys_that_a_layer_takes_from_an_earlier_one_are_no_modules() -> None:
    """Checkpoints of Gemma 3n and 4 hold them; PEFT would find no module for a padded pair."""
    config = {"model_type": "gemma4_text", "num_hidden_layers": 3, "num_kv_shared_layers": 1}
    stems = [f"model.layers.{i}.self_attn.{n}_proj" for i in range(3) for n in "qkv"]
    base = BaseModel.of(config, specs({f"{stem}.weight": (16, 16) for stem in stems}))
    made = plan(dense(Q) | dense("model.layers.2.self_attn.q_proj"), base=base)
    assert names(made) == set(stems) - {f"model.layers.2.self_attn.{n}_proj" for n in "kv"}
    assert "an earlier one" in refusal(dense("model.layers.2.self_attn.k_proj"), base=base)
    tower = "model.vision_tower.encoder.layers.2.self_attn.k_proj.weight"
    assert not base.shares_keys(tower)


def test_ranks_that_differ_are_padded_or_listed() -> None:
    shapes = dense(Q, rank=4) | dense(K, out=8, rank=2)
    portable = plan(shapes, base=BaseModel(LLAMA))
    assert {s.shape[0] for s in portable.specs if "lora_A" in s.name} == {4}
    assert portable.config["rank_pattern"] == {}
    native = plan(shapes, base=BaseModel(LLAMA), profile=Profile.PEFT)
    odd = next(iter(native.config["rank_pattern"]))
    assert native.config["alpha_pattern"] == {odd: 20 * native.config["rank_pattern"][odd]}


def test_a_scale_that_no_integer_alpha_says_is_folded_in_float32() -> None:
    made = plan(dense(Q), base=BaseModel(LLAMA), scale=0.3)
    assert made.config["lora_alpha"] == made.config["r"] == 4
    assert {s.dtype for s in made.specs} == {"F32"}
    assert any("folded" in note for note in made.notes)


def test_dora_goes_to_fuse_unless_peft_alone_is_meant() -> None:
    shapes = dense(Q) | {f"{Q}.m": (16,)}
    said = refusal(shapes)
    assert "DoRA" in said and "weighbridge fuse" in said and "--profile peft" in said
    made = plan(shapes, profile=Profile.PEFT)
    assert made.config["use_dora"] is True
    assert f"base_model.model.{Q}.lora_magnitude_vector" in {s.name for s in made.specs}


def test_some_dora_is_none() -> None:
    shapes = dense(Q) | {f"{Q}.m": (16,)} | dense(K, out=8)
    assert "all or none" in refusal(shapes, profile=Profile.PEFT)


EMBED = dense("model.embed_tokens", wide=40)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (BaseModel(), "give --base"),
        (BaseModel(LLAMA | {"tie_word_embeddings": True}), "weighbridge fuse"),
    ],
)
def test_an_embedding_needs_an_untied_base(base: BaseModel, words: str) -> None:
    assert words in refusal(EMBED, base=base)


def test_a_tie_that_the_config_leaves_out_is_the_default_of_the_type() -> None:
    assert "weighbridge fuse" in refusal(EMBED, base=BaseModel(LLAMA | {"model_type": "gemma2"}))
    assert plan(EMBED, base=BaseModel(LLAMA))


def test_a_head_that_is_stored_and_tied_all_the_same_is_the_embedding() -> None:
    stored = specs({"model.embed_tokens.weight": (40, 16), "lm_head.weight": (40, 16)})
    assert "weighbridge fuse" in refusal(
        EMBED, base=BaseModel(LLAMA | {"tie_word_embeddings": True}, stored)
    )
    assert plan(EMBED, base=BaseModel(LLAMA | {"tie_word_embeddings": False}, stored))


def test_a_tied_head_is_no_module() -> None:
    shapes = dense("lm_head", out=40)
    base = BaseModel(LLAMA | {"tie_word_embeddings": True})
    assert "has no such module" in refusal(shapes, base=base)


def test_an_untied_embedding_has_its_own_tensors() -> None:
    made = plan(EMBED, base=BaseModel(LLAMA | {"tie_word_embeddings": False}))
    shapes = {s.name: s.shape for s in made.specs}
    stem = "base_model.model.model.embed_tokens"
    assert shapes == {f"{stem}.lora_embedding_A": (4, 40), f"{stem}.lora_embedding_B": (16, 4)}


def test_a_dora_on_an_embedding_is_refused() -> None:
    shapes = EMBED | {"model.embed_tokens.m": (40,)}
    base = BaseModel(LLAMA | {"tie_word_embeddings": False})
    assert "normalises" in refusal(shapes, base=base, profile=Profile.PEFT)


def test_headers_catch_another_base() -> None:
    base = BaseModel.of(LLAMA, specs({f"{Q}.weight": (16, 32)}))
    assert "maps 16 -> 16, but the base's" in refusal(dense(Q), base=base)
    assert "the base has no" in refusal(dense(K), base=base)


def test_an_unproven_architecture_needs_headers() -> None:
    assert "give --base with" in refusal(dense(Q), base=BaseModel({"model_type": "mimo"}))


def test_a_refused_architecture_says_why() -> None:
    said = refusal(dense("model.layers.0.mixer.out_proj"), base=BaseModel({"model_type": "mamba"}))
    assert "out_proj" in said


@pytest.mark.parametrize(
    "name", ["mlx-community/Llama-3-8B-4bit", "acme/x-8bit-mlx", "acme/y-mxfp4", "a/b-4bit-DWQ"]
)
def test_a_quantised_base_must_be_named_by_its_original(name: str) -> None:
    assert "name the original with --base-model" in refusal(dense(Q), {"model": name})
    assert plan(dense(Q), {"model": name}, base_model="acme/original")


@pytest.mark.parametrize("name", ["unsloth/llama-3-8b-bnb-4bit", "acme/m-GPTQ-4bit", "acme/x"])
def test_names_of_other_formats_are_left_alone(name: str) -> None:
    assert plan(dense(Q), {"model": name}).config["base_model_name_or_path"] == name


MIXTURE = LLAMA | {"model_type": "qwen3_moe", "num_experts": 3, "moe_intermediate_size": 24}
UP = "model.layers.2.mlp.switch_mlp.up_proj"


def test_experts_are_apart_and_complete_in_the_portable_form() -> None:
    made = plan(experts(UP, 16, 24), base=BaseModel(MIXTURE))
    layer = "model.layers.2.mlp.experts"
    held = {n for n in names(made) if n.startswith(layer)}
    parts = ("gate_proj", "up_proj", "down_proj")
    assert held == {f"{layer}.{e}.{p}" for e in range(3) for p in parts}
    assert set(made.config["target_modules"]) == set(parts)


def test_experts_stay_stacked_in_the_minimal_form() -> None:
    made = plan(experts(UP, 16, 24), base=BaseModel(MIXTURE), profile=Profile.PEFT)
    container = "model.layers.2.mlp.experts"
    assert names(made) == {container}
    assert made.config["target_parameters"] == [f"{container}.gate_up_proj"]
    shapes = sorted(s.shape for s in made.specs)
    assert shapes == [(3 * 4, 16), (2 * 24, 4 * 3)]


def test_flattened_experts_are_the_same_bytes() -> None:
    flat = {f"{UP}.lora_a": (3 * 4, 16), f"{UP}.lora_b": (3, 24, 4)}
    stacked, flattened = (
        plan(shapes, base=BaseModel(MIXTURE)) for shapes in (experts(UP, 16, 24), flat)
    )
    assert flattened.specs == stacked.specs


def test_shared_experts_are_told_apart_from_experts_by_parameter() -> None:
    shared = "model.layers.0.mlp.shared_expert"
    shapes = dense(f"{shared}.gate_proj", out=24) | dense(f"{shared}.up_proj", out=24)
    config = MIXTURE | {"model_type": "qwen3_next"}
    held = {f"{shared}.gate_proj.weight": (24, 16), f"{shared}.up_proj.weight": (24, 16)}
    made = plan(shapes, base=BaseModel.of(config, specs(held)))
    assert made.config["target_parameters"] == [
        f"{shared}.gate_proj.weight", f"{shared}.up_proj.weight"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        (f"{Q}.m", (7,), "fits no pair"),
        (f"{Q}.lora_a.0", (16, 4), "afm7"),
        (f"{Q}.weight", (16, 16), "weighbridge fuse"),
        (f"{Q}.scales", (16, 1), "cannot have been trained"),
        ("vision_tower.x.bias", (16,), "trained weight"),
    ],
)
def test_what_else_is_in_the_file_is_refused_by_name(
    name: str, shape: tuple[int, ...], words: str
) -> None:
    said = refusal(dense(K, out=8) | {name: shape})
    assert name in said and words in said


def test_a_model_that_was_saved_whole_has_one_reason() -> None:
    """As ``model.save_weights`` leaves it, of a quantised base too."""
    held = {f"{K}.linear.weight": (8, 2), f"{K}.linear.scales": (8, 1), "model.norm.weight": (16,)}
    said = refusal(dense(K, out=8) | held)
    assert "3 tensors beside the LoRA" in said and said.count("\n") == 1
    assert "model.norm.weight" in refusal(dense(K, out=8) | {"model.norm.weight": (16,)})


def test_an_empty_adapter_says_that_its_keys_matched_nothing() -> None:
    assert "matched nothing" in refusal({})


def test_layers_of_linears_are_turned_already() -> None:
    shapes = {f"{Q}.lora_a.weight": (4, 16), f"{Q}.lora_b.weight": (16, 4)}
    made = plan(shapes, profile=Profile.PEFT)
    assert {s.shape for s in made.specs} == {(4, 16), (16, 4)}


def test_an_mlx_base_is_read_through_its_packing() -> None:
    packed = {f"{Q}.weight": (16, 2), f"{Q}.scales": (16, 1), f"{Q}.biases": (16, 1)}
    config = LLAMA | {"quantization": {"group_size": 16, "bits": 4}}
    assert plan(dense(Q), base=BaseModel.of(config, specs(packed)))
    assert "maps 12 -> 16" in refusal(dense(Q, wide=12), base=BaseModel.of(config, specs(packed)))


def test_an_mlx_base_that_is_not_packed_is_read_by_its_names() -> None:
    """A copy in bfloat16: nothing but the files' own word tells whose names they are."""
    module, held = "model.h.0.attn.c_attn", specs({"model.h.0.attn.c_attn.weight": (48, 16)})
    base = BaseModel.of({"model_type": "gpt2"}, held, by_mlx=True)
    assert base.mlx_format and plan(dense(module, out=48), base=base)
    assert not BaseModel.of(LLAMA, specs({f"{Q}.weight": (16, 16)}), by_mlx=True).mlx_format


def test_square_factors_that_fit_either_way_are_not_guessed() -> None:
    forge = {f"{Q}.lora_a": (4, 16), f"{Q}.lora_b": (16, 4)}
    assert "or transposed, as MLX Forge has them" in refusal(forge)
    wide = {f"{Q}.lora_a": (16, 20), f"{Q}.lora_b": (20, 16)}
    assert "or transposed" in refusal(wide)
    said = {"lora_parameters": {"rank": 20, "scale": 20.0}}
    assert plan(wide, said).config["r"] == 20
    weight = {f"{Q}.weight": (16, 16)}
    assert plan(wide, base=BaseModel(LLAMA, specs(weight))).config["r"] == 20
    assert "maps 4 -> 4" in refusal(forge, base=BaseModel(LLAMA, specs(weight)))


def test_factors_that_are_no_pair_are_told_what_a_pair_is() -> None:
    assert "lora_a is (in, rank)" in refusal({f"{K}.lora_a": (4, 16), f"{K}.lora_b": (8, 4)})


@pytest.mark.parametrize("profile", Profile)
def test_an_embedding_of_positions_is_no_heads(profile: Profile) -> None:
    base = BaseModel({"model_type": "gpt2", "tie_word_embeddings": True})
    made = plan(dense("model.wpe", 64, 16), base=base, profile=profile)
    assert [spec.name.rpartition("transformer.")[2] for spec in made.specs] == [
        "wpe.lora_embedding_A", "wpe.lora_embedding_B"
    ]  # fmt: skip
    assert "that the head shares" in refusal(dense("model.wte", 64, 16), base=base)
    stored = {"wpe.weight": (64, 16), "h.0.attn.c_attn.weight": (16, 48)}
    known = BaseModel(base.config, specs(stored))
    paths = ("transformer.wpe", "transformer.h.0.attn.c_attn")
    assert [known.shape(Plain(path, path)) for path in paths] == [(64, 16), (48, 16)]
