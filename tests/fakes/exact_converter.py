"""A converter so plain that it is right at sight: one element after the other, no numpy."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Iterator

from weighbridge.application.ports import Buffer, TensorSource
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensor_plan import (
    Assemble,
    ConversionPlan,
    Grid,
    Piece,
    PlannedTensor,
    Transpose,
)
from weighbridge.domain.tensors import DTYPE_BITS, TensorSpec

_CODES = {16: "H", 32: "I"}
_REALS = ("F32", "F16", "BF16")


class ExactConverter:
    """The reference behind the Converter port, for tensors of a few thousand elements."""

    def run(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        reasons = tuple(p.target.name for p in plan.tensors if not _possible(p))
        if reasons:
            raise NotConvertible(location="the plan", reasons=reasons)
        return ((p.target, _written(p, source)) for p in plan.tensors)


def _possible(planned: PlannedTensor) -> bool:
    target = planned.target
    match planned.operation:
        case Transpose(spec):
            fits = target.dtype == spec.dtype and target.shape == spec.shape[::-1]
            return fits and len(spec.shape) == 2 and DTYPE_BITS[spec.dtype] in _CODES
        case Assemble(pieces):
            return all(_fits(piece, target) for piece in pieces)
        case _:
            return False


def _fits(piece: Piece, target: TensorSpec) -> bool:
    read, write = piece.read, piece.write
    return (
        piece.source.dtype in _REALS
        and target.dtype in (_REALS if _as_it_is(piece, target) else ("F32",))
        and (read.rows, read.columns) == (write.rows, write.columns)
        and read.last < math.prod(piece.source.shape)
        and write.last < math.prod(target.shape)
    )


def _as_it_is(piece: Piece, target: TensorSpec) -> bool:
    return piece.factor == 1.0 and piece.source.dtype == target.dtype


def _written(planned: PlannedTensor, source: TensorSource) -> Iterator[bytes]:
    match planned.operation:
        case Transpose(spec):
            return _rows(spec, source)
        case Assemble(pieces):
            return iter([_assembled(planned.target, pieces, source)])


def _rows(spec: TensorSpec, source: TensorSource) -> Iterator[bytes]:
    rows, columns = spec.shape
    words = _words(spec, source)
    for column in range(columns):
        turned = [words[row * columns + column] for row in range(rows)]
        yield struct.pack(f"<{rows}{_CODES[DTYPE_BITS[spec.dtype]]}", *turned)


def _words(spec: TensorSpec, source: TensorSource) -> tuple[int, ...]:
    raw = bytearray(spec.nbytes)
    source.read_into(spec.name, memoryview(raw), 0)
    return struct.unpack(f"<{math.prod(spec.shape)}{_CODES[DTYPE_BITS[spec.dtype]]}", raw)


def _assembled(target: TensorSpec, pieces: tuple[Piece, ...], source: TensorSource) -> bytes:
    words = [0] * math.prod(target.shape)
    for piece in pieces:
        found = _words(piece.source, source)
        for here, there in zip(_elements(piece.read), _elements(piece.write), strict=True):
            word = found[here]
            if not _as_it_is(piece, target):
                word = _rounded(_value(word, piece.source.dtype) * piece.factor)
            words[there] = word
    return struct.pack(f"<{len(words)}{_CODES[DTYPE_BITS[target.dtype]]}", *words)


def _elements(grid: Grid) -> Iterator[int]:
    for row in range(grid.rows):
        for column in range(grid.columns):
            yield grid.start + row * grid.row_stride + column * grid.column_stride


def _value(word: int, dtype: str) -> float:
    """What those bits mean; Python's float holds it exactly."""
    if dtype == "F16":
        return float(struct.unpack("<e", struct.pack("<H", word))[0])
    wide = word << 16 if dtype == "BF16" else word
    return float(struct.unpack("<f", struct.pack("<I", wide))[0])


def _rounded(value: float) -> int:
    """The bits of the nearest float32."""
    return int(ctypes.c_uint32.from_buffer(ctypes.c_float(value)).value)
