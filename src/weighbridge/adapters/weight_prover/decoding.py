"""Stored numbers as float64, by the definitions of their formats; slow, and nobody else's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import frozen

from weighbridge.domain.checkpoints.packing import Mode, Packing
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import TensorSource
    from weighbridge.domain.checkpoints.checkpoint import Block

Reals: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_VALUES = 1 << 17
#: Bits of exponent and mantissa, and the bias, of the formats that numpy does not know.
_FORMATS = {"BF16": (8, 7, 127), "E4M3": (4, 3, 7), "E2M1": (2, 1, 1)}


def decoded(raw: Bytes, dtype: str) -> Reals:
    """Floats of that dtype as float64."""
    if dtype == "BF16":
        return small_floats(raw.view("<u2"), dtype)
    return raw.view({"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64)


def small_floats(codes: Bytes, kind: str) -> Reals:
    """Codes of a binary format as numbers; NaN and infinities only where the format has them."""
    exponent_bits, mantissa_bits, bias = _FORMATS[kind]
    code = codes.astype(np.int64)
    exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = (code & ((1 << mantissa_bits) - 1)).astype(np.float64) / (1 << mantissa_bits)
    value = np.where(
        exponent == 0, np.ldexp(mantissa, 1 - bias), np.ldexp(1 + mantissa, exponent - bias)
    )
    if kind == "E4M3":
        value[code & 0x7F == 0x7F] = np.nan
    if kind == "BF16":
        special = exponent == 255
        value[special] = np.where(mantissa[special] == 0, np.inf, np.nan)
    return np.where(code >> (exponent_bits + mantissa_bits) & 1, -value, value)


def packed_numbers(raw: Bytes, packing: Packing) -> Reals:
    """The numbers in whole rows of packed bytes, before scales."""
    stream = np.unpackbits(raw, bitorder="little").reshape(-1, packing.bits)
    codes = stream.astype(np.int64) @ (1 << np.arange(packing.bits, dtype=np.int64))
    if packing.mode is Mode.AFFINE:
        return codes.astype(np.float64)
    return small_floats(codes, "E2M1" if packing.bits == 4 else "E4M3")


def group_scales(raw: Bytes, dtype: str, packing: Packing) -> Reals:
    """The scales in stored bytes."""
    if packing.mode is Mode.AFFINE:
        return decoded(raw, dtype)
    if packing.mode is Mode.NVFP4:
        return small_floats(raw, "E4M3")
    value = np.ldexp(1.0, raw.astype(np.int64) - 127)
    return np.where(raw == 255, np.nan, value)


@frozen
class Matrix:
    """A block of a source, or columns of it, read row by row; what is sampled is all that is held.

    ``turned``: what is meant is the transpose of that, and once more if the block is turned.
    """

    source: TensorSource
    block: Block
    column: int = 0
    columns: int | None = None
    turned: bool = False

    @property
    def across(self) -> slice:
        """The columns."""
        width = self.block.columns if self.columns is None else self.columns
        return slice(self.column, self.column + width)

    def raw(self, rows: Sequence[int]) -> Bytes:
        """These stored rows in whole, one after another."""
        bits = DTYPE_BITS[self.block.tensor.dtype]
        size, begin = self.block.columns * bits // 8, self.block.start * bits // 8
        buffer = np.empty(len(rows) * size, np.uint8)
        name = self.block.tensor.name
        if isinstance(rows, range) and rows:  # those are consecutive
            self.source.read_into(name, buffer.data, begin + rows[0] * size)
            return buffer
        for index, row in enumerate(rows):
            part = buffer[index * size : (index + 1) * size]
            self.source.read_into(name, part.data, begin + row * size)
        return buffer

    def rows(self, rows: Sequence[int]) -> Reals:
        """These rows of what is meant."""
        if self.turned is self.block.turned:
            return self._rows(rows)
        # Some stored rows at a time: the whole could be as large as an embedding.
        picked = np.empty((len(rows), self.block.rows))
        step = max(1, _VALUES // max(1, self.block.columns))
        for first in range(0, self.block.rows, step):
            few = range(first, min(self.block.rows, first + step))
            picked[:, few.start : few.stop] = self._rows(few)[:, list(rows)].T
        return picked

    def all(self) -> Reals:
        """The whole of what is meant."""
        stored = self._rows(range(self.block.rows))
        return stored if self.turned is self.block.turned else stored.T

    def _rows(self, rows: Sequence[int]) -> Reals:
        values = decoded(self.raw(rows), self.block.tensor.dtype)
        return values.reshape(len(rows), -1)[:, self.across]
