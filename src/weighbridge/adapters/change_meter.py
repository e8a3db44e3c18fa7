"""How much a LoRA changes weights, and what became of it: sums over a sample of rows, with numpy.

A sample has evenly spread rows, as many as come to some hundred thousand values, so that the time
for a model is that of its number of modules and memory is one sample and the factors of one pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import frozen

from weighbridge.domain.checkpoints.checkpoint import Block, Dequantise, LowRank, Recast
from weighbridge.domain.checkpoints.packing import Mode, Packing
from weighbridge.domain.measures import Alike, Measure, Offset
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Sources, TensorSource
    from weighbridge.domain.checkpoints.module_weights import Changed, Place, Twins, Vectors

Reals: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

_SAMPLE_VALUES = 1 << 17
_LEAST_ROWS = 8
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float64)


@frozen
class NumpyChangeMeter:
    """The ChangeMeter that needs nothing but numpy."""

    def measure(
        self, changed: Sequence[Changed], sources: Sources, made: TensorSource | None = None
    ) -> Iterator[Measure]:
        """See the port."""
        for one in changed:
            # What is not finite stays so in the sums, and the caller sees it.
            with np.errstate(all="ignore"):
                yield _measured(one, sources, made)

    def offsets(
        self, vectors: Sequence[Vectors], base: TensorSource, made: TensorSource
    ) -> Iterator[Offset]:
        """See the port."""
        for one in vectors:
            before, after = (
                _factor(Block.of(spec), source)
                for spec, source in ((one.base, base), (one.made, made))
            )
            with np.errstate(all="ignore"):
                moved = after - before - one.added
                mean = float(moved.mean()) if moved.size else 0.0
                spread = float(np.abs(moved - mean).max(initial=0.0))
            yield Offset(one.made.name, mean, spread)

    def likeness(
        self, matrices: Sequence[Twins], base: TensorSource, made: TensorSource
    ) -> Iterator[Alike]:
        """See the port."""
        for one in matrices:
            rows = _sample(*_size(one.base))
            with np.errstate(all="ignore"):
                before, after = _rows(one.base, base, rows), _rows(one.made, made, rows)
                both = np.sqrt(_dot(before, before) * _dot(after, after))
                yield Alike(one.module, float(_dot(before, after) / both))


def _measured(one: Changed, sources: Sources, made: TensorSource | None) -> Measure:
    rows = _sample(*_size(one.weight))
    weight = _rows(one.weight, sources.model, rows)
    change = _change(one.change, weight, rows, sources.changes)
    figures = (change.size, _dot(change, change), _dot(weight, weight))
    if one.made is None or made is None:
        return Measure(one.module, *figures)
    moved = _rows(one.made, made, rows) - weight
    return Measure(one.module, *figures, _dot(moved, moved), _dot(moved, change))


def _change(
    change: LowRank | Recast, weight: Reals, rows: Sequence[int], source: TensorSource
) -> Reals:
    """The change of those rows; with DoRA, each is stretched to its length as well."""
    if isinstance(change, Recast):
        values = _decoded(_raw(source, change.block, rows), change.block.tensor.dtype)
        return values.reshape(weight.shape) + change.add - weight
    product = _factor(change.left, source)[rows] @ _factor(change.right, source)
    product *= change.scale
    if change.magnitude is None:
        return product
    stretched = weight + product
    lengths = _factor(change.magnitude, source).reshape(-1)[rows]
    stretched *= (lengths / np.linalg.norm(stretched, axis=1))[:, None]
    stretched -= weight
    return stretched


def _dot(one: Reals, other: Reals) -> float:
    return float(np.vdot(one, other))


def _size(place: Place) -> tuple[int, int]:
    """Rows and columns of what is meant."""
    if isinstance(place, Dequantise):
        return place.weight.rows, place.columns
    sizes = place.block.rows, place.columns
    return sizes[::-1] if place.turned else sizes


def _sample(rows: int, columns: int) -> list[int]:
    count = min(rows, max(_LEAST_ROWS, _SAMPLE_VALUES // max(1, columns)))
    return (np.arange(count) * rows // max(1, count)).tolist()


def _rows(place: Place, source: TensorSource, rows: Sequence[int]) -> Reals:
    if isinstance(place, Dequantise):
        return _dequantised(place, source, rows)
    across = slice(place.column, place.column + place.columns)
    if not place.turned:
        raw = _raw(source, place.block, rows)
        return _decoded(raw, place.block.tensor.dtype).reshape(len(rows), -1)[:, across]
    wanted = [place.column + row for row in rows]
    picked = np.empty((place.block.rows, len(rows)))
    step = max(1, _SAMPLE_VALUES // max(1, place.block.columns))
    for first in range(0, place.block.rows, step):  # not the whole: it may be an embedding
        few = range(first, min(place.block.rows, first + step))
        raw = _raw(source, place.block, few)
        values = _decoded(raw, place.block.tensor.dtype).reshape(len(few), -1)
        picked[few.start : few.stop] = values[:, wanted]
    return picked.T


def _factor(block: Block, source: TensorSource) -> Reals:
    """A factor of the pair, in whole."""
    raw = _raw(source, block, range(block.rows))
    matrix = _decoded(raw, block.tensor.dtype).reshape(block.rows, block.columns)
    return matrix.T if block.turned else matrix


def _raw(source: TensorSource, block: Block, rows: Sequence[int]) -> Bytes:
    """Those stored rows, one after another."""
    bits = DTYPE_BITS[block.tensor.dtype]
    size, begin = block.columns * bits // 8, block.start * bits // 8
    buffer = np.empty(len(rows) * size, np.uint8)
    if isinstance(rows, range):
        source.read_into(block.tensor.name, buffer.data, begin + (rows.start * size))
        return buffer
    for index, row in enumerate(rows):
        part = buffer[index * size : (index + 1) * size]
        source.read_into(block.tensor.name, part.data, begin + row * size)
    return buffer


def _decoded(raw: Bytes, dtype: str) -> Reals:
    if dtype == "BF16":
        return (raw.view("<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return raw.view({"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64)


def _dequantised(place: Dequantise, source: TensorSource, rows: Sequence[int]) -> Reals:
    packing = place.packing
    numbers = _numbers(_raw(source, place.weight, rows), packing)
    scales = _scales(_raw(source, place.scales, rows), place.scales.tensor.dtype, packing)
    values = numbers.reshape(-1, packing.group_size) * scales.reshape(-1, 1)
    if place.biases is not None:
        raw = _raw(source, place.biases, rows)
        values += _decoded(raw, place.biases.tensor.dtype).reshape(-1, 1)
    return values.reshape(len(rows), -1)


def _numbers(raw: Bytes, packing: Packing) -> Reals:
    """What the packed bits stand for, before scales."""
    if packing.bits == 8:
        codes = raw
    else:
        bits = np.unpackbits(raw, bitorder="little").reshape(-1, packing.bits)
        codes = np.packbits(bits, axis=1, bitorder="little").reshape(-1)
    if packing.mode is Mode.AFFINE:
        return codes.astype(np.float64)
    return _E2M1[codes] if packing.bits == 4 else _e4m3(codes)


def _scales(raw: Bytes, dtype: str, packing: Packing) -> Reals:
    match packing.mode:
        case Mode.AFFINE:
            return _decoded(raw, dtype)
        case Mode.NVFP4:
            return _e4m3(raw)
        case _:
            return np.ldexp(np.ones(raw.shape), raw.astype(np.int64) - 127)


def _e4m3(codes: Bytes) -> Reals:
    code = codes.astype(np.int64)
    exponent, mantissa = code >> 3 & 15, code & 7
    whole = (mantissa + 8 * (exponent > 0)) * np.where(code > 127, -1.0, 1.0)
    values: Reals = np.ldexp(whole, np.maximum(exponent, 1) - 10)
    return values
