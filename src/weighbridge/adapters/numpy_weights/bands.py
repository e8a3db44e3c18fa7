"""Bands of rows, the rooms they are made in, and the threads that make them ahead of the writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from attrs import define, field

from weighbridge.adapters.numpy_weights.floats import Floats, Words
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, TensorSource
    from weighbridge.domain.checkpoints.checkpoint import Block

#: Values of a band: its float32 and what else it needs are near the size of a second-level cache.
BAND_VALUES = 1 << 18
_COPY_BYTES = 4 << 20


@define
class Room:
    """Memory for one band at a time; it grows to the largest that was asked for."""

    _arrays: dict[str, Words] = field(factory=dict)

    def bytes(self, count: int, name: str = "raw") -> Words:
        """``count`` bytes for one use, which ``name`` tells apart from others."""
        found = self._arrays.get(name)
        if found is None or found.nbytes < count:
            # In words of 8 bytes, so that every view is aligned.
            found = self._arrays[name] = np.empty((count + 7) // 8, np.uint64)
        return found.view(np.uint8)[:count]

    def floats(self, count: int, name: str = "values") -> Floats:
        """So many float32."""
        return self.bytes(4 * count, name).view(np.float32)

    def scratch(self, count: int) -> Words:
        """So many uint32, for rounding."""
        return self.bytes(4 * count, "scratch").view(np.uint32)


#: Makes one chunk in a room; the chunk lies in that room.
Job: TypeAlias = Callable[[Room], Words]


def row_bands(rows: int, columns: int, values: int) -> Iterator[tuple[int, int]]:
    """First and last row of each band of at most ``values`` values, or of a single row."""
    step = max(1, values // max(1, columns))
    for first in range(0, rows, step):
        yield first, min(rows, first + step)


def read_rows(source: TensorSource, block: Block, first: int, last: int, into: Words) -> Words:
    """Those rows of the block as bytes; ``into`` has room for them."""
    bits = DTYPE_BITS[block.tensor.dtype] * block.columns
    raw = into[: (last - first) * bits // 8]
    begin = block.start * DTYPE_BITS[block.tensor.dtype] // 8
    source.read_into(block.tensor.name, raw.data, begin + first * bits // 8)
    return raw


def copy_jobs(source: TensorSource, block: Block) -> Iterator[Job]:
    """The very bytes of a block, whatever its dtype."""
    bits, name = DTYPE_BITS[block.tensor.dtype], block.tensor.name
    begin, size = block.start * bits // 8, block.rows * block.columns * bits // 8
    for at in range(0, size, _COPY_BYTES):

        def job(room: Room, at: int = at) -> Words:
            raw = room.bytes(min(_COPY_BYTES, size - at))
            source.read_into(name, raw.data, begin + at)
            return raw

        yield job


def whole(source: TensorSource, block: Block) -> Words:
    """A block as a matrix of unsigned words, in the orientation that is stored."""
    item = DTYPE_BITS[block.tensor.dtype] // 8
    raw = np.empty(block.rows * block.columns * item, np.uint8)
    read_rows(source, block, 0, block.rows, raw)
    return raw.view(f"<u{item}").reshape(block.rows, block.columns)


def ahead(pool: ThreadPoolExecutor, jobs: Iterator[Job], count: int) -> Iterator[Buffer]:
    """The chunks of the jobs in order; up to ``count`` are made while one is written."""
    rooms = [Room() for _ in range(count + 1)]
    pending: deque[tuple[Future[Words], Room]] = deque()
    for job in jobs:
        room = rooms.pop()
        pending.append((pool.submit(job, room), room))
        if not rooms:
            yield from _oldest(pending, rooms)
    while pending:
        yield from _oldest(pending, rooms)


def _oldest(pending: deque[tuple[Future[Words], Room]], rooms: list[Room]) -> Iterator[Buffer]:
    future, room = pending.popleft()
    chunk = future.result()
    if chunk.size:
        yield chunk.reshape(-1).view(np.uint8).data
    rooms.append(room)


def not_finite(name: str, dtype: str, what: str, remedy: str) -> NotConvertible:
    """The error for a value that the target cannot hold."""
    reason = f"{what} gives values that are not finite or too large for {dtype}; {remedy}"
    return NotConvertible(location=name, reasons=(reason,))
