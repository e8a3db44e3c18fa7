"""From MLX's packed words to the numbers in them, before scales and biases.

A row is one stream of bits, least significant first, so that values of 3, 5 and 6 bits cross the
borders of bytes and words. The small floats are those of the OCP microscaling formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from weighbridge.domain.checkpoints.packing import Mode, Packing

if TYPE_CHECKING:
    from weighbridge.adapters.numpy_weights.floats import Floats, Words

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
#: Of those bits, so many bytes hold 8 or 4 whole values.
_CYCLES: Final = {3: (3, 8), 5: (5, 8), 6: (3, 4)}


def _e4m3() -> Floats:
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, (code & 7).astype(np.float64)
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    value = np.where(exponent == 0, np.ldexp(mantissa / 8, -6), normal)
    value[code & 127 == 127] = np.nan
    return np.where(code > 127, -value, value).astype(np.float32)


def _e8m0() -> Floats:
    value = np.ldexp(1.0, np.arange(256) - 127)
    value[255] = np.nan
    return value.astype(np.float32)


def _pairs() -> Words:
    """For each byte its two 4-bit floats, as one word of 64 bits."""
    value = np.array([*_E2M1, *(-v for v in _E2M1)], np.float32)
    code = np.arange(256)
    return np.stack([value[code & 15], value[code >> 4]], axis=1).view(np.uint64).ravel()


E4M3: Final = _e4m3()
E8M0: Final = _e8m0()
_PAIRS: Final = _pairs()


def scale_values(codes: Words, packing: Packing) -> Floats:
    """The scales that bytes stand for in one of the modes with scales of 8 bits."""
    return (E4M3 if packing.mode is Mode.NVFP4 else E8M0)[codes]


def unpacked(raw: Words, packing: Packing, into: Floats, scratch: Words) -> None:
    """The numbers in the bytes ``raw`` of whole rows, as float32.

    ``scratch`` is uint32 and as large as ``into``.
    """
    match packing.mode, packing.bits:
        case Mode.AFFINE, bits:
            np.copyto(into, _integers(raw, bits, scratch))
        case _, 4:
            np.take(_PAIRS, raw, out=into.view(np.uint64), mode="clip")
        case _:
            np.take(E4M3, raw, out=into, mode="clip")


def _integers(raw: Words, bits: int, scratch: Words) -> Words:
    """One unsigned byte for each value."""
    match bits:
        case 8:
            return raw
        case 4:
            return _nibbles(raw, scratch.view(np.uint16))
        case 2:
            return _quarters(raw, scratch)
        case 1:
            return np.unpackbits(raw, bitorder="little")
        case _:
            return _crossing(raw, bits)


def _nibbles(raw: Words, scratch: Words) -> Words:
    """The bits of a byte spread over two bytes."""
    wide = scratch[: raw.size]
    np.copyto(wide, raw)
    np.bitwise_or(wide, wide << 4, out=wide)
    np.bitwise_and(wide, 0x0F0F, out=wide)
    return wide.view(np.uint8)


def _quarters(raw: Words, scratch: Words) -> Words:
    """The bits of a byte spread over four bytes."""
    wide = scratch[: raw.size]
    np.copyto(wide, raw)
    np.bitwise_or(wide, wide << 12, out=wide)
    np.bitwise_and(wide, 0x000F000F, out=wide)
    np.bitwise_or(wide, wide << 6, out=wide)
    np.bitwise_and(wide, 0x03030303, out=wide)
    return wide.view(np.uint8)


def _crossing(raw: Words, bits: int) -> Words:
    """Values that cross bytes, by way of words that hold whole cycles of them."""
    size, count = _CYCLES[bits]
    parts = raw.reshape(-1, size)
    kind = np.dtype(np.uint32 if size <= 4 else np.uint64)
    words = np.zeros(len(parts), kind)
    for index in range(size):
        words |= parts[:, index].astype(kind) << kind.type(8 * index)
    values = np.empty((len(parts), count), np.uint8)
    mask = kind.type((1 << bits) - 1)
    for index in range(count):
        np.bitwise_and(
            words >> kind.type(bits * index), mask, out=values[:, index], casting="unsafe"
        )
    return values.reshape(-1)
