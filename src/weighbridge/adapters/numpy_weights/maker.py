"""The WeightMaker that needs nothing but numpy: jobs in order, made ahead by a few threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from weighbridge.adapters.numpy_weights.bands import (
    BAND_VALUES,
    Job,
    Room,
    ahead,
    copy_jobs,
    row_bands,
)
from weighbridge.adapters.numpy_weights.dequantising import dequantise_jobs
from weighbridge.adapters.numpy_weights.merging import merge_jobs, recast_jobs
from weighbridge.domain.checkpoints.checkpoint import (
    Copy,
    Dequantise,
    Merge,
    Operation,
    Recast,
    Turn,
)
from weighbridge.domain.tensors import DTYPE_BITS

if TYPE_CHECKING:
    from weighbridge.adapters.numpy_weights.floats import Words
    from weighbridge.application.ports import Buffer, Sources
    from weighbridge.domain.checkpoints.checkpoint import PlannedWeight
    from weighbridge.domain.tensors import TensorSpec

_MOST_THREADS = 4


def _threads() -> int:
    return max(1, min(_MOST_THREADS, os.cpu_count() or 1))


@frozen
class NumpyWeightMaker:
    """``band_values`` bounds the memory: a thread holds about 16 bytes for each."""

    band_values: int = field(default=BAND_VALUES, kw_only=True)
    threads: int = field(factory=_threads, kw_only=True)

    @contextmanager
    def run(
        self, weights: Sequence[PlannedWeight], sources: Sources
    ) -> Iterator[Iterator[tuple[TensorSpec, Iterator[Buffer]]]]:
        """Each planned tensor with its chunks."""
        pool = ThreadPoolExecutor(max_workers=self.threads)
        try:
            jobs = (job for weight in weights for job in self._jobs(weight, sources))
            yield _tensors(weights, ahead(pool, jobs, self.threads))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _jobs(self, weight: PlannedWeight, sources: Sources) -> Iterator[Job]:
        for part in weight.parts:
            yield from self._part(part, weight.target, sources)

    def _part(self, operation: Operation, target: TensorSpec, sources: Sources) -> Iterator[Job]:
        match operation:
            case Copy(block):
                return copy_jobs(sources.model, block)
            case Recast():
                return recast_jobs(operation, target, sources.model, self.band_values)
            case Merge():
                return merge_jobs(operation, target, sources, self.band_values)
            case Dequantise():
                return dequantise_jobs(operation, target, sources.model, self.band_values)
            case Turn():
                return self._turned(operation, target, sources)

    def _turned(self, turn: Turn, target: TensorSpec, sources: Sources) -> Iterator[Job]:
        """The whole matrix is made first: of its transpose every row needs all of it."""
        words = np.empty((turn.rows, turn.columns), f"<u{DTYPE_BITS[target.dtype] // 8}")
        flat, at, room = words.reshape(-1).view(np.uint8), 0, Room()
        for part in turn.of:
            for job in self._part(part, target, sources):
                made = job(room).reshape(-1).view(np.uint8)
                flat[at : at + made.size] = made
                at += made.size
        for first, last in row_bands(turn.columns, turn.rows, self.band_values):

            def chunk(room: Room, first: int = first, last: int = last) -> Words:
                return np.ascontiguousarray(words[:, first:last].T)

            yield chunk


def _tensors(
    weights: Sequence[PlannedWeight], chunks: Iterator[Buffer]
) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
    for weight in weights:
        own = _until(chunks, weight.target.nbytes)
        yield weight.target, own
        for _ in own:  # what was not asked for is not the next tensor's
            pass


def _until(chunks: Iterator[Buffer], size: int) -> Iterator[Buffer]:
    """The next chunks, ``size`` bytes of them."""
    while size > 0:
        chunk = next(chunks)
        size -= memoryview(chunk).nbytes
        yield chunk
