"""Names and shapes of factors, however they were spelt and stored."""

from __future__ import annotations

import pytest

from weighbridge.domain.architectures import UNKNOWN, architecture_of
from weighbridge.domain.peft.names import Part, core, parse_name, placed
from weighbridge.domain.placement import Architecture, Plain, Rule, Standing
from weighbridge.domain.repairing.orientation import (
    is_turned,
    settle_rank,
    sizes_in_base,
    stored_pairs,
)
from weighbridge.domain.tensors import TensorSpec

Q = "layers.0.self_attn.q_proj"
GOOD = f"base_model.model.model.{Q}.lora_A.weight"
MULTIMODAL = Architecture(
    "wrapper",
    Standing.CONVERTIBLE,
    rules=(
        Rule(
            r"language_model\.model\.(layers\.\d+\..*_proj)",
            Plain(r"model.language_model.\1", r"language_model.model.\1"),
        ),
    ),
)


@pytest.mark.parametrize(
    ("text", "part", "proper"),
    [
        (GOOD, Part.A, True),
        (f"base_model.model.model.{Q}.lora_B.weight", Part.B, True),
        (f"base_model.model.{Q}.lora_A.weight", Part.A, True),
        (f"model.{Q}.lora_A.weight", Part.A, True),
        (f"{Q}.lora_a", Part.A, False),
        (f"model.{Q}.lora_b.weight", Part.B, False),
        (f"base_model.model.model.{Q}.lora_A", Part.A, False),
        (f"base_model.model.model.{Q}.lora_A.default.weight", Part.A, True),
        (f"base_model.model.base_model.model.model.{Q}.lora_A.weight", Part.A, True),
        (f"base_model.model.language_model.model.{Q}.lora_B.weight", Part.B, True),
        (f"model.language_model.{Q}.lora_magnitude_vector", Part.MAGNITUDE, True),
        (f"model.{Q}.m", Part.MAGNITUDE, False),
    ],
)
def test_every_spelling_is_the_same_tensor(text: str, part: Part, proper: bool) -> None:
    name = parse_name(text)
    assert name is not None and name.key == (Q, part)
    assert name.leaf_is_proper is proper


def test_an_embedding_has_a_form_of_its_own() -> None:
    name = parse_name("base_model.model.model.embed_tokens.lora_embedding_B")
    assert name is not None and name.embedding and name.leaf_is_proper
    assert name.key == ("embed_tokens", Part.B)


@pytest.mark.parametrize(
    "text",
    ["model.norm.weight", "lora_A.weight", f"{GOOD}.bias", f"model.{Q}.lora_B.bias",
     f"model.{Q}.lora_C.weight", "model.m.weight", ""],
)  # fmt: skip
def test_what_is_no_factor(text: str) -> None:
    assert parse_name(text) is None


def test_the_adapters_name_is_told_apart() -> None:
    name = parse_name(GOOD.replace(".weight", ".my_bot.weight"))
    assert name is not None and name.adapter == "my_bot" and name.wrappers == 1
    assert name.module == f"model.{Q}"


@pytest.mark.parametrize("text", [f"x.{Q}.lora_A.weight", f"base_model.x.{Q}.lora_a"])
def test_only_peft_writes_capitals_or_its_wrapper(text: str) -> None:
    name = parse_name(text)
    assert name is not None and name.is_peft_style
    mlx = parse_name(f"model.{Q}.lora_a")
    assert mlx is not None and not mlx.is_peft_style


def test_a_core_is_never_empty() -> None:
    assert core("model.model") == "model" and core("base_model") == "base_model"


@pytest.mark.parametrize("module", [Q, f"model.{Q}", f"language_model.model.{Q}"])
def test_modules_are_placed_whatever_stands_before_them(module: str) -> None:
    assert {p.path for p in placed(module, UNKNOWN).values()} == {f"model.{Q}"}
    assert {p.path for p in placed(module, MULTIMODAL).values()} == {f"model.language_model.{Q}"}
    assert list(placed(module, MULTIMODAL)) == [f"language_model.model.{Q}"]
    assert not placed(module, architecture_of("nobody-knows"))


def pair(name: str, a: tuple[int, int], b: tuple[int, int]) -> list[TensorSpec]:
    return [TensorSpec(f"model.layers.0.{name}.lora_a", "F32", a),
            TensorSpec(f"model.layers.0.{name}.lora_b", "F32", b)]  # fmt: skip


def rank_of(
    *specs: TensorSpec, stated: int | None = None, base: dict[str, object] | None = None
) -> int | None:
    pairs = stored_pairs(specs)
    return settle_rank(pairs, stated, sizes_in_base(pairs, base)).value


BASE: dict[str, object] = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32}


def test_a_pair_of_unequal_sizes_gives_its_rank_away() -> None:
    assert rank_of(*pair("mlp.up_proj", (16, 4), (4, 32))) == 4
    assert rank_of(*pair("mlp.up_proj", (4, 16), (32, 4))) == 4


def test_a_square_module_does_not() -> None:
    square = pair("self_attn.q_proj", (16, 4), (4, 16))
    assert rank_of(*square) is None
    assert rank_of(*square, stated=4) == 4
    assert rank_of(*square, stated=9) is None
    assert rank_of(*square, stated=9, base=BASE) == 4
    assert rank_of(*square, *pair("mlp.up_proj", (16, 4), (4, 32))) == 4


def test_no_common_rank() -> None:
    odd = pair("mlp.up_proj", (16, 4), (5, 32))
    assert "no rank in common" in settle_rank(stored_pairs(odd), None).because
    two = [*pair("mlp.up_proj", (16, 4), (4, 32)), *pair("mlp.down_proj", (32, 8), (8, 20))]
    assert "different ranks" in settle_rank(stored_pairs(two), 4).because
    other = pair("mlp.up_proj", (20, 4), (4, 32))
    pairs = stored_pairs(other)
    assert "base's sizes" in settle_rank(pairs, 4, sizes_in_base(pairs, BASE)).because
    assert "no pair" in settle_rank((), 4).because


def test_embeddings_and_stacks_are_no_evidence_of_rank() -> None:
    specs = [
        TensorSpec("model.embed_tokens.lora_embedding_A", "F32", (4, 90)),
        TensorSpec("model.embed_tokens.lora_embedding_B", "F32", (16, 4)),
        TensorSpec("model.layers.0.mlp.experts.lora_A.weight", "F32", (8, 24)),
        TensorSpec("model.layers.0.mlp.experts.lora_B.weight", "F32", (16, 8)),
        TensorSpec("model.layers.0.mlp.experts.base_layer.lora_A.weight", "F32", (16, 16)),
        TensorSpec("model.layers.0.mlp.experts.base_layer.lora_B.weight", "F32", (48, 16)),
        TensorSpec("model.layers.0.mlp.switch_mlp.up_proj.lora_a", "F32", (2, 4, 16)),
    ]
    assert stored_pairs(specs) == ()


@pytest.mark.parametrize(
    ("part", "shape", "turned"),
    [(Part.A, (4, 16), False), (Part.A, (16, 4), True), (Part.B, (16, 4), False),
     (Part.B, (4, 16), True), (Part.A, (4, 4), None), (Part.B, (1, 1), False)],
)  # fmt: skip
def test_orientation(part: Part, shape: tuple[int, int], turned: bool | None) -> None:
    rank = min(shape)
    assert is_turned(TensorSpec("x", "F32", shape), part, rank) is turned
