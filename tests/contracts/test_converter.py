"""All implementations of Converter under its contract, and what numpy's promises of memory."""

from __future__ import annotations

import pytest

from tests.contracts.converter import ConverterContract, collect, plan_of, source_of
from tests.fakes.exact_converter import ExactConverter
from weighbridge.adapters.mlx_converter import MlxConverter
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.adapters.workers import missing_mlx
from weighbridge.application.ports import Converter
from weighbridge.domain.tensors import TensorSpec


class TestExactConverter(ConverterContract):
    @pytest.fixture
    def converter(self) -> Converter:
        return ExactConverter()


class TestNumpyConverter(ConverterContract):
    # Small bands and inputs take every way of cutting that large tensors would.
    @pytest.fixture(
        params=[(96 << 20, 8 << 20), (8, 8), (64, 24), (4096, 512), (512, 4096)], ids=str
    )
    def converter(self, request: pytest.FixtureRequest) -> Converter:
        band, piece = request.param
        return NumpyConverter(band_bytes=band, input_bytes=piece)

    @pytest.mark.parametrize("shape", [(4096, 16), (16, 4096), (300, 300), (1, 9000), (9000, 1)])
    def test_no_chunk_and_no_read_exceeds_its_bound(self, shape: tuple[int, int]) -> None:
        spec = TensorSpec("t", "F32", shape)
        source = source_of(spec)
        chunks = NumpyConverter(band_bytes=10_000, input_bytes=3_000).run(plan_of(spec), source)
        sizes = [len(chunk) for _, parts in chunks for chunk in parts]
        assert max(sizes) <= 10_000
        assert sum(sizes) == spec.nbytes
        assert max(size for _, _, size in source.reads) <= 3_000

    def test_a_wide_tensor_is_read_once_however_many_bands(self) -> None:
        spec = TensorSpec("t", "BF16", (4, 1 << 18))
        source = source_of(spec)
        converter = NumpyConverter(band_bytes=1 << 20, input_bytes=1 << 19)
        assert collect(converter, plan_of(spec), source) == collect(
            ExactConverter(), plan_of(spec), source_of(spec)
        )
        assert sum(size for _, _, size in source.reads) == spec.nbytes


@pytest.mark.skipif(missing_mlx() is not None, reason="needs the extra mlx")
class TestMlxConverter(ConverterContract):
    @pytest.fixture(params=[(32 << 20, 8 << 20), (4096, 512)], ids=str)
    def converter(self, request: pytest.FixtureRequest) -> Converter:
        band, piece = request.param
        return MlxConverter(band_bytes=band, input_bytes=piece)
