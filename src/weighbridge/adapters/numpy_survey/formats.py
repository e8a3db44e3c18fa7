"""How the words of each dtype are judged by their bits."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

from attrs import frozen


@frozen
class Format:
    """How a dtype's bits are judged: words of ``unsigned``; the least magnitude that is no number,
    as bits; bits without a sign if not ``signed``; the number of a magnitude's bits. ``normal`` is
    the least magnitude, as bits, that training leaves beside zero: in F16 they may be denormal.
    ``fine``: the lowest bits, without which a magnitude is told to a quarter of an octave; 0 if
    nobody asks for it."""

    unsigned: str
    bad: int
    decode: Callable[[int], float]
    signed: bool = True
    normal: int = 0
    fine: int = 0

    @property
    def width(self) -> int:
        """Bytes of a word."""
        return int(self.unsigned[2:])

    @property
    def sign(self) -> int:
        """The sign bit; 0 if there is none."""
        return 1 << (self.width * 8 - 1) if self.signed else 0

    @property
    def magnitude(self) -> int:
        """The bits beside the sign."""
        return (1 << self.width * 8) - 1 - self.sign


def _unpacked(pack: str, unpack: str, shift: int = 0) -> Callable[[int], float]:
    def decode(bits: int) -> float:
        return float(struct.unpack(unpack, struct.pack(pack, bits << shift))[0])

    return decode


def _e4m3(bits: int) -> float:
    exponent, mantissa = bits >> 3, bits & 7
    return math.ldexp(mantissa + 8 * (exponent > 0), max(exponent, 1) - 10)


def _e8m0(bits: int) -> float:
    return math.ldexp(1.0, bits - 127)


def _no_number(bits: int) -> float:
    return math.nan


_F32 = Format("<u4", 0x7F800000, _unpacked("<I", "<f"), normal=1 << 23, fine=21)
# F4 and F6 have no NaN and no whole bytes; integers are indices, but U32 the codes that MLX packs,
# and U8 the scales of its small floats: which byte of theirs is no number depends on the mode. The
# FNUZ pair writes NaN as minus zero, which a max() cannot tell; no MLX tool writes it.
FORMATS: Mapping[str, Format] = {
    "F64": Format("<u8", 0x7FF0000000000000, _unpacked("<Q", "<d")),
    "F32": _F32,
    "C64": _F32,  # a pair of F32; the magnitude is that of the larger part
    "F16": Format("<u2", 0x7C00, _unpacked("<H", "<e"), normal=1, fine=8),
    "BF16": Format("<u2", 0x7F80, _unpacked("<I", "<f", 16), normal=1 << 7, fine=5),
    "F8_E5M2": Format("|u1", 0x7C, _unpacked("<H", "<e", 8)),
    "F8_E4M3": Format("|u1", 0x7F, _e4m3),
    "F8_E8M0": Format("|u1", 0xFF, _e8m0, signed=False),
    "U8": Format("|u1", 0x100, float, signed=False),
    "U32": Format("<u4", 1 << 32, _no_number, signed=False, normal=1),
}
