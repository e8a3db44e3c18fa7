"""The proof of a checkpoint: what is right passes, and no mistake of a kind that was made does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from tests.contracts.weight_maker import (
    DTYPES,
    PACKINGS,
    Room,
    floats,
    low_rank,
    made,
    noise,
    numbers,
    packed,
    patch,
    room_for,
    turned,
)
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.adapters.weight_prover import SamplingProver
from weighbridge.application.ports import Sources
from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    Copy,
    Dequantise,
    LowRank,
    Merge,
    Patch,
    PlannedWeight,
    Recast,
    Turn,
)
from weighbridge.domain.checkpoints.packing import Packing
from weighbridge.domain.proof import ProofStep
from weighbridge.domain.tensors import TensorSpec


def proved(weight: PlannedWeight, room: Room, *, as_made: PlannedWeight | None = None) -> ProofStep:
    """The verdict on a tensor that was made by another plan, if one is given."""
    (data,) = made(NumpyWeightMaker(), [as_made or weight], room)
    return judged(weight, room, data)


def judged(weight: PlannedWeight, room: Room, data: bytes) -> ProofStep:
    written = Room({weight.target.name: data})
    return SamplingProver().prove([weight], Sources(room, room), written)


def merged(dtype: str, *, dora: bool = False, turn: bool = False) -> tuple[PlannedWeight, Room]:
    base = TensorSpec("w", dtype, (40, 70) if turn else (70, 40))
    change = low_rank(70, 40, rank=4, dora=dora)
    own = turned(base, change) if turn else patch(base, change)
    weight = PlannedWeight(base, (Merge(base, (own,)),))
    return weight, room_for(base, change)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_merge(dtype: str, dora: bool, turn: bool) -> None:
    step = proved(*merged(dtype, dora=dora, turn=turn))
    assert step.passed, step.problems
    assert dict(step.figures)["rows_computed_anew"] == 32


def another(change: LowRank, mistake: str) -> LowRank:
    """The change as a script might have it."""
    match mistake:
        case "scale":
            return evolve(change, scale=change.scale * 1.01)
        case "transpose":
            left = change.left
            return evolve(change, left=Block(left.tensor, 0, left.columns, left.rows))
        case "magnitude":
            return evolve(change, magnitude=None)
    raise AssertionError(mistake)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mistake", ["scale", "transpose", "magnitude"])
def test_a_wrong_merge(dtype: str, mistake: str) -> None:
    weight, room = merged(dtype, dora=mistake == "magnitude")
    (merge,) = weight.parts
    assert isinstance(merge, Merge) and isinstance(merge.patches[0].change, LowRank)
    wrong = another(merge.patches[0].change, mistake)
    as_made = PlannedWeight(weight.target, (Merge(merge.base, (patch(merge.base, wrong),)),))
    step = proved(weight, room, as_made=as_made)
    assert not step.passed and "times what rounding allows" in step.problems[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_merged_at_all(dtype: str) -> None:
    weight, room = merged(dtype)
    assert not judged(weight, room, room.tensors["w"]).passed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_dequantised(packing: Packing, dtype: str) -> None:
    step = proved(*packed(packing, dtype, rows=50, columns=128))
    assert step.passed, step.problems


def test_dequantised_with_a_global_scale() -> None:
    weight, room = packed(PACKINGS[-1], "BF16", rows=50, columns=128, factor=0.7)
    assert proved(weight, room).passed
    left_out = Room({**room.tensors, "g": floats(TensorSpec("g", "F32", ()), [448 * 6])})
    (data,) = made(NumpyWeightMaker(), [weight], left_out)
    assert not judged(weight, room, data).passed


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_wrongly_unpacked(packing: Packing) -> None:
    weight, room = packed(packing, "BF16", rows=50, columns=128)
    (data,) = made(NumpyWeightMaker(), [weight], room)
    shifted = data[2:] + data[:2]
    assert not judged(weight, room, shifted).passed


def test_parts_turned_and_recast() -> None:
    weight, room = packed(PACKINGS[4], "BF16", rows=50, columns=128)
    (operation,) = weight.parts
    assert isinstance(operation, Dequantise)
    turn = Turn((operation, operation), 100, 128)
    both = PlannedWeight(TensorSpec("x", "BF16", (128, 100)), (turn,))
    assert proved(both, room).passed
    (data,) = made(NumpyWeightMaker(), [weight], room)
    assert len(judged(both, room, data * 2).problems) == 2
    spec = TensorSpec("t", "F32", (8, 9))
    room = Room({"t": noise(spec)})
    both = (Copy(Block.of(spec)), Recast(Block.of(spec), -1.0))
    joined = PlannedWeight(TensorSpec("tt", "F32", (16, 9)), both)
    assert proved(joined, room).passed
    exchanged = PlannedWeight(joined.target, both[::-1])
    step = proved(joined, room, as_made=exchanged)
    assert len(step.problems) == 2


def damaged(data: bytes, dtype: str) -> bytes:
    values = numbers(data, dtype)
    return floats(TensorSpec("", dtype, (len(values),)), [v * 1.02 + 1e-4 for v in values])


MAKERS: dict[str, Callable[[], tuple[PlannedWeight, Room]]] = {
    "merge": lambda: merged("F32"),
    "dora": lambda: merged("F16", dora=True),
    "dequantised": lambda: packed(PACKINGS[6], "F32", rows=40, columns=64),
}


@pytest.mark.parametrize("name", MAKERS)
def test_values_two_percent_off(name: str) -> None:
    weight, room = MAKERS[name]()
    (data,) = made(NumpyWeightMaker(), [weight], room)
    assert judged(weight, room, data).passed
    assert not judged(weight, room, damaged(data, weight.target.dtype)).passed


@pytest.mark.parametrize("turn", [False, True])
def test_rectangles_side_by_side(turn: bool) -> None:
    base = TensorSpec("w", "F32", (2, 5, 14))
    one = low_rank(6, 5, rank=2) if turn else low_rank(5, 6, rank=2)
    new = TensorSpec("n", "F32", (8, 5) if turn else (5, 8))
    patches = (Patch(5, 5, 0, 6, one, turn), Patch(5, 5, 6, 8, Recast(Block.of(new)), turn))
    weight = PlannedWeight(base, (Merge(base, patches),))
    room = Room({**room_for(base, one).tensors, "n": noise(new)})
    (data,) = made(NumpyWeightMaker(), [weight], room)
    assert judged(weight, room, data).passed
    for begin, end in ((0, 20), (280, 300), (280 + 24, 280 + 44)):
        wrong = data[:begin] + damaged(data[begin:end], "F32") + data[end:]
        assert not judged(weight, room, wrong).passed


def test_rows_that_were_to_be_kept() -> None:
    base, new = TensorSpec("w", "F32", (60, 8)), TensorSpec("n", "F32", (20, 8))
    weight = PlannedWeight(base, (Merge(base, (patch(base, Recast(Block.of(new)), 20, 20),)),))
    room = Room({"w": noise(base), "n": noise(new)})
    (data,) = made(NumpyWeightMaker(), [weight], room)
    assert judged(weight, room, data).passed
    for at in (0, 20, 40):  # before, within and after the patch
        begin, end = at * 32, (at + 20) * 32
        wrong = data[:begin] + damaged(data[begin:end], "F32") + data[end:]
        assert not judged(weight, room, wrong).passed


def test_not_a_number_is_no_agreement() -> None:
    weight, room = merged("F32")
    nan = b"\x00\x00\xc0\x7f" * (weight.target.nbytes // 4)
    step = judged(weight, room, nan)
    assert not step.passed and dict(step.figures)["largest_error_of_the_allowed"] == float("inf")


@pytest.mark.parametrize("word", [b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff"])
def test_what_diverged_is_told_and_not_how_far_off_it_is(word: bytes) -> None:
    trained = TensorSpec("trained", "F32", (4, 4))
    weight = PlannedWeight(TensorSpec("w", "F32", (4, 4)), (Recast(Block.of(trained)),))
    data = noise(trained)[:-4] + word
    step = judged(weight, Room({"trained": data}), data)
    assert not step.passed and "come of values that are not finite" in step.problems[0]


def test_a_screen_of_problems_is_enough() -> None:
    specs = [TensorSpec(f"t{i}", "F32", (4, 4)) for i in range(30)]
    weights = [PlannedWeight(s, (Copy(Block.of(s)),)) for s in specs]
    room = Room({s.name: noise(s) for s in specs})
    written = Room({s.name: bytes(s.nbytes) for s in specs})
    step = SamplingProver().prove(weights, Sources(room, room), written)
    assert len(step.problems) == 21 and step.problems[-1] == "and 10 more problems"
