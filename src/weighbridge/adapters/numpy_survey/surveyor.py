"""Finite, zero and largest magnitude of every tensor, from one sequential pass over a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from weighbridge.adapters.numpy_survey.extremes import Extremes
from weighbridge.adapters.numpy_survey.formats import FORMATS
from weighbridge.domain.survey import TensorStats

if TYPE_CHECKING:
    from weighbridge.adapters.numpy_survey.extremes import Bytes
    from weighbridge.application.ports import Reader
    from weighbridge.domain.tensors import Header, TensorSlot

#: Is handed the bytes of a file in order.
Sink: TypeAlias = Callable[[memoryview], object]

# Small enough that the second max() still finds the chunk in the cache that the read left it in,
# large enough that small tensors share a read. Measured on 1 GiB, 0.5 to 2 MiB are much alike.
_BUFFER_BYTES = 1 << 20
# Reading takes four times what the two max() take, and both let other threads run: with two, 1 GiB
# takes 0.14 s where one thread takes 0.23 s and reading alone 0.17 s.
_THREADS = 2
_SEGMENT_BYTES = 16 << 20
_UNEXAMINED = TensorStats(finite=True, zero=False, absmax=math.nan, examined=False)


@frozen
class _Segment:
    """A part of the file, from ``begin`` to ``end``, and the tensors that it has a part of.

    It begins and ends with a tensor or whole words of 8 bytes after a tensor's beginning.
    """

    slots: Sequence[TensorSlot]
    begin: int
    end: int


@frozen
class NumpySurveyor:
    """The Surveyor that needs nothing but numpy. Sizes are in bytes; a buffer is a thread's."""

    buffer_bytes: int = field(default=_BUFFER_BYTES, kw_only=True)
    segment_bytes: int = field(default=_SEGMENT_BYTES, kw_only=True)
    threads: int = field(default=_THREADS, kw_only=True)

    def survey(
        self,
        reader: Reader,
        header: Header,
        *,
        advance: Callable[[int], None],
        sink: Sink | None = None,
    ) -> Mapping[str, TensorStats]:
        """Statistics of every tensor. ``advance`` counts unexamined tensors too, so it sums up."""
        extremes = {
            slot.spec.name: Extremes(form)
            for slot in header.slots
            if (form := FORMATS.get(slot.spec.dtype))
        }
        segments: list[_Segment] = []
        for run in _runs(header.slots):
            if run[0].spec.dtype in FORMATS:
                segments += _segments(run, self.segment_bytes)
            else:
                advance(sum(slot.spec.nbytes for slot in run))
        found = (
            self._in_order(reader, segments, sink) if sink else self._in_threads(reader, segments)
        )
        for segment, parts in found:
            for name, part in parts.items():
                extremes[name].join(part)
            advance(segment.end - segment.begin)
        return {
            slot.spec.name: extremes[slot.spec.name].stats(slot.spec)
            if slot.spec.name in extremes
            else _UNEXAMINED
            for slot in header.slots
        }

    def _in_order(
        self, reader: Reader, segments: Sequence[_Segment], sink: Sink
    ) -> Iterator[tuple[_Segment, Mapping[str, Extremes]]]:
        """As ``_in_threads``, in one: all bytes of the file go to ``sink``, those between, too."""
        import numpy as np

        buffer, at = np.empty(max(8, self.buffer_bytes), np.uint8), 0
        for segment in segments:
            _pass_on(reader, at, segment.begin, buffer, sink)
            yield segment, _survey_segment(reader, segment, buffer, sink)
            at = segment.end
        _pass_on(reader, at, reader.size, buffer, sink)

    def _in_threads(
        self, reader: Reader, segments: Sequence[_Segment]
    ) -> Iterator[tuple[_Segment, Mapping[str, Extremes]]]:
        """Each segment with what is in it, in order. Reading and max() let other threads run."""
        import numpy as np  # not above: a check of the headers alone does without

        buffers = local()

        def survey(segment: _Segment) -> Mapping[str, Extremes]:
            if not hasattr(buffers, "own"):
                buffers.own = np.empty(max(8, self.buffer_bytes), np.uint8)
            return _survey_segment(reader, segment, buffers.own)

        if len(segments) < 2:
            yield from ((segment, survey(segment)) for segment in segments)
            return
        pool = ThreadPoolExecutor(max_workers=self.threads)
        try:
            yield from zip(segments, pool.map(survey, segments), strict=True)
        finally:
            # After an error or an interrupt, what is waiting is not begun.
            pool.shutdown(cancel_futures=True)


def _runs(slots: Sequence[TensorSlot]) -> Iterator[list[TensorSlot]]:
    """Neighbours that are all examined, or all not: the former are read as if one tensor.

    Between the arrays of an npz archive there are headers, so each is a run of its own.
    """
    run: list[TensorSlot] = []
    for slot in slots:
        if run and (
            (run[0].spec.dtype in FORMATS) != (slot.spec.dtype in FORMATS)
            or slot.start != run[-1].start + run[-1].spec.nbytes
        ):
            yield run
            run = []
        run.append(slot)
    if run:
        yield run


def _segments(run: Sequence[TensorSlot], most: int) -> Iterator[_Segment]:
    """A run in parts of up to ``most`` bytes, cut between tensors if that is possible."""
    most = max(8, most & -8)
    held: list[TensorSlot] = []
    begin = run[0].start
    for slot in run:
        end = slot.start + slot.spec.nbytes
        if held and end - begin > most:
            yield _Segment(held, begin, slot.start)
            held, begin = [], slot.start
        while end - begin > most:
            yield _Segment([slot], begin, begin + most)
            begin += most
        held.append(slot)
    if held[-1].start + held[-1].spec.nbytes > begin:
        yield _Segment(held, begin, held[-1].start + held[-1].spec.nbytes)


def _pass_on(reader: Reader, begin: int, end: int, buffer: Bytes, sink: Sink) -> None:
    for at in range(begin, end, buffer.size):
        view = buffer.data[: min(buffer.size, end - at)]
        reader.read_into(view, at)
        sink(view)


def _survey_segment(
    reader: Reader, segment: _Segment, buffer: Bytes, sink: Sink | None = None
) -> Mapping[str, Extremes]:
    extremes = {s.spec.name: Extremes(FORMATS[s.spec.dtype]) for s in segment.slots}
    at, index = segment.begin, 0
    while at < segment.end:
        length = min(buffer.size, segment.end - at)
        reader.read_into(buffer.data[:length], at)
        used = 0
        while index < len(segment.slots):
            slot = segment.slots[index]
            left = min(slot.start + slot.spec.nbytes, segment.end) - at - used
            # A word cut in two by the buffer's end is read again, whole, with the next chunk.
            take = min(left, (length - used) & -8) if left > length - used else left
            if take:
                extremes[slot.spec.name].add(buffer[used : used + take])
                used += take
            if take < left:
                break
            index += 1
        if sink is not None:
            sink(buffer.data[:used])
        at += used
    return extremes
