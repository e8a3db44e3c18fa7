"""The meter of changes against the exact maker, which knows what every weight stands for."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from tests.contracts.weight_maker import (
    PACKINGS,
    Room,
    low_rank,
    made,
    noise,
    numbers,
    packed,
    patch,
    room_for,
)
from tests.fakes.exact_maker import ExactMaker
from weighbridge.adapters.change_meter import NumpyChangeMeter
from weighbridge.application.ports import Sources
from weighbridge.domain.checkpoints.checkpoint import Block, Dequantise, Merge, PlannedWeight
from weighbridge.domain.checkpoints.module_weights import (
    Changed,
    ModuleWeights,
    Place,
    Rectangle,
    Twins,
    peft_changed_weights,
    twins,
)
from weighbridge.domain.checkpoints.packing import Packing
from weighbridge.domain.measures import Measure
from weighbridge.domain.models import PeftModel
from weighbridge.domain.tensors import TensorSpec

ROWS, COLUMNS = 12, 64


def whole(spec: TensorSpec) -> Rectangle:
    return Rectangle(Block.of(spec), 0, spec.shape[1])


def measure(
    changed: Changed, room: Room, after: Room | None = None, changes: Room | None = None
) -> Measure:
    (found,) = NumpyChangeMeter().measure([changed], Sources(room, changes or room), after)
    return found


def square(values: list[float]) -> float:
    return math.fsum(v * v for v in values)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_sums_are_those_of_the_fused_weight(dtype: str, dora: bool) -> None:
    base = TensorSpec("w", dtype, (ROWS, COLUMNS))
    change = low_rank(ROWS, COLUMNS, 3, dtype, dora=dora)
    room = room_for(base, change)
    target = evolve(base, dtype="F32")
    merge = PlannedWeight(target, (Merge(base, (patch(base, change),)),))
    (fused,) = made(ExactMaker(), [merge], room)
    after = Room({"w": fused})
    found = measure(Changed("m", change, whole(base), whole(target)), room, after)
    before, wanted = numbers(room.tensors["w"], dtype), numbers(fused, "F32")
    moved = square([a - b for a, b in zip(wanted, before, strict=True)])
    assert found.values == ROWS * COLUMNS
    assert found.weight == pytest.approx(square(before))
    assert found.change == pytest.approx(moved, rel=1e-4)
    assert found.moved == pytest.approx(moved) and found.kept == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_packed_words_stand_for_what_mlx_means(packing: Packing) -> None:
    weight, room = packed(packing, "F32", rows=ROWS, columns=COLUMNS)
    (place,) = weight.parts
    assert isinstance(place, Dequantise)
    if place.global_scale is not None:
        pytest.skip("is left out by whoever looks for places")
    change = low_rank(ROWS, COLUMNS, 2)
    (values,) = made(ExactMaker(), [weight], room)
    factors = room_for(weight.target, change)
    found = measure(Changed("m", change, place), room, changes=factors)
    assert found.weight == pytest.approx(square(numbers(values, weight.target.dtype)), rel=1e-2)


def test_a_turned_rectangle_is_read_across() -> None:
    stored = TensorSpec("w", "F32", (COLUMNS, 2 * ROWS))  # ours are the last columns
    change = low_rank(ROWS, COLUMNS, 2)
    room = room_for(stored, change)
    place: Place = Rectangle(Block.of(stored), ROWS, ROWS, turned=True)
    values = numbers(room.tensors["w"], "F32")
    ours = [v for n, v in enumerate(values) if n % (2 * ROWS) >= ROWS]
    assert measure(Changed("m", change, place), room).weight == pytest.approx(square(ours))


def test_of_a_large_weight_a_sample_is_read() -> None:
    base = TensorSpec("w", "F32", (4096, 512))
    change = low_rank(4096, 512, 1)
    factors = room_for(evolve(base, shape=(1, 1)), change).tensors
    room = Room({**factors, "w": noise(evolve(base, shape=(1, 512))) * 4096})
    found = measure(Changed("m", change, whole(base)), room)
    assert found.values == 1 << 17
    assert sum(size for name, size in room.reads if name == "w") == found.values * 4
    assert max(size for name, size in room.reads if name == "w") == 512 * 4


def test_a_dora_on_an_embedding_is_not_measured_as_rows() -> None:
    name = "base_model.model.embed_tokens.lora_"
    specs = [
        TensorSpec(f"{name}{leaf}", "F32", shape)
        for leaf, shape in (
            ("embedding_A", (2, 9)),
            ("embedding_B", (4, 2)),
            ("magnitude_vector", (4,)),
        )
    ]
    base = ModuleWeights(
        {"model_type": "llama"}, [TensorSpec("embed_tokens.weight", "F32", (9, 4))]
    )
    config = {"r": 2, "lora_alpha": 2, "use_dora": True, "target_modules": ["embed_tokens"]}
    for held, count in ((specs[:2], 1), (specs, 0)):
        model = PeftModel("", "a", "b", config, tuple(held))
        assert len(list(peft_changed_weights(model, base))) == count


def test_a_weight_is_like_itself_and_like_no_other() -> None:
    plain = TensorSpec("w.weight", "F32", (ROWS, COLUMNS))
    other = TensorSpec("v.weight", "F32", (ROWS, COLUMNS))
    room = Room({spec.name: noise(spec) for spec in (plain, other)})
    weights = ModuleWeights({"model_type": "llama"}, [plain, other], by_mlx=True)
    same = list(twins(weights, weights))
    assert [twin.module for twin in same] == ["w", "v"]
    crossed = [*same, Twins("x", same[0].base, same[1].base)]
    found = list(NumpyChangeMeter().likeness(crossed, room, room))
    assert [round(alike.cosine, 6) for alike in found[:2]] == [1.0, 1.0]
    assert abs(found[2].cosine) < 0.2


def test_twins_are_matrices_of_the_same_size_in_both() -> None:
    def held(**shapes: tuple[int, ...]) -> ModuleWeights:
        specs = [TensorSpec(f"{name}.weight", "F32", shape) for name, shape in shapes.items()]
        return ModuleWeights({"model_type": "llama"}, specs, by_mlx=True)

    made = held(a=(4, 8), b=(4, 8), c=(4, 8), norm=(8,), d=(2, 4, 8))
    base = held(a=(4, 8), b=(8, 4), norm=(8,), d=(2, 4, 8))
    assert [twin.module for twin in twins(base, made)] == ["a"]
