"""What every WeightMaker must do. A subclass gives the ``maker``; it overrides no test."""

from __future__ import annotations

import math
import random
import struct
import threading
from collections.abc import Mapping, Sequence

import pytest
from attrs import evolve, field, frozen

from tests.fakes.exact_maker import ExactMaker, rounded
from weighbridge.application.ports import Sources, WeightMaker
from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    Copy,
    Dequantise,
    LowRank,
    Merge,
    Operation,
    Patch,
    PlannedWeight,
    Recast,
    Turn,
)
from weighbridge.domain.checkpoints.packing import Mode, Packing
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensors import TensorSpec

DTYPES = ("F32", "F16", "BF16")
PACKINGS = [
    *(Packing(Mode.AFFINE, bits, group) for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64)),
    Packing(Mode.MXFP4, 4, 32),
    Packing(Mode.MXFP8, 8, 32),
    Packing(Mode.NVFP4, 4, 16),
]


@frozen
class Room:
    """Tensors in memory that are both sides of ``Sources``, and a record of reads."""

    tensors: Mapping[str, bytes]
    reads: list[tuple[str, int]] = field(factory=list)

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        assert not buffer.readonly and buffer.c_contiguous and buffer.itemsize == 1
        self.reads.append((name, buffer.nbytes))
        buffer[:] = self.tensors[name][offset : offset + buffer.nbytes]


def floats(spec: TensorSpec, values: Sequence[float]) -> bytes:
    """Those values, rounded, in the dtype of the spec."""
    near = [rounded(v, spec.dtype) for v in values]
    if spec.dtype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in near)
    return struct.pack(f"<{len(near)}{'e' if spec.dtype == 'F16' else 'f'}", *near)


def numbers(raw: bytes, dtype: str) -> list[float]:
    """The floats in ``raw``."""
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = "e" if dtype == "F16" else "f"
    return list(struct.unpack(f"<{len(raw) // (2 if code == 'e' else 4)}{code}", raw))


def noise(spec: TensorSpec, size: float = 1.0) -> bytes:
    """Numbers of a normal distribution that belong to the tensor's name."""
    source = random.Random(spec.name)
    return floats(spec, [source.gauss(0, size) for _ in range(math.prod(spec.shape))])


def bits(spec: TensorSpec) -> bytes:
    """Any bytes, the same for the same name."""
    return random.Random(spec.name).randbytes(spec.nbytes)


def made(maker: WeightMaker, weights: Sequence[PlannedWeight], room: Room) -> list[bytes]:
    """Everything, each chunk copied before the next is asked for."""
    with maker.run(weights, Sources(room, room)) as found:
        return [b"".join(bytes(c) for c in chunks) for _, chunks in found]


def alike(maker: WeightMaker, weight: PlannedWeight, room: Room) -> None:
    """``maker`` gives what the exact one gives, but for the rounding of float32 arithmetic."""
    (found,) = made(maker, [weight], room)
    (wanted,) = made(ExactMaker(), [weight], room)
    dtype = weight.target.dtype
    step = {"F32": 2.0**-24, "F16": 2.0**-10, "BF16": 2.0**-7}[dtype]
    for one, other in zip(numbers(found, dtype), numbers(wanted, dtype), strict=True):
        assert abs(one - other) <= step * abs(other) + 2.0**-18


def low_rank(
    rows: int, columns: int, rank: int, dtype: str = "F32", *, dora: bool = False
) -> LowRank:
    """A change of a matrix of that size, as of a dense LoRA."""
    a, b = TensorSpec("a", dtype, (columns, rank)), TensorSpec("b", dtype, (rank, rows))
    magnitude = Block.of(TensorSpec("m", dtype, (rows,))) if dora else None
    left = Block(b, 0, rank, rows, turned=True)
    return LowRank(left, Block(a, 0, columns, rank, turned=True), 2.0, magnitude)


def patch(
    base: TensorSpec, change: LowRank | Recast, first: int = 0, rows: int | None = None
) -> Patch:
    """A change of all columns of these rows, or of all rows."""
    whole = Block.of(base)
    return Patch(first, whole.rows if rows is None else rows, 0, whole.columns, change)


def turned(base: TensorSpec, change: LowRank | Recast) -> Patch:
    """A change of the transpose of all."""
    return Patch(0, base.shape[0], 0, base.shape[1], change, turned=True)


def room_for(base: TensorSpec, *changes: LowRank) -> Room:
    """The base and the factors of these changes."""
    specs = {base.name: noise(base)}
    for change in changes:
        for block in (change.left, change.right, change.magnitude):
            if block is not None:
                specs[block.tensor.name] = noise(block.tensor)
    return Room(specs)


class WeightMakerContract:
    @pytest.fixture
    def maker(self) -> WeightMaker:
        raise NotImplementedError

    @pytest.mark.parametrize("dtype", ["F32", "BF16", "U32", "U8", "F8_E4M3", "F4"])
    def test_a_copy_is_the_very_bits_under_another_name_and_shape(
        self, maker: WeightMaker, dtype: str
    ) -> None:
        spec = TensorSpec("t", dtype, (6, 34, 1))
        target = TensorSpec("u", dtype, (6, 1, 34))
        room = Room({"t": bits(spec)})
        assert made(maker, [PlannedWeight(target, (Copy(Block.of(spec)),))], room) == [bits(spec)]

    def test_parts_follow_one_another(self, maker: WeightMaker) -> None:
        one, two = TensorSpec("one", "BF16", (3, 5)), TensorSpec("two", "BF16", (3, 5))
        weight = PlannedWeight(
            TensorSpec("both", "BF16", (6, 5)), (Copy(Block.of(one)), Copy(Block.of(two)))
        )
        room = Room({"one": bits(one), "two": bits(two)})
        assert made(maker, [weight], room) == [bits(one) + bits(two)]

    def test_an_expert_is_a_part_of_a_stack(self, maker: WeightMaker) -> None:
        stack = TensorSpec("stack", "F16", (3, 4, 5))
        weights = [
            PlannedWeight(TensorSpec(f"e{e}", "F16", (4, 5)), (Copy(Block.of(stack).part(e, 3)),))
            for e in range(3)
        ]
        assert b"".join(made(maker, weights, Room({"stack": bits(stack)}))) == bits(stack)

    @pytest.mark.parametrize("source", DTYPES)
    @pytest.mark.parametrize("target", DTYPES)
    def test_recast_rounds_to_the_nearest(
        self, maker: WeightMaker, source: str, target: str
    ) -> None:
        spec = TensorSpec("t", source, (7, 33))
        weight = PlannedWeight(TensorSpec("u", target, (7, 33)), (Recast(Block.of(spec), -1.0),))
        alike(maker, weight, Room({"t": noise(spec)}))

    @pytest.mark.parametrize("dora", [False, True])
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (17, 29)], ids=str)
    def test_a_low_rank_change(
        self, maker: WeightMaker, dtype: str, shape: tuple[int, int], dora: bool
    ) -> None:
        base, change = TensorSpec("w", dtype, shape), low_rank(*shape, rank=3, dora=dora)
        weight = PlannedWeight(base, (Merge(base, (patch(base, change),)),))
        alike(maker, weight, room_for(base, change))

    @pytest.mark.parametrize("dora", [False, True])
    def test_a_change_of_the_transpose(self, maker: WeightMaker, dora: bool) -> None:
        base, change = TensorSpec("w", "F32", (9, 14)), low_rank(14, 9, rank=2, dora=dora)
        weight = PlannedWeight(base, (Merge(base, (turned(base, change),)),))
        alike(maker, weight, room_for(base, change))

    def test_a_replacement_of_the_transpose(self, maker: WeightMaker) -> None:
        base, new = TensorSpec("w", "BF16", (9, 14)), TensorSpec("n", "F32", (14, 9))
        merge = Merge(base, (turned(base, Recast(Block.of(new))),))
        alike(maker, PlannedWeight(base, (merge,)), Room({"w": noise(base), "n": noise(new)}))

    def test_patches_leave_the_rows_between_them_alone(self, maker: WeightMaker) -> None:
        base, new = TensorSpec("w", "BF16", (3, 4, 6)), TensorSpec("n", "F32", (2, 6))
        change = low_rank(3, 6, rank=2, dtype="BF16")
        patches = (patch(base, change, 1, 3), patch(base, Recast(Block.of(new)), 7, 2))
        weight = PlannedWeight(base, (Merge(base, patches),))
        room = room_for(base, change)
        room = Room({**room.tensors, "n": noise(new)})
        alike(maker, weight, room)
        (found,) = made(maker, [weight], room)
        row = 6 * 2
        for kept in (slice(0, row), slice(4 * row, 7 * row), slice(9 * row, 12 * row)):
            assert found[kept] == room.tensors["w"][kept]

    @pytest.mark.parametrize("scales", DTYPES)
    @pytest.mark.parametrize("packing", PACKINGS, ids=str)
    def test_dequantised_to_the_bit(
        self, maker: WeightMaker, packing: Packing, scales: str
    ) -> None:
        weight, room = packed(packing, scales, rows=5, columns=128)
        assert made(maker, [weight], room) == made(ExactMaker(), [weight], room)

    @pytest.mark.parametrize("factor", [0.37, 5.0])
    def test_a_global_scale(self, maker: WeightMaker, factor: float) -> None:
        weight, room = packed(Packing(Mode.NVFP4, 4, 16), "BF16", rows=5, columns=64, factor=factor)
        assert made(maker, [weight], room) == made(ExactMaker(), [weight], room)

    @pytest.mark.parametrize("dora", [False, True])
    @pytest.mark.parametrize("turn", [False, True])
    def test_rectangles_side_by_side(self, maker: WeightMaker, turn: bool, dora: bool) -> None:
        """The halves of a stack of experts whose matrices are stored (in, out)."""
        base = TensorSpec("w", "BF16", (2, 5, 14))
        change = low_rank(6, 5, rank=2, dora=dora) if turn else low_rank(5, 6, rank=2, dora=dora)
        new = TensorSpec("n", "F32", (8, 5) if turn else (5, 8))
        patches = (
            Patch(5, 5, 0, 6, change, turn),
            Patch(5, 5, 6, 8, Recast(Block.of(new), -1.0), turn),
        )
        weight = PlannedWeight(base, (Merge(base, patches),))
        room = Room({**room_for(base, change).tensors, "n": noise(new)})
        alike(maker, weight, room)
        (found,) = made(maker, [weight], room)
        assert found[: base.nbytes // 2] == room.tensors["w"][: base.nbytes // 2]

    def test_a_replacement_whose_block_is_turned(self, maker: WeightMaker) -> None:
        base, new = TensorSpec("w", "BF16", (9, 14)), TensorSpec("n", "F32", (14, 9))
        change = Recast(evolve(Block.of(new), turned=True))
        weight = PlannedWeight(base, (Merge(base, (patch(base, change),)),))
        room = Room({"w": noise(base), "n": noise(new)})
        alike(maker, weight, room)
        assert made(maker, [weight], room) != [room.tensors["w"]]

    def test_dequantised_and_turned(self, maker: WeightMaker) -> None:
        weight, room = packed(Packing(Mode.AFFINE, 3, 32), "BF16", rows=5, columns=64)
        (operation,) = weight.parts
        assert isinstance(operation, Dequantise)
        turn = Turn((operation, operation), 10, 64)
        both = PlannedWeight(TensorSpec("x", "BF16", (64, 10)), (turn,))
        assert made(maker, [both], room) == made(ExactMaker(), [both], room)

    def test_tensors_come_in_the_order_of_the_plan(self, maker: WeightMaker) -> None:
        specs = [TensorSpec(f"t{i}", "F32", (i, 5)) for i in range(4)]
        weights = [PlannedWeight(s, (Copy(Block.of(s)),)) for s in reversed(specs)]
        room = Room({s.name: noise(s) for s in specs})
        with maker.run(weights, Sources(room, room)) as tensors:
            found = [spec for spec, _ in tensors]
        assert found == specs[::-1]

    @pytest.mark.parametrize("dtype", ["F16", "BF16"])
    def test_what_is_too_large_for_the_dtype_is_refused(
        self, maker: WeightMaker, dtype: str
    ) -> None:
        spec = TensorSpec("t", "F32", (2, 40))
        values = [1.0] * 79 + [-3.4e38]
        weight = PlannedWeight(TensorSpec("u", dtype, (2, 40)), (Recast(Block.of(spec)),))
        with pytest.raises(NotConvertible) as refused:
            made(maker, [weight], Room({"t": floats(spec, values)}))
        assert refused.value.location == "u"

    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
    def test_what_is_not_finite_is_refused(self, maker: WeightMaker, value: float) -> None:
        base, change = TensorSpec("w", "BF16", (4, 4)), low_rank(4, 4, rank=1)
        room = room_for(base, change)
        broken = struct.pack("<4f", 0.1, value, 0.1, 0.1)
        weight = PlannedWeight(base, (Merge(base, (patch(base, change),)),))
        with pytest.raises(NotConvertible):
            made(maker, [weight], Room({**room.tensors, "a": broken}))

    def test_a_row_of_zeros_has_no_direction(self, maker: WeightMaker) -> None:
        base, change = TensorSpec("w", "F32", (2, 4)), low_rank(2, 4, rank=1, dora=True)
        room = room_for(base, change)
        room = Room({**room.tensors, "w": bytes(base.nbytes), "b": bytes(8)})
        with pytest.raises(NotConvertible):
            made(maker, [PlannedWeight(base, (Merge(base, (patch(base, change),)),))], room)

    def test_a_failing_source_passes_through(self, maker: WeightMaker) -> None:
        class Broken:
            def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
                raise OSError("gone")

        spec = TensorSpec("t", "F32", (2, 3))

        def consume() -> None:
            weights = [PlannedWeight(spec, (Copy(Block.of(spec)),))]
            with maker.run(weights, Sources(Broken(), Broken())) as found:
                for _, chunks in found:
                    list(chunks)

        with pytest.raises(OSError, match="gone"):
            consume()

    def test_leaving_early_ends_the_work(self, maker: WeightMaker) -> None:
        spec, before = TensorSpec("t", "F32", (64, 9)), threading.active_count()
        room = Room({"t": noise(spec)})
        weights = [PlannedWeight(spec, (Copy(Block.of(spec)),))] * 20
        with maker.run(weights, Sources(room, room)) as found:
            next(next(found)[1])
        reads = len(room.reads)
        assert reads < 20 and threading.active_count() == before
        assert len(room.reads) == reads


def packed(
    packing: Packing, scales: str, *, rows: int, columns: int, factor: float | None = None
) -> tuple[PlannedWeight, Room]:
    """A packed matrix of random words."""
    words, groups = columns * packing.bits // 32, columns // packing.group_size
    affine = packing.mode is Mode.AFFINE
    weight = TensorSpec("q", "U32", (rows, words))
    scale = TensorSpec("s", scales if affine else "U8", (rows, groups))
    bias = TensorSpec("b", scales, (rows, groups))
    whole = TensorSpec("g", "F32", ())
    tensors = {"q": bits(weight), "s": noise(scale, 0.02) if affine else small(packing, scale)}
    if packing.mode is Mode.MXFP8:  # two of its codes are NaN
        tensors["q"] = bytes(b & 0xF7 for b in tensors["q"])
    tensors |= {"b": noise(bias, 0.1)} | ({} if factor is None else {"g": floats(whole, [factor])})
    operation: Operation = Dequantise(
        packing, Block.of(weight), Block.of(scale), Block.of(bias) if affine else None,
        None if factor is None else Block.of(whole),
    )  # fmt: skip
    target = TensorSpec("x", scales if affine else "BF16", (rows, columns))
    return PlannedWeight(target, (operation,)), Room(tensors)


def small(packing: Packing, spec: TensorSpec) -> bytes:
    """Scales of a byte: any but the largest exponents and NaN."""
    most = 0x7E if packing.mode is Mode.NVFP4 else 0xE0
    return bytes(random.Random(spec.name).randrange(most) for _ in range(spec.nbytes))
