"""All implementations of WeightMaker under its contract, and what numpy's promises of memory."""

from __future__ import annotations

import pytest

from tests.contracts.weight_maker import (
    Room,
    WeightMakerContract,
    low_rank,
    made,
    noise,
    packed,
    patch,
    room_for,
)
from tests.fakes.exact_maker import ExactMaker
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.application.ports import Sources, WeightMaker
from weighbridge.domain.checkpoints.checkpoint import Block, Copy, Merge, PlannedWeight
from weighbridge.domain.checkpoints.packing import Mode, Packing
from weighbridge.domain.tensors import TensorSpec


class TestExactMaker(WeightMakerContract):
    @pytest.fixture
    def maker(self) -> WeightMaker:
        return ExactMaker()


class TestNumpyWeightMaker(WeightMakerContract):
    # Small bands take every way of cutting that large tensors would.
    @pytest.fixture(params=[(1 << 18, 2), (1, 1), (100, 3)], ids=str)
    def maker(self, request: pytest.FixtureRequest) -> WeightMaker:
        band, threads = request.param
        return NumpyWeightMaker(band_values=band, threads=threads)

    def test_no_read_and_no_chunk_exceeds_a_band(self) -> None:
        base, change = TensorSpec("w", "BF16", (300, 50)), low_rank(300, 50, rank=2)
        room = room_for(base, change)
        weight = PlannedWeight(base, (Merge(base, (patch(base, change),)),))
        maker = NumpyWeightMaker(band_values=1000, threads=2)
        with maker.run([weight], Sources(room, room)) as found:
            sizes = [len(c) for _, chunks in found for c in chunks]
        assert max(sizes) <= 2000 and sum(sizes) == base.nbytes
        assert max(size for name, size in room.reads if name == "w") <= 2000

    def test_packed_words_are_read_once(self) -> None:
        weight, room = packed(Packing(Mode.AFFINE, 4, 64), "BF16", rows=64, columns=128)
        made(NumpyWeightMaker(band_values=700, threads=2), [weight], room)
        assert sum(size for name, size in room.reads if name == "q") == 64 * 64

    def test_what_was_not_asked_for_is_not_the_next_tensors(self) -> None:
        one, two = TensorSpec("one", "F32", (64, 9)), TensorSpec("two", "F32", (3, 9))
        room = Room({s.name: noise(s) for s in (one, two)})
        weights = [PlannedWeight(s, (Copy(Block.of(s)),)) for s in (one, two)]
        maker = NumpyWeightMaker(band_values=10, threads=2)
        with maker.run(weights, Sources(room, room)) as found:
            next(found)
            assert b"".join(bytes(c) for c in next(found)[1]) == noise(two)
