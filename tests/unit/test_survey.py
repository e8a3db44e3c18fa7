"""The numpy surveyor against numpy's own arithmetic, on every kind of bit pattern."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from itertools import product
from threading import Event, current_thread, main_thread
from typing import Any

import numpy as np
import pytest
from attrs import field, frozen

from tests.builders import npz
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.domain.errors import StorageError
from weighbridge.domain.npz import parse_npz
from weighbridge.domain.survey import TensorStats
from weighbridge.domain.tensors import (
    DTYPE_BITS,
    Header,
    TensorSpec,
    encode_header,
    header_length,
    parse_header,
)

Array = np.ndarray[Any, np.dtype[Any]]


@frozen
class MemoryReader:
    content: bytes
    reads: list[int] = field(factory=list)

    @property
    def size(self) -> int:
        return len(self.content)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        assert offset + len(buffer) <= len(self.content)
        self.reads.append(len(buffer))
        buffer[:] = self.content[offset : offset + len(buffer)]


def _passes_on(
    surveyor: NumpySurveyor, reader: MemoryReader, header: Header, found: Mapping[str, TensorStats]
) -> None:
    """With a sink: the same statistics, and every byte in order."""
    told: list[int] = []
    passed_on = bytearray()
    again = surveyor.survey(reader, header, advance=told.append, sink=passed_on.extend)
    assert bytes(passed_on) == reader.content and sum(told) == header.data_bytes
    assert repr(again) == repr(found)  # NaN is not equal to itself


def survey(
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]],
    buffer_bytes: int = 512 << 10,
    segment_bytes: int = 16 << 20,
) -> tuple[dict[str, TensorStats], MemoryReader]:
    """Statistics of a file made of those; the progress must sum up to the data."""
    specs = [TensorSpec(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    reader = MemoryReader(encode_header(specs) + b"".join(d for _, _, d in tensors.values()))
    length = header_length(reader.content[:16], reader.size)
    header = parse_header(reader.content[8 : 8 + length], reader.size)
    told: list[int] = []
    surveyor = NumpySurveyor(buffer_bytes=buffer_bytes, segment_bytes=segment_bytes)
    found = surveyor.survey(reader, header, advance=told.append)
    assert sum(told) == header.data_bytes
    _passes_on(surveyor, MemoryReader(reader.content), header, found)
    assert list(found) == [slot.spec.name for slot in header.slots]
    return dict(found), reader


def one(
    dtype: str, data: bytes, buffer_bytes: int = 512 << 10, segment_bytes: int = 16 << 20
) -> TensorStats:
    count = len(data) * 8 // DTYPE_BITS[dtype]
    return survey({"t": (dtype, (count,), data)}, buffer_bytes, segment_bytes)[0]["t"]


def _bf16(data: bytes) -> Array:
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")


def _e5m2(data: bytes) -> Array:
    return (np.frombuffer(data, "u1").astype("<u2") << 8).view("<f2")


def _e4m3(data: bytes) -> Array:
    def value(byte: int) -> float:
        sign, exponent, mantissa = byte >> 7, byte >> 3 & 15, byte & 7
        if exponent == 15 and mantissa == 7:
            return math.nan
        size = mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        return -size if sign else size

    return np.array([value(byte) for byte in data])


def _e8m0(data: bytes) -> Array:
    return np.array([math.nan if byte == 255 else 2.0 ** (byte - 127) for byte in data])


def _plain(code: str) -> Callable[[bytes], Array]:
    return lambda data: np.frombuffer(data, code)


DECODERS: dict[str, Callable[[bytes], Array]] = {
    "F64": _plain("<f8"), "F32": _plain("<f4"), "F16": _plain("<f2"), "C64": _plain("<f4"),
    "BF16": _bf16, "F8_E5M2": _e5m2, "F8_E4M3": _e4m3, "F8_E8M0": _e8m0,
}  # fmt: skip


def truth(dtype: str, data: bytes) -> TensorStats:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = DECODERS[dtype](data).astype(np.float64)
    finite = bool(np.isfinite(values).all())
    zero = not (values != 0).any()
    absmax = float(np.abs(values).max(initial=0.0)) if finite else math.nan
    width = len(data) // max(1, values.size)
    words = {data[at : at + width] for at in range(0, len(data), width or 1)}
    constant = len(words) == 1 and values.size > 1 and not (zero and finite)
    return TensorStats(finite, zero and finite, absmax, constant=constant)


def same(found: TensorStats, expected: TensorStats) -> bool:
    if not expected.finite:
        return found.examined and not found.finite and not found.zero and math.isnan(found.absmax)
    return found == expected


@pytest.mark.parametrize("dtype", sorted(DECODERS))
@pytest.mark.parametrize("buffer_bytes", [1, 8, 24, 4096])
def test_random_bits_of_any_length(dtype: str, buffer_bytes: int) -> None:
    random = np.random.default_rng(sum(map(ord, dtype)))
    width = DTYPE_BITS[dtype] // 8
    for count in (1, 2, 3, 5, 7, 8, 9, 31, 257):
        for _ in range(20):
            data = random.bytes(count * width)
            found = one(dtype, data, buffer_bytes)
            expected = truth(dtype, data)
            assert same(found, expected)
            assert expected.finite == math.isfinite(found.absmax)


@pytest.mark.parametrize(
    "dtype", [d for d, bits in DTYPE_BITS.items() if d in DECODERS and bits < 32]
)
def test_every_pattern_alone_and_beside_a_small_negative(dtype: str) -> None:
    width = DTYPE_BITS[dtype] // 8
    for pattern in range(1 << 8 * width):
        if width == 2 and pattern % 7 and pattern & 0x7FFF not in (0, 1, 0x7BFF, 0x7C00, 0x7F80):
            continue
        data = pattern.to_bytes(width, "little")
        small = (1 << (8 * width - 1) | 1).to_bytes(width, "little")
        for content in (data, data + small, small + data):
            assert same(one(dtype, content), truth(dtype, content)), hex(pattern)


EDGES = {
    "F32": [0, 1 << 31, 1, 0x80000001, 0x7FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
            0x7F800001, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x3F800000],
    "F64": [0, 1 << 63, 1, (1 << 63) + 1, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF,
            0x7FF0000000000000, 0xFFF0000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF],
    "C64": [0, 1 << 63, 1 << 31, 0x7F800000, 0xFF800000 << 32, 0x3F800000BF800000],
}  # fmt: skip


@pytest.mark.parametrize("dtype", sorted(EDGES))
def test_edges_alone_and_in_pairs(dtype: str) -> None:
    words = [p.to_bytes(DTYPE_BITS[dtype] // 8, "little") for p in EDGES[dtype]]
    for data in [*words, *(a + b for a in words for b in words)]:
        assert same(one(dtype, data), truth(dtype, data))


def test_minus_zero_is_zero_and_a_denormal_is_not() -> None:
    assert one("F32", np.array([-0.0, 0.0], "<f4").tobytes()).zero
    assert not one("F16", (1).to_bytes(2, "little")).zero


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_a_flood_of_denormals_in_a_part(dtype: str) -> None:
    width = DTYPE_BITS[dtype] // 8
    small, usual = (1).to_bytes(width, "little"), b"\0" * (width - 2) + b"\x80\x3c"
    for part in (0, 4096, 8192):
        data = small * part + usual * (8192 - part)
        assert one(dtype, data, 4096).denormal == pytest.approx(part / 8192, abs=0.05)
    assert one(dtype, b"\0" * 8192).denormal == one(dtype, small * 9).denormal == 0


@pytest.mark.parametrize("dtype", sorted(DECODERS))
def test_one_bad_element_is_found_wherever_it_is(dtype: str) -> None:
    width = DTYPE_BITS[dtype] // 8
    bad = {"F8_E4M3": 0xFF, "F8_E8M0": 0xFF}.get(dtype, (1 << 8 * width) - 1)
    for at in range(40):
        data = bytearray(40 * width)
        data[at * width : (at + 1) * width] = bad.to_bytes(width, "little")
        for segment_bytes in (8, 24, 1 << 20):
            assert not one(dtype, bytes(data), 24, segment_bytes).finite


def test_tensors_do_not_touch_each_other_even_at_odd_places() -> None:
    random = np.random.default_rng(7)
    names = [d for d in sorted(DECODERS) for _ in range(3)]
    random.shuffle(names)
    tensors = {}
    for index, dtype in enumerate(names):
        count = int(random.integers(0, 40))
        content = random.bytes(count * DTYPE_BITS[dtype] // 8)
        tensors[f"{index:02}"] = (dtype, (count,), content)
    tensors["odd"] = ("I8", (3,), b"\xff\xff\xff")
    tensors["after"] = ("F64", (2,), np.array([1.5, -2.5]).tobytes())
    for buffer_bytes, segment_bytes in product((8, 17, 64, 1 << 20), (1, 13, 40, 1 << 20)):
        found, _ = survey(tensors, buffer_bytes, segment_bytes)
        for name, (dtype, _, data) in tensors.items():
            assert (
                not found[name].examined if name == "odd" else same(found[name], truth(dtype, data))
            )


@pytest.mark.parametrize("dtype", [d for d in DTYPE_BITS if d not in {*DECODERS, "U8", "U32"}])
def test_what_has_no_such_values_is_not_examined_nor_read(dtype: str) -> None:
    data = b"\xff" * (8 * DTYPE_BITS[dtype] // 8)
    found, reader = survey({"t": (dtype, (8,), data)})
    assert not found["t"].examined and found["t"].finite and not found["t"].zero
    assert reader.reads == []


@pytest.mark.parametrize("largest", [0, 0x7F, 0xFF])
def test_of_bytes_the_largest_is_told_and_nothing_else(largest: int) -> None:
    found, _ = survey({"t": ("U8", (9,), bytes([0] * 8 + [largest]))})
    assert found["t"].finite and not found["t"].zero and found["t"].absmax == largest


def test_packed_words_are_zero_or_constant_and_no_numbers() -> None:
    words = np.arange(1, 1025, dtype="<u4") * np.uint32(0x9E3779B1)
    found = one("U32", words.tobytes(), 64, 512)
    assert found.finite and not found.zero and not found.constant and math.isnan(found.absmax)
    half = one("U32", np.where(np.arange(1024) < 512, words, 0).astype("<u4").tobytes(), 64)
    assert half.zeros == pytest.approx(0.5, abs=0.05) and half.tail == 512
    assert one("U32", bytes(4096)).zero and one("U32", b"\1\2\3\4" * 99).constant


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_sizes_are_the_sampled_quantiles(dtype: str) -> None:
    random = np.random.default_rng(5)
    values = (random.normal(size=50_000) * 0.02).astype("<f4")
    data = {"F32": values, "F16": values.astype("<f2"), "BF16": values.view("<u2")[1::2]}[dtype]
    found = one(dtype, data.tobytes(), 4096)
    wanted = np.quantile(np.abs(values), (0.02, 0.5, 0.98))
    assert found.sizes == pytest.approx(wanted, rel=0.4)
    assert one(dtype, data[:30].tobytes()).sizes == ()


@pytest.mark.parametrize("segment_bytes", [64, 1 << 20])
def test_the_signs_at_the_beginning_are_told(segment_bytes: int) -> None:
    values = np.array([1, -2, -3, 4] * 50, "<f4")
    signs = one("F32", values.tobytes(), 4096, segment_bytes).signs
    assert signs == (False, True, True, False) * (len(signs) // 4)
    assert len(signs) == min(64, segment_bytes // 4)
    assert one("U8", values.tobytes(), 4096).signs == ()


@pytest.mark.parametrize("segment_bytes", [64, 1 << 20])
@pytest.mark.parametrize("dtype", ["BF16", "F32", "F8_E4M3"])
def test_the_zeros_at_the_end_are_counted(dtype: str, segment_bytes: int) -> None:
    width = DTYPE_BITS[dtype] // 8
    for held, tail in ((100, 0), (1, 99), (37, 63), (99, 1), (0, 100)):
        data = (b"\0" * (width - 1) + b"\x01") * held + bytes(width * tail)
        assert one(dtype, data, 24, segment_bytes).tail == tail


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 5)])
def test_an_empty_tensor_is_finite_and_zero(shape: tuple[int, ...]) -> None:
    found, _ = survey({"a": ("F32", shape, b""), "b": ("F32", (), b"\0\0\x80?")})
    assert found["a"] == TensorStats(finite=True, zero=True, absmax=0.0)
    assert found["b"] == TensorStats(finite=True, zero=False, absmax=1.0)


def test_small_tensors_share_a_read() -> None:
    found, reader = survey({f"{i:04}": ("BF16", (4,), bytes(8)) for i in range(1000)})
    assert len(found) == 1000 and all(stats.zero for stats in found.values())
    assert reader.reads == [8000]


def test_what_is_between_the_tensors_of_an_npz_is_no_number() -> None:
    specs = [TensorSpec(f"m{n}.lora_a", "F32", (5, 3)) for n in range(3)]
    reader = MemoryReader(npz(specs))

    def read(offset: int, length: int) -> bytes:
        return reader.content[offset : offset + length]

    header, told = parse_npz(read, reader.size), list[int]()
    found = NumpySurveyor(buffer_bytes=16).survey(reader, header, advance=told.append)
    stored = np.load(io.BytesIO(reader.content))
    assert found == {n: TensorStats(True, False, float(np.abs(stored[n]).max())) for n in stored}
    assert sum(told) == header.data_bytes


def test_parts_of_a_tensor_are_read_once_and_together_are_the_whole() -> None:
    random = np.random.default_rng(11)
    for dtype in sorted(DECODERS):
        data = random.bytes(10_000 * DTYPE_BITS[dtype] // 8)
        found, reader = survey({"t": (dtype, (10_000,), data)}, 1 << 20, 4096)
        assert same(found["t"], truth(dtype, data))
        assert sum(reader.reads) == len(data) and max(reader.reads) <= 4096


@frozen
class BrokenReader(MemoryReader):
    """A disk that fails at one place, and is slow from then on."""

    at: int = 0
    failed: Event = field(factory=Event)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        MemoryReader.read_into(self, buffer, offset)
        if offset <= self.at < offset + len(buffer):
            self.failed.set()
            raise StorageError(path="f", operation="read", reason="injected")
        if self.failed.is_set():
            time.sleep(0.01)


def test_a_read_that_fails_ends_the_survey() -> None:
    specs = [TensorSpec("t", "F32", (1 << 20,))]
    content = encode_header(specs) + bytes(4 << 20)
    header = parse_header(content[8 : 8 + header_length(content[:16], len(content))], len(content))
    reader, told = BrokenReader(content, at=1 << 20), list[int]()
    surveyor = NumpySurveyor(buffer_bytes=4096, segment_bytes=1 << 15)
    with pytest.raises(StorageError, match="injected"):
        surveyor.survey(reader, header, advance=told.append)
    assert sum(told) <= 1 << 20
    assert sum(reader.reads) < 3 << 20, "what was waiting is not read"


def test_progress_is_told_in_order_from_the_calling_thread() -> None:
    specs = [TensorSpec("t", "F32", (1 << 18,))]
    content = encode_header(specs) + bytes(1 << 20)
    header = parse_header(content[8 : 8 + header_length(content[:16], len(content))], len(content))
    told: list[tuple[int, bool]] = []
    NumpySurveyor(segment_bytes=1 << 16).survey(
        MemoryReader(content),
        header,
        advance=lambda n: told.append((n, current_thread() is main_thread())),
    )
    assert told == [(1 << 16, True)] * 16
