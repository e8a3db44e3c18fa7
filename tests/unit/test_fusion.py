"""What a run changes in its base, as a plan; every refusal by name and all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.checkpoint import Block, Copy, LowRank, Merge, Recast
from weighbridge.domain.checkpoints.fusion import FusionBase, FusionPlan, plan_fusion
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import LoraModel, LoraTarget
from weighbridge.domain.placement import (
    Architecture,
    Experts,
    Impossible,
    Kept,
    Layout,
    Part,
    Place,
    Plain,
    Rows,
    Rule,
    Standing,
    Stored,
)
from weighbridge.domain.tensors import TensorSpec

Q = "model.layers.0.self_attn.q_proj"
E = "model.embed_tokens"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
RUN = {"lora_parameters": {"rank": 4, "scale": 20.0}, "num_layers": 1}


def spec(name: str, *shape: int, dtype: str = "BF16") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def dense(module: str, inputs: int = 16, outputs: int = 24, *, dora: bool = False) -> LoraTarget:
    return LoraTarget(
        module,
        spec(f"{module}.lora_a", inputs, 4, dtype="F32"),
        spec(f"{module}.lora_b", 4, outputs, dtype="F32"),
        spec(f"{module}.m", outputs, dtype="F32") if dora else None,
    )


def embedding(*, dora: bool = False) -> LoraTarget:
    a, b = spec(f"{E}.lora_a", 100, 4, dtype="F32"), spec(f"{E}.lora_b", 4, 16, dtype="F32")
    return LoraTarget(E, a, b, spec(f"{E}.m", 100, dtype="F32") if dora else None)


def stacked(module: str, *, flat: bool = False) -> LoraTarget:
    """Three experts of (8, 16), rank 4."""
    a = spec(f"{module}.lora_a", *((12, 16) if flat else (3, 4, 16)), dtype="F32")
    return LoraTarget(module, a, spec(f"{module}.lora_b", 3, 8, 4, dtype="F32"), None, 3)


def run(*targets: LoraTarget, others: Iterable[TensorSpec] = (), **config: Any) -> LoraModel:
    return LoraModel(
        "", "adapters.safetensors", "adapter_config.json", RUN | config, targets, tuple(others)
    )


TENSORS = (
    spec(f"{E}.weight", 100, 16),
    spec(f"{Q}.weight", 24, 16),
    spec("model.norm.weight", 16),
    spec("lm_head.weight", 100, 16),
)


def base(
    *tensors: TensorSpec, architecture: Architecture | None = None, **config: Any
) -> FusionBase:
    known = LLAMA | config
    at = architecture or architecture_for(known)
    return FusionBase("base", known, at, (("model.safetensors", tensors or TENSORS),))


def plan(model: LoraModel, on: FusionBase | None = None, **options: Any) -> FusionPlan:
    return plan_fusion(model, on or base(tie_word_embeddings=False), location="run", **options)


def reasons(model: LoraModel, on: FusionBase | None = None, **options: Any) -> tuple[str, ...]:
    with pytest.raises(NotConvertible) as refused:
        plan(model, on, **options)
    return refused.value.reasons


def operations(made: FusionPlan) -> dict[str, Any]:
    return {w.target.name: w.parts[0] for w in made.checkpoint.weights}


def the_change(made: FusionPlan, name: str) -> Any:
    operation = operations(made)[name]
    assert isinstance(operation, Merge)
    (patch,) = operation.patches
    return patch.change


class TestDense:
    def test_the_product_of_both_transposes_is_added(self) -> None:
        made = plan(run(dense(Q)))
        a, b = dense(Q).a, dense(Q).b
        left, right = Block(b, 0, 4, 24, turned=True), Block(a, 0, 16, 4, turned=True)
        assert the_change(made, f"{Q}.weight") == LowRank(left, right, 20.0)
        assert made.changed == (f"{Q}.weight",) and made.scales == (20.0,) and made.modules == 1

    def test_everything_else_is_kept_in_its_place(self) -> None:
        made = plan(run(dense(Q)))
        assert made.checkpoint.shards[0].specs == TENSORS
        kept = {n: o for n, o in operations(made).items() if n not in made.changed}
        assert kept == {t.name: Copy(Block.of(t)) for t in TENSORS if t.name != f"{Q}.weight"}

    def test_dora(self) -> None:
        change = the_change(plan(run(dense(Q, dora=True))), f"{Q}.weight")
        assert change.magnitude == Block.of(spec(f"{Q}.m", 24, dtype="F32"))

    def test_factors_of_linear_layers(self) -> None:
        a, b = spec("a", 4, 16, dtype="F32"), spec("b", 24, 4, dtype="F32")
        change = the_change(plan(run(LoraTarget(Q, a, b, turned=True))), f"{Q}.weight")
        assert change == LowRank(Block.of(b), Block.of(a), 20.0)
        at_an_end = LoraTarget(E, a, b, turned=True)
        assert "is an embedding" in reasons(run(at_an_end))[0]

    def test_the_scale_of_the_command_line_wins(self) -> None:
        assert the_change(plan(run(dense(Q)), scale=3.0), f"{Q}.weight").scale == 3.0

    def test_shards_are_those_of_the_base(self) -> None:
        files = (("model-00001-of-00002.safetensors", TENSORS[:2]),
                 ("model-00002-of-00002.safetensors", TENSORS[2:]))  # fmt: skip
        on = evolve(base(tie_word_embeddings=False), files=files)
        assert [(s.path, s.specs) for s in plan(run(dense(Q)), on).checkpoint.shards] == list(files)

    @pytest.mark.parametrize("missing", ["model.", "transformer."])
    def test_a_base_without_a_prefix(self, missing: str) -> None:
        name = f"{missing}layers.0.self_attn.q_proj"
        on = base(
            spec("layers.0.self_attn.q_proj.weight", 24, 16),
            architecture=placing(Plain(name, name)),
        )
        assert plan(run(dense(Q)), on).changed == ("layers.0.self_attn.q_proj.weight",)

    @pytest.mark.parametrize("name", ["model.new.q.weight", "model.old.q.weight"])
    def test_the_name_of_transformers_5_is_taken_too(self, name: str) -> None:
        at = placing(Plain("model.new.q", "model.old.q"))
        assert plan(run(dense(Q)), base(spec(name, 24, 16), architecture=at)).changed == (name,)


def placing(place: Place, **more: Any) -> Architecture:
    """An architecture that has one place for every module."""
    return Architecture("x", Standing.CONVERTIBLE, rules=(Rule(".*", place),), **more)


class TestOtherPlaces:
    UP = placing(Rows("model.gate_up", "model.gate_up", 1, 2))

    def test_rows_of_a_larger_matrix(self) -> None:
        on = base(spec("model.gate_up.weight", 48, 16), architecture=self.UP)
        merge = operations(plan(run(dense("up")), on))["model.gate_up.weight"]
        assert [(p.first, p.rows) for p in merge.patches] == [(24, 24)]

    @pytest.mark.parametrize("shape", [(47, 16), (48, 17), (24, 16)])
    def test_rows_that_do_not_fit(self, shape: tuple[int, int]) -> None:
        on = base(spec("model.gate_up.weight", *shape), architecture=self.UP)
        assert "[48, 16]" in reasons(run(dense("up")), on)[0]

    def test_a_convolution_named_linear(self) -> None:
        at = placing(Plain("transformer.h.0.c", "transformer.h.0.c"), conv1d=True)
        made = plan(run(dense("c", dora=True)), base(spec("h.0.c.weight", 16, 24), architecture=at))
        merge = operations(made)["h.0.c.weight"]
        (patch,) = merge.patches
        assert patch.turned and (patch.rows, patch.columns) == (16, 24)
        wrong = base(spec("h.0.c.weight", 24, 16), architecture=at)
        assert "[16, 24]" in reasons(run(dense("c")), wrong)[0]

    def test_a_module_that_is_nowhere(self) -> None:
        kept = (Kept("up.weight", Impossible("has no place")),)
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        assert reasons(run(dense("up")), base(architecture=at)) == ("up: has no place",)

    def test_what_peft_cannot_do_can_be_fused(self) -> None:
        at = placing(Impossible("has no form in PEFT"))
        on = base(spec("up.weight", 24, 16), architecture=at)
        assert plan(run(dense("up")), on).changed == ("up.weight",)

    def test_halves_of_a_stack_of_transposes(self) -> None:
        """As Llama 4 keeps its experts: (expert, in, gate and up)."""
        kept = tuple(
            Kept(f"{n}.weight", Stored("e.gate_up_proj", Layout.TRANSPOSED, i, 2))
            for i, n in enumerate(("gate", "up"))
        )
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        on = base(spec("e.gate_up_proj", 3, 16, 16), architecture=at)
        both = plan(run(stacked("up"), stacked("gate")), on)
        patches = operations(both)["e.gate_up_proj"].patches
        assert [(p.first, p.rows, p.column, p.columns) for p in patches] == [
            (e * 16, 16, half, 8) for e in range(3) for half in (0, 8)
        ]
        assert all(p.turned for p in patches)
        half = operations(plan(run(stacked("up")), on))["e.gate_up_proj"].patches
        assert [p.column for p in half] == [8, 8, 8]

    def test_parts_of_latent_attention(self) -> None:
        """``embed_q`` is turned, head by head, and ``unembed_out`` follows it in each."""
        kept = tuple(
            Kept(rf"a\.{n}\.weight", Stored("a.kv_b_proj.weight", Layout.LATENT, i, 2))
            for i, n in enumerate(("embed_q", "unembed_out"))
        )
        at = Architecture("x", Standing.CONVERTIBLE, kept=kept)
        on = base(spec("a.kv_b_proj.weight", 2 * (3 + 4), 5), architecture=at)
        q, out = spec("a.embed_q.weight", 2, 5, 3), spec("a.unembed_out.weight", 2, 4, 5)
        patches = operations(plan(run(others=[out, q]), on))["a.kv_b_proj.weight"].patches
        assert [(p.first, p.rows, p.turned) for p in patches] == [
            (0, 3, True), (3, 4, False), (7, 3, True), (10, 4, False)
        ]  # fmt: skip
        assert patches[2].change == Recast(Block(q, 15, 5, 3))
        wrong = spec("a.embed_q.weight", 2, 6, 3)
        assert "is it the base" in reasons(run(others=[wrong]), on)[0]

    def test_an_unknown_architecture(self) -> None:
        on = base(model_type="martian", tie_word_embeddings=False)
        assert "martian" in reasons(run(dense(Q)), on)[0]


GATE, UP, DOWN = (f"model.layers.0.mlp.switch_mlp.{p}_proj" for p in ("gate", "up", "down"))


def moe() -> Architecture:
    def rule(name: str, part: Part, each: str) -> Rule:
        container = "model.layers.0.mlp.experts"
        place = Experts(container, f"model.layers.0.block.experts.{{}}.{each}", part)
        return Rule(rf".*\.{name}_proj", place)

    parts = (("gate", Part.GATE, "w1"), ("up", Part.UP, "w3"), ("down", Part.DOWN, "w2"))
    rules = tuple(rule(name, part, each) for name, part, each in parts)
    return Architecture("moe", Standing.CONVERTIBLE, rules=rules)


def sparse(*tensors: TensorSpec) -> FusionBase:
    return base(*tensors, architecture=moe())


class TestExperts:
    def each(self, count: int = 3) -> list[TensorSpec]:
        return [spec(f"model.layers.0.block.experts.{e}.w1.weight", 8, 16) for e in range(count)]

    @pytest.mark.parametrize("flat", [False, True])
    def test_one_tensor_for_each(self, flat: bool) -> None:
        target = stacked(GATE, flat=flat)
        made = plan(run(target), sparse(*self.each()))
        for expert, tensor in enumerate(self.each()):
            change = the_change(made, tensor.name)
            assert change.left == Block(target.b, expert * 32, 8, 4)
            assert change.right == Block(target.a, expert * 64, 4, 16)

    @pytest.mark.parametrize("name", ["mlp.experts.gate_up_proj", "block.experts.gate_up_proj"])
    def test_stacked_gate_rows_come_first(self, name: str) -> None:
        whole = spec(f"model.layers.0.{name}", 3, 16, 16)
        made = plan(run(stacked(UP), stacked(GATE)), sparse(whole))
        patches = operations(made)[whole.name].patches
        assert [(p.first, p.rows) for p in patches] == [(i * 8, 8) for i in range(6)]
        modules = [p.change.left.tensor.name.split(".")[-2] for p in patches]
        assert modules == ["gate_proj", "up_proj"] * 3

    def test_stacked_down(self) -> None:
        whole = spec("model.layers.0.mlp.experts.down_proj", 3, 8, 16)
        patches = operations(plan(run(stacked(DOWN)), sparse(whole)))[whole.name].patches
        assert [(p.first, p.rows) for p in patches] == [(0, 8), (8, 8), (16, 8)]

    @pytest.mark.parametrize(
        ("tensors", "word"),
        [
            ([spec("model.layers.0.mlp.experts.gate_up_proj", 3, 16, 17)], "[3, 16, 16]"),
            ([spec("model.layers.0.mlp.experts.gate_up_proj", 4, 16, 16)], "[3, 16, 16]"),
            ([spec("model.norm.weight", 4)], "has no counterpart"),
        ],
    )
    def test_stacks_that_do_not_fit(self, tensors: list[TensorSpec], word: str) -> None:
        assert word in reasons(run(stacked(GATE)), sparse(*tensors))[0]

    def test_more_or_fewer_experts(self) -> None:
        assert "has no" in reasons(run(stacked(GATE)), sparse(*self.each(2)))[0]
        assert "the base has more" in reasons(run(stacked(GATE)), sparse(*self.each(4)))[0]

    def test_a_dense_pair_at_the_place_of_a_stack(self) -> None:
        assert "no stack of experts" in reasons(run(dense(GATE)), sparse(*self.each()))[0]

    def test_dora_on_experts_does_not_exist(self) -> None:
        target = evolve(stacked(GATE), magnitude=spec("m", 8, dtype="F32"))
        assert "does not have" in reasons(run(target), sparse(*self.each()))[0]

    def test_a_full_stack_replaces_each(self) -> None:
        whole = spec(f"{GATE}.weight", 3, 8, 16, dtype="F32")
        made = plan(run(others=[whole]), sparse(*self.each()))
        changes = [the_change(made, t.name) for t in self.each()]
        assert changes == [Recast(Block(whole, e * 128, 8, 16)) for e in range(3)]


class TestTies:
    def tied(self, *tensors: TensorSpec, **config: Any) -> FusionBase:
        return base(*(tensors or TENSORS[:3]), **config)

    @pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": True}])
    @pytest.mark.parametrize("dora", [False, True])
    def test_an_embedding_of_a_tied_model_is_both_ends(
        self, config: dict[str, Any], dora: bool
    ) -> None:
        made = plan(run(embedding(dora=dora)), self.tied(**config))
        change = the_change(made, f"{E}.weight")
        a, b = embedding().a, embedding().b
        assert (change.left, change.right) == (Block.of(a), Block.of(b))
        assert (change.magnitude is not None) == dora

    def test_an_embedding_of_an_untied_model(self) -> None:
        assert plan(run(embedding())).changed == (f"{E}.weight",)

    def test_the_head_of_an_untied_model(self) -> None:
        head = dense("lm_head", 16, 100)
        assert plan(run(head)).changed == ("lm_head.weight",)

    def test_the_head_of_a_tied_model_is_refused(self) -> None:
        head = dense("lm_head", 16, 100)
        assert "it is the embedding" in reasons(run(head), self.tied())[0]

    def test_a_tied_head_that_is_stored_is_left_out_once_it_is_stale(self) -> None:
        on = self.tied(*TENSORS, tie_word_embeddings=True)
        made = plan(run(embedding()), on)
        assert "lm_head.weight" not in operations(made)
        assert any("lm_head.weight is left out" in note for note in made.checkpoint.notes)
        assert "lm_head.weight" in operations(plan(run(dense(Q)), on))

    @pytest.mark.parametrize("target", [embedding(), dense("lm_head", 16, 100)])
    def test_a_config_that_does_not_say(self, target: LoraTarget) -> None:
        assert "does not say" in reasons(run(target), base())[0]
        assert plan(run(dense(Q)), base()).changed == (f"{Q}.weight",)

    def test_a_text_config_says_it(self) -> None:
        on = base(text_config={"tie_word_embeddings": False})
        assert plan(run(embedding()), on).changed == (f"{E}.weight",)


class TestFull:
    def test_whole_tensors_replace_those_of_the_base(self) -> None:
        others = [spec(f"{Q}.weight", 24, 16, dtype="F32"), spec("model.norm.weight", 16)]
        made = plan(run(others=others, fine_tune_type="full", lora_parameters=None))
        assert made.changed == ("model.layers.0.self_attn.q_proj.weight", "model.norm.weight")
        assert the_change(made, f"{Q}.weight") == Recast(Block.of(others[0]))
        assert made.scales == ()

    def test_layouts_are_restored(self) -> None:
        class Shifting(Architecture):
            def restore(self, tensor: str) -> Stored | Impossible:
                if "conv" in tensor:
                    return Stored("model.conv.weight", Layout.CONVOLUTION)
                return Stored("model.norm.weight", Layout.MINUS_ONE)

        conv = spec("c.conv.weight", 6, 4, 1)
        stored = (spec("model.conv.weight", 6, 1, 4), spec("model.norm.weight", 16))
        on = base(*stored, architecture=Shifting("x", Standing.CONVERTIBLE))
        made = plan(run(others=[conv, spec("c.norm.weight", 16)]), on)
        assert the_change(made, "model.norm.weight").add == -1.0
        # by rows as the checkpoint has them, for the proof to compare row with row
        assert the_change(made, "model.conv.weight") == Recast(Block(conv, 0, 6, 4))
        wide = spec("c.conv.weight", 6, 4, 2)
        assert "[6, 4, 2]" in reasons(run(others=[wide]), on)[0]

    def test_a_pair_and_a_whole_tensor_of_one_module(self) -> None:
        others = [spec(f"{Q}.weight", 24, 16)]
        assert "changed twice" in reasons(run(dense(Q), others=others))[0]

    @pytest.mark.parametrize(
        "other",
        [spec(f"{Q}.lora_a", 16, 4), spec(f"{Q}.m", 24), spec(f"{Q}.scales", 24, 1),
         spec(f"{Q}.weight", 24, 2, dtype="U32")],
    )  # fmt: skip
    def test_what_is_no_weight(self, other: TensorSpec) -> None:
        assert "neither part of a pair nor a weight" in reasons(run(others=[other]))[0]

    def test_nothing_at_all(self) -> None:
        assert reasons(run()) == ("adapters.safetensors: holds no tensors to fuse",)


class TestRefusals:
    def test_all_at_once_and_each_once(self) -> None:
        targets = [dense(f"model.layers.{i}.self_attn.q_proj", 5) for i in range(40)]
        found = reasons(run(*targets))
        assert len(found) == 21 and found[-1] == "and 20 more reasons like these"
        assert (
            "is it the base that was trained on?" in found[0] and "has no counterpart" in found[1]
        )

    @pytest.mark.parametrize(
        ("tensors", "config", "word"),
        [
            ((), {"quantization": {"bits": 4, "group_size": 64}}, "weighbridge dequantize"),
            ((*TENSORS, spec(f"{Q}.scales", 24, 1)), {}, "quantised by MLX"),
            ((*TENSORS, TENSORS[0]), {}, "in more than one file"),
            ((), {"model_type": None}, "has no model_type"),
        ],
    )
    def test_a_base_that_cannot_be_one(
        self, tensors: tuple[TensorSpec, ...], config: dict[str, Any], word: str
    ) -> None:
        (reason,) = reasons(run(dense(Q)), base(*tensors, **config))
        assert word in reason and reason.startswith("the base base ")

    def test_a_base_in_mlx_form(self) -> None:
        moved = Kept("model.norm.weight", Stored("model.norm.weight", Layout.MINUS_ONE))
        at = Architecture("x", Standing.CONVERTIBLE, kept=(moved,))
        on = evolve(base(architecture=at, tie_word_embeddings=False), by_mlx=True)
        (reason,) = reasons(run(dense(Q)), on)
        assert "has MLX's names and layouts" in reason
        assert plan(run(dense(Q)), evolve(base(), by_mlx=True)).changed

    def test_others_of_a_quantised_base_may_stay(self) -> None:
        """As the experts of GPT-OSS do."""
        packed = spec("model.layers.0.mlp.experts.gate_up_proj_blocks", 2, 8, dtype="U8")
        on = base(*TENSORS, packed, quantization_config={"quant_method": "mxfp4"})
        assert plan(run(dense(Q)), on).changed == (f"{Q}.weight",)

    def test_a_dtype_that_is_not_computed_with(self) -> None:
        on = base(
            spec(f"{Q}.weight", 24, 16, dtype="F8_E4M3"),
            quantization_config={"quant_method": "fp8"},
        )
        found = reasons(run(dense(Q)), on)
        assert "is F8_E4M3 in the base" in found[0] and "is quantised (fp8)" in found[1]
        odd = evolve(dense(Q), a=spec(f"{Q}.lora_a", 16, 4, dtype="F64"))
        assert "is F64" in reasons(run(odd))[0]

    def test_a_magnitude_of_another_length(self) -> None:
        odd = evolve(dense(Q), magnitude=spec(f"{Q}.m", 16, dtype="F32"))
        assert "has a magnitude of [16], not [24]" in reasons(run(odd))[0]

    @pytest.mark.parametrize("scale", [0.0, float("inf"), float("nan")])
    def test_a_scale_that_makes_no_sense(self, scale: float) -> None:
        assert "give what MLX multiplied by" in reasons(run(dense(Q)), scale=scale)[0]

    def test_a_scale_that_is_not_known(self) -> None:
        assert "give --scale" in reasons(run(dense(Q), lora_parameters=None))[0]


def test_dora_by_the_config_alone_is_the_plain_lora_of_an_old_version() -> None:
    made = plan(run(dense(Q), fine_tune_type="dora"))
    assert "no magnitudes" in made.checkpoint.notes[0]
    assert not plan(run(dense(Q, dora=True), fine_tune_type="dora")).checkpoint.notes


def test_a_base_without_architectures_is_noted() -> None:
    made = plan(run(dense(Q)), base(architectures=None, tie_word_embeddings=False))
    assert "vLLM" in made.checkpoint.notes[0]
