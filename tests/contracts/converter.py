"""What every Converter must do. A subclass gives the ``converter``; it overrides no test."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import pytest
from attrs import field, frozen

from tests.contracts.assemblies import assembly
from tests.fakes.exact_converter import ExactConverter
from weighbridge.application.ports import Converter
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensor_plan import (
    Assemble,
    ConversionPlan,
    Grid,
    Piece,
    PlannedTensor,
    Transpose,
)
from weighbridge.domain.tensors import TensorSpec

#: Each takes another way through a blocked transpose: tiny, flat, tall, wide, square, odd.
SHAPES = (
    (1, 1), (1, 7), (7, 1), (3, 5), (16, 33), (17, 300), (300, 17), (64, 64), (257, 129),
    (129, 257), (1025, 8), (8, 1025), (1, 5000), (5000, 1), (0, 4), (4, 0),
)  # fmt: skip


@frozen
class MemorySource:
    """Tensors in memory that keeps a record of what was read."""

    tensors: Mapping[str, bytes]
    reads: list[tuple[str, int, int]] = field(factory=list)

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        assert not buffer.readonly and buffer.c_contiguous and buffer.itemsize == 1
        self.reads.append((name, offset, buffer.nbytes))
        buffer[:] = self.tensors[name][offset : offset + buffer.nbytes]


def noise(spec: TensorSpec) -> bytes:
    """Every bit pattern is as likely: NaN with payloads, denormals, both zeros."""
    return random.Random(spec.name).randbytes(spec.nbytes)


def plan_of(*specs: TensorSpec) -> ConversionPlan:
    """Transpose each."""
    targets = (TensorSpec(f"{s.name}.T", s.dtype, s.shape[::-1]) for s in specs)
    pairs = zip(targets, specs, strict=True)
    return ConversionPlan(tuple(PlannedTensor(t, Transpose(s)) for t, s in pairs), {}, 1.0)


def piece_of(
    target: str, source: str, read: Grid, write: Grid, factor: float = 1.0
) -> PlannedTensor:
    """A 2 x 2 tensor with one piece of another such tensor."""
    piece = Piece(TensorSpec("t", source, (2, 2)), read, write, factor)
    return PlannedTensor(TensorSpec("x", target, (2, 2)), Assemble((piece,)))


def source_of(*specs: TensorSpec) -> MemorySource:
    return MemorySource({s.name: noise(s) for s in specs})


def collect(
    converter: Converter, plan: ConversionPlan, source: MemorySource
) -> dict[TensorSpec, bytes]:
    """Everything, each chunk copied before the next is asked for."""
    return {
        spec: b"".join(bytes(c) for c in chunks) for spec, chunks in converter.run(plan, source)
    }


class ConverterContract:
    @pytest.fixture
    def converter(self) -> Converter:
        raise NotImplementedError

    @pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_every_bit_is_moved_as_the_reference_moves_it(
        self, converter: Converter, dtype: str, shape: tuple[int, int]
    ) -> None:
        spec = TensorSpec("t", dtype, shape)
        expected = collect(ExactConverter(), plan_of(spec), source_of(spec))
        assert collect(converter, plan_of(spec), source_of(spec)) == expected

    def test_tensors_come_in_the_order_and_form_of_the_plan(self, converter: Converter) -> None:
        specs = [TensorSpec(f"t{i}", d, (3, i + 1)) for i, d in enumerate(("F32", "BF16", "F16"))]
        plan, source = plan_of(*specs[::-1]), source_of(*specs)
        found = collect(converter, plan, source)
        assert tuple(found) == plan.specs
        assert [len(data) for data in found.values()] == [s.nbytes for s in plan.specs]

    def test_twice_is_the_identity(self, converter: Converter) -> None:
        spec = TensorSpec("t", "BF16", (130, 70))
        once = collect(converter, plan_of(spec), source_of(spec))
        (target,) = once
        again = collect(converter, plan_of(target), MemorySource({target.name: once[target]}))
        assert list(again.values()) == [noise(spec)]

    def test_a_plan_can_be_run_again(self, converter: Converter) -> None:
        spec = TensorSpec("t", "F32", (9, 11))
        source = source_of(spec)
        runs = [collect(converter, plan_of(spec), source) for _ in range(2)]
        assert runs[0] == runs[1]

    def test_no_tensors_are_no_work(self, converter: Converter) -> None:
        assert collect(converter, plan_of(), source_of()) == {}

    @pytest.mark.parametrize("seed", range(40))
    def test_what_is_assembled_is_what_the_reference_assembles(
        self, converter: Converter, seed: int
    ) -> None:
        plan, tensors = assembly(seed)
        expected = collect(ExactConverter(), plan, MemorySource(tensors))
        assert collect(converter, plan, MemorySource(tensors)) == expected

    def test_where_no_piece_is_there_are_zeros(self, converter: Converter) -> None:
        target = TensorSpec("x", "BF16", (5, 3))
        plan = ConversionPlan((PlannedTensor(target, Assemble(())),), {}, 1.0)
        assert collect(converter, plan, source_of()) == {target: bytes(target.nbytes)}

    @pytest.mark.parametrize(
        "bad",
        [
            PlannedTensor(TensorSpec("x", "F32", (2, 2)), cast(Any, object())),
            PlannedTensor(
                TensorSpec("x", "F32", (2, 2, 2)), Transpose(TensorSpec("t", "F32", (2, 2, 2)))
            ),
            PlannedTensor(
                TensorSpec("x", "F32", (2, 3)), Transpose(TensorSpec("t", "F32", (2, 3)))
            ),
            PlannedTensor(
                TensorSpec("x", "F16", (3, 2)), Transpose(TensorSpec("t", "F32", (2, 3)))
            ),
            PlannedTensor(TensorSpec("x", "F4", (2, 2)), Transpose(TensorSpec("t", "F4", (2, 2)))),
            piece_of("F32", "F32", Grid.whole((2, 2)), Grid.whole((1, 4))),
            piece_of("F32", "F32", Grid.whole((2, 2), start=1), Grid.whole((2, 2))),
            piece_of("F32", "F32", Grid(0, 1, 2, 2), Grid(0, 1, 2, 2, 4)),
            piece_of("F16", "F16", Grid.whole((2, 2)), Grid.whole((2, 2)), 0.5),
            piece_of("BF16", "F32", Grid.whole((2, 2)), Grid.whole((2, 2))),
            piece_of("I32", "I32", Grid.whole((2, 2)), Grid.whole((2, 2))),
        ],
        ids=[
            "operation",
            "axes",
            "shape",
            "dtype",
            "packed",
            "another form",
            "beyond the source",
            "beyond the target",
            "arithmetic in 16 bits",
            "narrowing",
            "integers",
        ],
    )
    def test_what_it_cannot_do_is_refused_before_anything_is_read(
        self, converter: Converter, bad: PlannedTensor
    ) -> None:
        good = TensorSpec("good", "F32", (2, 2))
        plan = plan_of(good)
        source = source_of(good)
        with pytest.raises(NotConvertible):
            next(iter(converter.run(ConversionPlan((*plan.tensors, bad), {}, 1.0), source)))
        assert source.reads == []

    def test_a_failing_source_passes_through(self, converter: Converter) -> None:
        class Broken:
            def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
                raise OSError("gone")

        def consume() -> None:
            for _, chunks in converter.run(plan_of(TensorSpec("t", "F32", (2, 3))), Broken()):
                list(chunks)

        with pytest.raises(OSError, match="gone"):
            consume()
