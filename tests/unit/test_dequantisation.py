"""A fused MLX model as a checkpoint for transformers, as a plan; every refusal by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.test_fusion import moe, placing, spec
from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    CheckpointPlan,
    Copy,
    Dequantise,
    PlannedWeight,
    Recast,
    Shard,
    Turn,
    sharded,
)
from weighbridge.domain.checkpoints.dequantisation import DequantisationPlan, plan_dequantisation
from weighbridge.domain.checkpoints.packing import Mode, Packed, Packing
from weighbridge.domain.checkpoints.restoration import Unpacked
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import FusedModel
from weighbridge.domain.placement import (
    Architecture,
    Impossible,
    Kept,
    Layout,
    Place,
    Plain,
    Rows,
    Rule,
    Standing,
    Stored,
)
from weighbridge.domain.tensors import TensorSpec

Q = "model.layers.0.self_attn.q_proj"
FOUR = {"bits": 4, "group_size": 64}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
QUANTISED = LLAMA | {"quantization": FOUR, "quantization_config": FOUR}


def triple(module: str, *rows: int, columns: int = 128, dtype: str = "BF16") -> list[TensorSpec]:
    """A module packed with 4 bits in groups of 64."""
    return [
        spec(f"{module}.weight", *rows, columns // 8, dtype="U32"),
        spec(f"{module}.scales", *rows, columns // 64, dtype=dtype),
        spec(f"{module}.biases", *rows, columns // 64, dtype=dtype),
    ]


def plan(
    *tensors: TensorSpec,
    config: dict[str, Any] = QUANTISED,
    architecture: Architecture | None = None,
    shard_bytes: int = 5_000_000_000,
    by_mlx: bool = True,
) -> DequantisationPlan:
    model = FusedModel("", ("model.safetensors",), "config.json", config, tensors)
    at = architecture or architecture_for(config)
    return plan_dequantisation(model, at, location="run", shard_bytes=shard_bytes, by_mlx=by_mlx)


def reasons(*tensors: TensorSpec, **options: Any) -> tuple[str, ...]:
    with pytest.raises(NotConvertible) as refused:
        plan(*tensors, **options)
    return refused.value.reasons


def weights(made: DequantisationPlan) -> dict[str, PlannedWeight]:
    return {w.target.name: w for w in made.checkpoint.weights}


NORM = spec("model.norm.weight", 128)


def test_a_triple_becomes_a_weight_in_the_dtype_of_its_scales() -> None:
    made = plan(*triple(Q, 8, dtype="F16"), NORM)
    assert list(weights(made)) == [f"{Q}.weight", "model.norm.weight"]
    found = weights(made)[f"{Q}.weight"]
    weight, scales, biases = (Block.of(t) for t in triple(Q, 8, dtype="F16"))
    packing = Packing(Mode.AFFINE, 4, 64)
    assert found.target == spec(f"{Q}.weight", 8, 128, dtype="F16")
    assert found.parts == (Dequantise(packing, weight, scales, biases),)
    assert made.packings == ((packing, 1),) and made.renamed == 0


def test_a_bias_of_a_packed_module_is_kept() -> None:
    made = plan(*triple(Q, 8), spec(f"{Q}.bias", 8))
    assert weights(made)[f"{Q}.bias"].parts == (Copy(Block.of(spec(f"{Q}.bias", 8))),)


def test_overrides_of_single_modules() -> None:
    v = "model.layers.0.self_attn.v_proj"
    wide = [spec(f"{v}.weight", 8, 32, dtype="U32"), *triple(v, 8)[1:]]
    config = QUANTISED | {"quantization": FOUR | {v: {"bits": 8, "group_size": 64}, Q: False}}
    made = plan(*wide, spec(f"{Q}.weight", 8, 128), config=config)
    assert made.packings == ((Packing(Mode.AFFINE, 8, 64), 1),)
    assert isinstance(weights(made)[f"{Q}.weight"].parts[0], Copy)


class TestConfig:
    def test_quantisation_goes_and_the_dtype_is_what_is_written(self) -> None:
        config = QUANTISED | {
            "dtype": "float32",
            "text_config": {"torch_dtype": "float32", "quantization": FOUR, "x": 1},
            "rope_theta": 1e4,
        }
        made = plan(*triple(Q, 8), NORM, config=config)
        text = {"torch_dtype": "bfloat16", "x": 1}
        expected = LLAMA | {"dtype": "bfloat16", "text_config": text, "rope_theta": 1e4}
        assert made.config == expected and json.loads(made.config_bytes) == expected

    def test_a_dtype_that_was_not_named_is_not_invented(self) -> None:
        assert plan(*triple(Q, 8)).config == LLAMA

    def test_tensors_of_another_dtype_are_noted(self) -> None:
        odd = spec("model.norm.weight", 128, dtype="F32")
        (note,) = plan(*triple(Q, 8), odd).checkpoint.notes
        assert note.startswith("1 tensors stay F32; config.json names BF16")

    def test_a_tower_that_is_missing_leaves_the_text_alone(self) -> None:
        config = QUANTISED | {
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "eos_token_id": 1,
            "image_token_index": 7,
            "text_config": {"model_type": "gemma3_text", "hidden_size": 128},
        }
        made = plan(*triple(f"language_model.{Q}", 8), config=config)
        assert made.config == {
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "eos_token_id": 1,
            "hidden_size": 128,
        }
        assert list(weights(made)) == [f"{Q}.weight"] and made.renamed == 1
        assert "written as the text model alone" in made.checkpoint.notes[0]

    @pytest.mark.parametrize("kind", ["qwen3_vl", "ernie4_5_moe"])
    def test_what_transformers_would_fill_with_random_values(self, kind: str) -> None:
        config = QUANTISED | {
            "model_type": kind,
            "architectures": ["ForConditionalGeneration"],
            "text_config": {"model_type": f"{kind}_text"},
        }
        (reason,) = reasons(*triple(Q, 8), config=config)
        assert "fuse the run into the original base" in reason

    def test_missing_architectures_are_noted(self) -> None:
        config = {"model_type": "llama", "quantization": FOUR}
        (note,) = plan(*triple(Q, 8), config=config).checkpoint.notes
        assert "architectures" in note


def test_a_model_that_is_not_quantised_is_restored_and_says_so() -> None:
    made = plan(spec(f"{Q}.weight", 8, 128), NORM, config=LLAMA)
    assert made.packings == () and "it is not quantised" in made.checkpoint.notes[0]


GATE = "model.layers.0.mlp.switch_mlp.gate_proj"


class TestRestoring:
    def test_packed_experts_are_taken_apart(self) -> None:
        made = plan(*triple(GATE, 3, 8), architecture=moe())
        assert list(weights(made)) == [
            f"model.layers.0.block.experts.{e}.w1.weight" for e in range(3)
        ]
        for expert, found in enumerate(made.checkpoint.weights):
            (operation,) = found.parts
            assert isinstance(operation, Dequantise)
            assert operation.weight == Block(triple(GATE, 3, 8)[0], expert * 8 * 16, 8, 16)
            assert operation.scales == Block(triple(GATE, 3, 8)[1], expert * 8 * 2, 8, 2)
            assert found.target.shape == (8, 128)
        assert made.renamed == 3

    def test_a_global_scale_for_each_expert(self) -> None:
        parts = [
            spec(f"{GATE}.weight", 3, 8, 16, dtype="U32"),
            spec(f"{GATE}.scales", 3, 8, 8, dtype="U8"),
            spec(f"{GATE}.global_scale", 3, dtype="F32"),
        ]
        made = plan(*parts, architecture=moe())
        factors = [w.parts[0].global_scale for w in made.checkpoint.weights]  # type: ignore[union-attr]
        assert factors == [Block(parts[2], e, 1, 1) for e in range(3)]

    def test_plain_experts_and_their_biases(self) -> None:
        stack, bias = spec(f"{GATE}.weight", 3, 8, 16), spec(f"{GATE}.bias", 3, 8)
        found = weights(plan(stack, bias, config=LLAMA, architecture=moe()))
        name = "model.layers.0.block.experts.2.w1"
        assert found[f"{name}.weight"].parts == (Copy(Block(stack, 2 * 128, 8, 16)),)
        assert found[f"{name}.bias"].parts == (Copy(Block(bias, 16, 1, 8)),)
        assert found[f"{name}.bias"].target.shape == (8,)

    def test_rows_are_joined(self) -> None:
        made = plan(*triple("up", 8), *triple("gate", 8), architecture=halves())
        (found,) = made.checkpoint.weights
        assert found.target == spec("model.gate_up.weight", 16, 128)
        first, second = found.parts
        assert isinstance(first, Dequantise) and isinstance(second, Dequantise)
        assert first.weight.tensor.name == "gate.weight"
        assert second.weight.tensor.name == "up.weight"

    def test_rows_of_which_some_are_missing(self) -> None:
        found = reasons(*triple("up", 8), architecture=halves())
        assert found == ("model.gate_up.weight: is made of parts 1 of 2",)
        found = reasons(*triple("up", 8), *triple("gate", 9), architecture=halves())
        assert "different shapes" in found[0]

    def test_a_convolution_named_linear(self) -> None:
        at = placing(Plain("transformer.c", "transformer.c"), conv1d=True)
        (found,) = plan(*triple("c", 8), architecture=at).checkpoint.weights
        assert found.target == spec("transformer.c.weight", 128, 8)
        (turn,) = found.parts
        assert isinstance(turn, Turn) and (turn.rows, turn.columns) == (8, 128)

    def test_two_tensors_of_one_name(self) -> None:
        at = placing(Plain("same", "same"))
        tensors = spec("a.weight", 4, 4), spec("b.weight", 4, 4)
        found = reasons(*tensors, config=LLAMA, architecture=at)
        assert found == ("same.weight: is made of parts 0, 0 of 1",)

    @pytest.mark.parametrize("layout", [Layout.SAME, Layout.TRANSPOSED])
    def test_halves_of_a_stack(self, layout: Layout) -> None:
        kept = tuple(
            Kept(rf"{n}\.weight", Stored("e.gate_up_proj", layout, i, 2))
            for i, n in enumerate(("gate", "up"))
        )
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        halves = [*triple("up", 3, 8), *triple("gate", 3, 8)]
        (found,) = plan(*halves, architecture=at).checkpoint.weights
        turned = layout is Layout.TRANSPOSED
        assert found.target.shape == ((3, 128, 16) if turned else (3, 16, 128))
        parts = [o for p in found.parts for o in (p.of if isinstance(p, Turn) else (p,))]
        assert [(o.weight.tensor.name, o.weight.start) for o in parts] == [  # type: ignore[union-attr]
            (f"{n}.weight", e * 8 * 16) for e in range(3) for n in ("gate", "up")
        ]
        assert all(isinstance(p, Turn) is turned for p in found.parts)

    def test_parts_of_latent_attention(self) -> None:
        kept = tuple(
            Kept(rf"a\.{n}\.weight", Stored("a.kv_b_proj.weight", Layout.LATENT, i, 2))
            for i, n in enumerate(("embed_q", "unembed_out"))
        )
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        q, out = triple("a.embed_q", 2, 64), triple("a.unembed_out", 2, 8, columns=64)
        (found,) = plan(*out, *q, architecture=at).checkpoint.weights
        assert found.target == spec("a.kv_b_proj.weight", 2 * (128 + 8), 64)
        assert [type(p) for p in found.parts] == [Turn, Dequantise] * 2
        assert found.parts[2] == Turn((Unpacked(_packed(*q), FOUR_BITS).part(1, 2),), 64, 128)
        wrong = triple("a.unembed_out", 2, 8)
        assert "as heads of" in reasons(*wrong, *q, architecture=at)[0]

    def test_a_scalar(self) -> None:
        kept = (Kept("x.alpha", Stored("x.alpha", Layout.ONE)),)
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        (found,) = plan(spec("x.alpha"), config=LLAMA, architecture=at).checkpoint.weights
        assert found.target == spec("x.alpha", 1)


FOUR_BITS = Packing(Mode.AFFINE, 4, 64)


def _packed(weight: TensorSpec, scales: TensorSpec, biases: TensorSpec) -> Packed:
    return Packed(weight.name.removesuffix(".weight"), weight, scales, biases)


def halves() -> Architecture:
    def rows(index: int) -> Place:
        return Rows("model.gate_up", "model.gate_up", index, 2)

    rules = (Rule("gate", rows(0)), Rule("up", rows(1)))
    return Architecture("x", Standing.CONVERTIBLE, rules=rules)


class Laid(Architecture):
    """Knows of each layout one tensor."""

    def restore(self, tensor: str) -> Stored | Impossible:
        match tensor:
            case "conv.weight":
                return Stored("model.conv.weight", Layout.CONVOLUTION)
            case "norm.weight":
                return Stored("model.norm.weight", Layout.MINUS_ONE)
        return Impossible("has no counterpart in the checkpoint")


class TestLayouts:
    ARCHITECTURE = Laid("x", Standing.CONVERTIBLE)

    def test_each(self) -> None:
        conv, norm = spec("conv.weight", 6, 4, 1), spec("norm.weight", 8)
        made = plan(conv, norm, config=LLAMA, architecture=self.ARCHITECTURE)
        found = weights(made)
        assert found["model.conv.weight"].target.shape == (6, 1, 4)
        assert found["model.conv.weight"].parts == (Copy(Block.of(conv)),)
        assert found["model.norm.weight"].parts == (Recast(Block.of(norm), -1.0),)
        assert made.renamed == 2

    @pytest.mark.parametrize(
        "tensors", [[spec("conv.weight", 6, 4, 2)], [spec("conv.weight", 6, 4)], triple("norm", 8)]
    )
    def test_what_has_another_form(self, tensors: list[TensorSpec]) -> None:
        config = QUANTISED if len(tensors) > 1 else LLAMA
        found = reasons(*tensors, config=config, architecture=self.ARCHITECTURE)
        assert "cannot be restored" in found[0]


class TestRefusals:
    def test_an_unknown_architecture(self) -> None:
        (found,) = reasons(*triple(Q, 8), config=QUANTISED | {"model_type": "martian"})
        assert found.startswith(f"{Q}.weight") and "martian" in found

    def test_a_model_that_is_no_mlx_model(self) -> None:
        """Its norms would lose 1 that nobody added."""
        at = TestLayouts.ARCHITECTURE
        found = reasons(spec("norm.weight", 8), config=LLAMA, architecture=at, by_mlx=False)
        assert "nor do its files say that MLX wrote them" in found[0]
        assert plan(NORM, config=LLAMA, by_mlx=False).renamed == 0

    @pytest.mark.parametrize(
        ("tensors", "config", "word"),
        [
            ([NORM], QUANTISED, "no tensor has scales"),
            (triple(Q, 8), LLAMA, f"{Q}: config.json has no 'quantization'"),
            (triple(Q, 8)[:2], QUANTISED, f"{Q}: is of mode affine, but has no biases"),
            (triple(Q, 8)[1:], QUANTISED, f"{Q}: has scales, but no weight"),
            ([*triple(Q, 8), spec("lm_head.weight", 8, 16, dtype="U32")], QUANTISED,
             "lm_head.weight: is packed (U32), but lm_head.scales is missing"),
            ([spec(f"{Q}.weight", 8, 16), *triple(Q, 8)[1:]], QUANTISED,
             f"{Q}: has scales, but a weight of BF16"),
            ([*triple(Q, 8), spec("lm_head.weight", 8, 16)],
             LLAMA | {"quantization": FOUR | {"lm_head": FOUR}},
             "lm_head.weight: the config says how it is quantised"),
            (triple(Q, 8), LLAMA | {"quantization": FOUR | {Q: False}},
             f"{Q}: the config says that it is not quantised"),
            ([NORM], LLAMA | {"quantization_config": {"quant_method": "awq"}},
             "by awq, not by MLX"),
            ([NORM, NORM], LLAMA, "is in more than one file"),
        ],
    )  # fmt: skip
    def test_contradictions(
        self, tensors: list[TensorSpec], config: dict[str, Any], word: str
    ) -> None:
        (found,) = reasons(*tensors, config=config)
        assert word in found


class TestShards:
    def weights(self, *sizes: int, dtype: str = "U8") -> list[PlannedWeight]:
        specs = [TensorSpec(f"t{i}", dtype, (n,)) for i, n in enumerate(sizes)]
        return [PlannedWeight(s, (Copy(Block.of(s)),)) for s in specs]

    @pytest.mark.parametrize(
        ("sizes", "expected"),
        [
            ((5, 5), [(5, 5)]),
            ((5, 6), [(5,), (6,)]),
            ((1, 99, 1, 1), [(1,), (99,), (1, 1)]),
        ],
    )
    def test_the_most_that_fits(
        self, sizes: tuple[int, ...], expected: list[tuple[int, ...]]
    ) -> None:
        found = sharded(self.weights(*sizes), 10)
        assert [tuple(s.nbytes for s in shard.specs) for shard in found] == expected

    def test_names_and_index(self) -> None:
        plan = CheckpointPlan(sharded(self.weights(6, 6), 10))
        names = [s.path for s in plan.shards]
        assert names == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        assert plan.index_bytes is not None
        index = json.loads(plan.index_bytes)
        assert index["weight_map"] == {"t0": names[0], "t1": names[1]}
        assert index["metadata"] == {"total_parameters": 12, "total_size": 12}

    def test_a_single_file_needs_no_index_but_under_another_name_it_does(self) -> None:
        shards = sharded(self.weights(6), 10)
        assert CheckpointPlan(shards).index_bytes is None
        alone = Shard("model-00001-of-00001.safetensors", shards[0].weights)
        assert CheckpointPlan((alone,)).index_bytes is not None

    def test_wider_dtypes_come_first_so_that_all_are_aligned(self) -> None:
        mixed = [*self.weights(3, dtype="BF16"), *self.weights(3, dtype="F32")]
        assert [s.dtype for s in sharded(mixed, 100)[0].specs] == ["F32", "BF16"]
