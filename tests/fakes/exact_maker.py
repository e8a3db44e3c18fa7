"""A WeightMaker over Python's fractions: exact to the last step, one element after the other.

It rounds once, at the end, where float32 arithmetic rounds many times; and where MLX rounds twice
(affine), so does this.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction

from weighbridge.application.ports import Buffer, Sources, TensorSource
from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    Copy,
    Dequantise,
    LowRank,
    Merge,
    Operation,
    PlannedWeight,
    Recast,
    Turn,
)
from weighbridge.domain.checkpoints.packing import Mode
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensors import DTYPE_BITS, TensorSpec

#: Bits of the significand with the hidden one, and the exponent of the least normal number.
_FORMS = {"F32": (24, -126, 127), "F16": (11, -14, 15), "BF16": (8, -126, 127)}
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
Rows = list[list[float]]


def rounded(value: Fraction | float, dtype: str) -> float:
    """The nearest number of the dtype, ties to even; infinite if there is none."""
    bits, least, most = _FORMS[dtype]
    exact = Fraction(value)
    if exact == 0:
        return 0.0
    exponent = math.frexp(float(abs(exact)))[1] - 1
    unit = Fraction(2) ** (max(exponent, least) - bits + 1)
    found = float(round(exact / unit) * unit)
    return found if abs(found) < 2.0 ** (most + 1) else math.copysign(math.inf, found)


class ExactMaker:
    """The reference behind the WeightMaker port, for tensors of a few hundred elements."""

    def run(
        self, weights: Sequence[PlannedWeight], sources: Sources
    ) -> AbstractContextManager[Iterator[tuple[TensorSpec, Iterator[Buffer]]]]:
        return nullcontext(_tensors(weights, sources))


def _tensors(
    weights: Sequence[PlannedWeight], sources: Sources
) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
    for weight in weights:
        parts = (_made(part, weight.target, sources) for part in weight.parts)
        yield weight.target, iter([b"".join(parts)])


def _made(operation: Operation, target: TensorSpec, sources: Sources) -> bytes:
    match operation:
        case Copy(block):
            return _raw(sources.model, block)
        case Recast(block, add):
            return _encoded(_recast(sources.model, block, add, target.dtype), target)
        case Merge():
            return _merged(operation, target, sources)
        case Dequantise():
            return _encoded(_dequantised(operation, target.dtype, sources.model), target)
        case Turn(of, rows, columns):
            return _turned(b"".join(_made(o, target, sources) for o in of), rows, columns, target)


def _turned(raw: bytes, rows: int, columns: int, target: TensorSpec) -> bytes:
    item = DTYPE_BITS[target.dtype] // 8
    words = [raw[i : i + item] for i in range(0, len(raw), item)]
    return b"".join(words[r * columns + c] for c in range(columns) for r in range(rows))


def _raw(source: TensorSource, block: Block) -> bytes:
    bits = DTYPE_BITS[block.tensor.dtype]
    buffer = bytearray(block.rows * block.columns * bits // 8)
    source.read_into(block.tensor.name, memoryview(buffer), block.start * bits // 8)
    return bytes(buffer)


def _rows(source: TensorSource, block: Block) -> Rows:
    """What is meant by the block: of the transpose, if it is turned."""
    raw, dtype = _raw(source, block), block.tensor.dtype
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = "e" if dtype == "F16" else "f"
    values = struct.unpack(f"<{block.rows * block.columns}{code}", raw)
    rows = [list(values[i * block.columns :][: block.columns]) for i in range(block.rows)]
    return _meant(rows, block.turned)


def _encoded(rows: Rows, target: TensorSpec) -> bytes:
    flat = [value for row in rows for value in row]
    if not all(map(math.isfinite, flat)):
        raise NotConvertible(location=target.name, reasons=("is not finite",))
    if target.dtype == "BF16":
        words = [struct.pack("<f", value)[2:] for value in flat]
        return b"".join(words)
    return struct.pack(f"<{len(flat)}{'e' if target.dtype == 'F16' else 'f'}", *flat)


def _recast(source: TensorSource, block: Block, add: float, dtype: str) -> Rows:
    found = _rows(source, block)
    return [[rounded(Fraction(v) + Fraction(add), dtype) for v in row] for row in found]


def _merged(merge: Merge, target: TensorSpec, sources: Sources) -> bytes:
    rows = _rows(sources.model, Block.of(merge.base))
    for patch in merge.patches:
        across = slice(patch.column, patch.column + patch.columns)
        own = rows[patch.first : patch.first + patch.rows]
        before = _meant([row[across] for row in own], patch.turned)
        after = _meant(_patched(before, patch.change, target, sources), patch.turned)
        for row, changed in zip(own, after, strict=True):
            row[across] = changed
    return _encoded(rows, target)


def _meant(rows: Rows, turned: bool) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)] if turned else rows


def _patched(own: Rows, change: LowRank | Recast, target: TensorSpec, sources: Sources) -> Rows:
    match change:
        case Recast(block, add):
            return _recast(sources.changes, block, add, target.dtype)
        case LowRank():
            left = _rows(sources.changes, change.left)
            right = list(zip(*_rows(sources.changes, change.right), strict=True))
            lengths: list[float] | None = None
            if change.magnitude is not None:
                lengths = _rows(sources.changes, change.magnitude)[0]
            return [
                _updated(row, factors, right, change.scale, lengths and lengths[i], target.dtype)
                for i, (row, factors) in enumerate(zip(own, left, strict=True))
            ]


def _updated(
    row: list[float],
    factors: list[float],
    right: list[tuple[float, ...]],
    scale: float,
    length: float | None,
    dtype: str,
) -> list[float]:
    if not all(map(math.isfinite, [*row, *factors, *(v for column in right for v in column)])):
        return [math.nan] * len(row)
    values = []
    for value, column in zip(row, right, strict=True):
        products = (Fraction(f) * Fraction(r) for f, r in zip(factors, column, strict=True))
        values.append(Fraction(value) + Fraction(scale) * sum(products))
    if length is not None:
        norm = math.sqrt(float(sum(v * v for v in values)))
        if norm == 0:
            return [math.nan] * len(row)
        values = [v * Fraction(length) / Fraction(norm) for v in values]
    return [rounded(v, dtype) for v in values]


def _dequantised(operation: Dequantise, dtype: str, source: TensorSource) -> Rows:
    packing, weight = operation.packing, operation.weight
    stream = int.from_bytes(_raw(source, weight), "little")
    count = operation.columns
    mask = (1 << packing.bits) - 1
    codes = [stream >> (packing.bits * i) & mask for i in range(weight.rows * count)]
    scales = _scales(operation, source)
    biases: list[float] | None = None
    if operation.biases is not None:
        biases = [v for row in _rows(source, operation.biases) for v in row]
    values = []
    for index, code in enumerate(codes):
        group = index // packing.group_size
        number = _number(code, packing.mode, packing.bits)
        product = rounded(Fraction(number) * scales[group], dtype)
        if biases is None:
            values.append(math.copysign(product, number))  # a fraction has no -0
        else:
            values.append(rounded(Fraction(product) + Fraction(biases[group]), dtype))
    return [values[i * count :][:count] for i in range(weight.rows)]


def _scales(operation: Dequantise, source: TensorSource) -> list[Fraction]:
    if operation.packing.mode is Mode.AFFINE:
        return [Fraction(v) for row in _rows(source, operation.scales) for v in row]
    codes = _raw(source, operation.scales)
    if operation.packing.mode is not Mode.NVFP4:
        return [Fraction(2) ** (code - 127) for code in codes]
    found = [Fraction(_small(code, 4, 3, 7)) for code in codes]
    if operation.global_scale is None:
        return found
    # In float32, as MLX has it: the quotient is rounded, then its product with the scale.
    whole = rounded(Fraction(_rows(source, operation.global_scale)[0][0]) / (448 * 6), "F32")
    return [Fraction(rounded(scale * Fraction(whole), "F32")) for scale in found]


def _number(code: int, mode: Mode, bits: int) -> float:
    if mode is Mode.AFFINE:
        return float(code)
    if bits == 8:
        return _small(code, 4, 3, 7)
    return -_E2M1[code & 7] if code & 8 else _E2M1[code]


def _small(code: int, exponent_bits: int, mantissa_bits: int, bias: int) -> float:
    exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1)
    mantissa = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    value = math.ldexp(1 + mantissa, exponent - bias)
    if exponent == 0:
        value = math.ldexp(mantissa, 1 - bias)
    return -value if code >> (exponent_bits + mantissa_bits) else value
