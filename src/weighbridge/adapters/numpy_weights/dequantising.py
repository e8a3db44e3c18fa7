"""What MLX's packed words stand for, bit for bit as ``mx.dequantize`` on a CPU.

Affine: the product with the scale and the sum with the bias are each rounded to the dtype of the
scales. The other modes: one product, exact in BF16 unless there is a global scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from weighbridge.adapters.numpy_weights.bands import Job, Room, not_finite, read_rows, row_bands
from weighbridge.adapters.numpy_weights.floats import (
    Floats,
    Words,
    all_finite,
    narrowed,
    round_in_place,
    widened,
)
from weighbridge.adapters.numpy_weights.unpacking import scale_values, unpacked
from weighbridge.domain.checkpoints.packing import Mode
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import TensorSource
    from weighbridge.domain.checkpoints.checkpoint import Block, Dequantise
    from weighbridge.domain.tensors import TensorSpec

_DAMAGED = "the file is damaged or was quantised from weights that were"
#: The largest scale times the largest value: what a global scale is relative to.
_E4M3_MOST, _E2M1_MOST = np.float32(448), np.float32(6)


def dequantise_jobs(
    operation: Dequantise, target: TensorSpec, source: TensorSource, band: int
) -> Iterator[Job]:
    """The chunks of one block; ``band`` is in values."""
    factor = _global_factor(operation, source)
    columns = operation.columns
    for first, last in row_bands(operation.weight.rows, columns, band):

        def job(room: Room, first: int = first, last: int = last) -> Words:
            count = (last - first) * columns
            values, scratch = room.floats(count), room.scratch(count)
            weight = operation.weight
            raw = room.bytes((last - first) * weight.columns * 4)
            read_rows(source, weight, first, last, raw)
            unpacked(raw, operation.packing, values, scratch)
            groups = values.reshape(-1, operation.packing.group_size)
            _apply(operation, groups, _Rows(source, first, last, room), factor, scratch)
            fine = all_finite(values.view(np.uint32), "F32")
            words = narrowed(values, target.dtype, scratch)
            if not fine or not all_finite(words, target.dtype):
                raise not_finite(target.name, target.dtype, "dequantising", _DAMAGED)
            return words

        yield job


class _Rows:
    """The same rows of the scales and the biases."""

    def __init__(self, source: TensorSource, first: int, last: int, room: Room) -> None:
        self._source, self._first, self._last, self._room = source, first, last, room

    def bytes(self, block: Block, name: str) -> Words:
        count = (self._last - self._first) * block.columns * DTYPE_BITS[block.tensor.dtype] // 8
        into = self._room.bytes(count, name)
        return read_rows(self._source, block, self._first, self._last, into)

    def floats(self, block: Block, name: str) -> Floats:
        raw = self.bytes(block, name)
        count = (self._last - self._first) * block.columns
        return widened(raw, block.tensor.dtype, self._room.floats(count, f"{name} values"))


def _apply(
    operation: Dequantise, groups: Floats, rows: _Rows, factor: np.float32 | None, scratch: Words
) -> None:
    """Scale (and shift) each group in place."""
    with np.errstate(invalid="ignore", over="ignore"):
        if operation.packing.mode is not Mode.AFFINE or operation.biases is None:
            scales = scale_values(rows.bytes(operation.scales, "scales"), operation.packing)
            if factor is not None:
                scales = scales * factor
            np.multiply(groups, scales[:, None], out=groups)
            return
        scales = rows.floats(operation.scales, "scales")
        np.multiply(groups, scales[:, None], out=groups)
        round_in_place(groups.reshape(-1), operation.scales.tensor.dtype, scratch)
        np.add(groups, rows.floats(operation.biases, "biases")[:, None], out=groups)


def _global_factor(operation: Dequantise, source: TensorSource) -> np.float32 | None:
    block = operation.global_scale
    if block is None:
        return None
    raw = np.empty(4, np.uint8)
    read_rows(source, block, 0, 1, raw)
    return np.float32(raw.view("<f4")[0] / (_E4M3_MOST * _E2M1_MOST))
