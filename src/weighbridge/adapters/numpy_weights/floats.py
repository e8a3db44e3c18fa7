"""Between stored floats and float32: exact one way, rounded to nearest even the other way.

Works in place on blocks that fit into the caches; numpy's own bfloat16 would be another package.
Reads little-endian words, as safetensors stores them.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Words: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ITEM: Final = {"F32": 4, "F16": 2, "BF16": 2}
#: One above the largest finite magnitude, as an integer.
_INFINITY = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
_SIGNED = {4: "<i4", 2: "<i2"}


def widened(raw: Words, dtype: str, into: Floats) -> Floats:
    """The floats in the bytes ``raw``, written to ``into``, which is as large."""
    match dtype:
        case "F32":
            into.view(np.uint8)[...] = raw
        case "F16":
            np.copyto(into, raw.view(np.float16))
        case _:
            bits = into.view(np.uint32)
            np.copyto(bits, raw.view(np.uint16))
            np.left_shift(bits, 16, out=bits)
    return into


def narrowed(values: Floats, dtype: str, scratch: Words) -> Words:
    """``values`` in that dtype, as integer words that overlay ``scratch`` or ``values``.

    ``values`` are finite; they are lost. ``scratch`` is uint32 and as large. What is too large for
    the dtype becomes an infinity, as ``all_finite`` can tell.
    """
    match dtype:
        case "F32":
            return values.view(np.uint32)
        case "F16":
            halves = scratch.view(np.uint8)[: 2 * values.size].view(np.float16)
            with np.errstate(over="ignore"):
                np.copyto(halves, values, casting="same_kind")
            return halves.view(np.uint16)
        case _:
            bits = _to_bfloat16(values, scratch)
            np.right_shift(bits, 16, out=bits)
            words = scratch.view(np.uint16)[: values.size]
            np.copyto(words, bits, casting="same_kind")
            return words


def round_in_place(values: Floats, dtype: str, scratch: Words) -> None:
    """``values`` as a float32 that the dtype can represent; arguments as those of ``narrowed``."""
    match dtype:
        case "F32":
            return
        case "F16":
            halves = narrowed(values, dtype, scratch)
            np.copyto(values, halves.view(np.float16))
        case _:
            bits = _to_bfloat16(values, scratch)
            np.bitwise_and(bits, 0xFFFF0000, out=bits)


def _to_bfloat16(values: Floats, scratch: Words) -> Words:
    """The bits of ``values``, of which the upper half is the rounded bfloat16."""
    bits = values.view(np.uint32)
    np.right_shift(bits, 16, out=scratch)
    np.bitwise_and(scratch, 1, out=scratch)
    np.add(scratch, 0x7FFF, out=scratch)
    np.add(bits, scratch, out=bits)
    return bits


def all_finite(words: Words, dtype: str) -> bool:
    """False if any of these unsigned words is an infinity or NaN in that dtype."""
    if not words.size:
        return True
    limit = _INFINITY[dtype]
    sign = 1 << (8 * ITEM[dtype] - 1)
    # Two integer maxima: the largest of the positive numbers, and of the negative ones.
    return bool(words.view(_SIGNED[ITEM[dtype]]).max() < limit and words.max() < sign | limit)
