"""How far two tensors are apart, in numpy, chunk by chunk.

Decides for which dtypes a difference of values means something: floats. Of all others, packed
weights among them, only the elements that differ are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from weighbridge.application.ports import Comparer, Distance
from weighbridge.domain.tensors import DTYPE_BITS

Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_WORDS = {8: "u1", 16: "<u2", 32: "<u4", 64: "<u8"}


class NumpyComparer(Comparer):
    """Sums are in float64."""

    def distance(self, dtype: str, pairs: Iterable[tuple[bytes, bytes]]) -> Distance:
        """See ``Comparer``."""
        # Of elements smaller than a byte, the bytes that hold them.
        word: np.dtype[Any] = np.dtype(_WORDS.get(DTYPE_BITS[dtype], "u1"))
        numeric = dtype in _FLOATS or dtype == "BF16"
        changed, largest, moved, before = 0, 0.0, 0.0, 0.0
        for old, new in pairs:
            if old != new:
                differ = np.frombuffer(old, word) != np.frombuffer(new, word)
                changed += int(np.count_nonzero(differ))
            if numeric:
                was = _values(old, dtype)
                before += float(np.dot(was, was))
                if old != new:
                    with np.errstate(invalid="ignore", over="ignore"):
                        gap = _values(new, dtype) - was
                        largest = _worst(largest, float(np.abs(gap).max()))
                        moved += float(np.dot(gap, gap))
        if not numeric:
            return Distance(changed)
        return Distance(changed, largest, _ratio(math.sqrt(moved), math.sqrt(before)))


def _values(raw: bytes, dtype: str) -> Values:
    if dtype == "BF16":
        wide = np.left_shift(np.frombuffer(raw, np.uint16).astype(np.uint32), 16)
        return wide.view(np.float32).astype(np.float64)
    stored: np.dtype[Any] = np.dtype(_FLOATS[dtype])
    return np.frombuffer(raw, stored).astype(np.float64)


def _worst(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


def _ratio(moved: float, before: float) -> float:
    if moved == 0:
        return 0.0
    return moved / before if before else math.inf
