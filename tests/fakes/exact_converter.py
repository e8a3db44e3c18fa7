"""A converter so plain that it is right at sight: one element after the other, no numpy."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from weighbridge.application.ports import Buffer, TensorSource
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensor_plan import ConversionPlan, Transpose
from weighbridge.domain.tensors import DTYPE_BITS, TensorSpec

_CODES = {16: "H", 32: "I"}


class ExactConverter:
    """The reference behind the Converter port, for tensors of a few thousand elements."""

    def run(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        for planned in plan.tensors:
            operation = planned.operation
            if not isinstance(operation, Transpose):
                raise NotConvertible(location="the plan", reasons=(planned.target.name,))
            spec = operation.source
            fits = planned.target.dtype == spec.dtype and planned.target.shape == spec.shape[::-1]
            if not fits or len(spec.shape) != 2 or DTYPE_BITS[spec.dtype] not in _CODES:
                raise NotConvertible(location="the plan", reasons=(spec.name,))
        return ((p.target, _rows(p.operation.source, source)) for p in plan.tensors)


def _rows(spec: TensorSpec, source: TensorSource) -> Iterator[bytes]:
    rows, columns = spec.shape
    raw = bytearray(spec.nbytes)
    source.read_into(spec.name, memoryview(raw), 0)
    words = struct.unpack(f"<{rows * columns}{_CODES[DTYPE_BITS[spec.dtype]]}", raw)
    for column in range(columns):
        turned = [words[row * columns + column] for row in range(rows)]
        yield struct.pack(f"<{rows}{_CODES[DTYPE_BITS[spec.dtype]]}", *turned)
