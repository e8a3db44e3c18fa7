"""Finite, zero and largest magnitude of every tensor, from one sequential pass over a file.

Never decodes elements. Floats order like their bits, so with sign bit 0 the non-finite patterns
are the largest signed integers, and with sign bit 1 the largest unsigned ones: two integer max()
per chunk tell everything, at the speed of memory.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from threading import local
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field, frozen

from weighbridge.domain.survey import TensorStats

if TYPE_CHECKING:
    import numpy as np

    from weighbridge.application.ports import Reader
    from weighbridge.domain.tensors import Header, TensorSlot, TensorSpec

#: Is handed the bytes of a file in order.
Sink: TypeAlias = Callable[[memoryview], object]
Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

# Small enough that the second max() still finds the chunk in the cache that the read left it in,
# large enough that small tensors share a read. Measured on 1 GiB, 0.5 to 2 MiB are much alike.
_BUFFER_BYTES = 1 << 20
# Reading takes four times what the two max() take, and both let other threads run: with two, 1 GiB
# takes 0.14 s where one thread takes 0.23 s and reading alone 0.17 s.
_THREADS = 2
# Of a buffer so many words are looked at one by one, a tenth of what the two max() take; a part of
# a few is no part.
_SAMPLE, _FEW, _VERY_FEW = 256, 128, 32
_SEGMENT_BYTES = 16 << 20


@frozen
class _Format:
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


_F32 = _Format("<u4", 0x7F800000, _unpacked("<I", "<f"), normal=1 << 23, fine=21)
# F4 and F6 have no NaN and no whole bytes; integers are indices, but U32 the codes that MLX packs,
# and U8 the scales of its small floats: which byte of theirs is no number depends on the mode. The
# FNUZ pair writes NaN as minus zero, which a max() cannot tell; no MLX tool writes it.
_FORMATS: Mapping[str, _Format] = {
    "F64": _Format("<u8", 0x7FF0000000000000, _unpacked("<Q", "<d")),
    "F32": _F32,
    "C64": _F32,  # a pair of F32; the magnitude is that of the larger part
    "F16": _Format("<u2", 0x7C00, _unpacked("<H", "<e"), normal=1, fine=8),
    "BF16": _Format("<u2", 0x7F80, _unpacked("<I", "<f", 16), normal=1 << 7, fine=5),
    "F8_E5M2": _Format("|u1", 0x7C, _unpacked("<H", "<e", 8)),
    "F8_E4M3": _Format("|u1", 0x7F, _e4m3),
    "F8_E8M0": _Format("|u1", 0xFF, _e8m0, signed=False),
    "U8": _Format("|u1", 0x100, float, signed=False),
    "U32": _Format("<u4", 1 << 32, _no_number, signed=False, normal=1),
}
_UNEXAMINED = TensorStats(finite=True, zero=False, absmax=math.nan, examined=False)


@define
class _Extremes:
    """The largest signed and unsigned reading of a tensor's words so far.

    ``first`` is the first word, ``constant`` whether all are it: of most tensors the second word
    already says no, so that it costs nothing. Of the ``sampled`` words ``zeros`` are zero, and
    ``denormal`` less than the least normal number; ``sizes`` counts them by their magnitude's upper
    bits. Of all ``words`` the last ``tail`` are zero.
    """

    form: _Format
    signed: int = 0
    unsigned: int = 0
    first: int | None = None
    constant: bool = True
    sampled: int = 0
    denormal: int = 0
    zeros: int = 0
    sizes: Counter[int] = field(factory=Counter)
    words: int = 0
    tail: int = 0

    def add(self, data: Bytes) -> None:
        """Take in one chunk of whole words."""
        words = data.view(self.form.unsigned)
        if self.constant:
            first = int(words[0])
            self.first = first if self.first is None else self.first
            ends = first == self.first and int(words[-1]) == first
            self.constant = ends and bool((words[:64] == first).all() and (words == first).all())
        self.unsigned = max(self.unsigned, int(words.max()))
        if self.form.signed:
            # 0 and below are of negative floats, whose magnitude the unsigned reading has.
            signed = words.view(self.form.unsigned.replace("u", "i"))
            self.signed = max(self.signed, int(signed.max()))
        if self.form.normal:
            self._sample(words)
        self._end_with(words.size, 0 if words[-1] else _zeros_behind(words))

    def _sample(self, words: Any) -> None:
        # An odd step, so that no column of a matrix is all that is seen.
        some = words[:: words.size // _SAMPLE | 1] & self.form.magnitude
        low = some < self.form.normal
        if self.form.fine:
            # Of what follows fewer and fewer: by now the form of the distribution is known.
            fewer = some[:: 1 + self.sampled // _SAMPLE]
            self.sizes.update((fewer >> self.form.fine).tolist())
        self.sampled += some.size
        if low.any():
            above = int((some[low] > 0).sum())
            self.denormal += above
            self.zeros += int(low.sum()) - above

    def _end_with(self, count: int, tail: int) -> None:
        self.words += count
        self.tail = tail + (self.tail if tail == count else 0)

    def _part(self, count: int) -> float:
        return count / self.sampled if self.sampled > _FEW else 0.0

    def join(self, other: _Extremes) -> None:
        """Take in what another part of the same tensor has."""
        self.signed = max(self.signed, other.signed)
        self.unsigned = max(self.unsigned, other.unsigned)
        self.sampled += other.sampled
        self.denormal += other.denormal
        self.zeros += other.zeros
        self.sizes.update(other.sizes)
        self._end_with(other.words, other.tail)
        self.constant = self.constant and other.constant and self.first in (None, other.first)
        self.first = other.first if self.first is None else self.first

    def stats(self, spec: TensorSpec) -> TensorStats:
        """The verdict; an empty tensor is finite and zero."""
        if spec.nbytes == 0:
            return TensorStats(finite=True, zero=True, absmax=0.0)
        sign = self.form.sign
        negative = self.unsigned & ~sign if self.unsigned >= sign else 0
        magnitude = max(self.signed, negative)
        finite = magnitude < self.form.bad
        # Bytes without a sign have no zero either: E8M0 holds powers of two.
        zero = magnitude == 0 and (self.form.signed or self.form.width > 1)
        constant = self.constant and self.first is not None and spec.nbytes > self.form.width
        return TensorStats(
            finite,
            zero,
            self.form.decode(magnitude) if finite else math.nan,
            constant=constant and not zero,
            marks=(self.first or 0, self.signed, self.unsigned),
            denormal=self._part(self.denormal),
            zeros=self._part(self.zeros),
            sizes=self._sizes(),
            tail=self.tail,
        )

    def _sizes(self) -> tuple[float, ...]:
        """The magnitudes that 2, 50 and 98 % of the sampled words do not exceed, zeros apart."""
        found = sorted((bits, count) for bits, count in self.sizes.items() if bits)
        total = sum(count for _, count in found)
        if total < _VERY_FEW:
            return ()
        sums = list(accumulate(count for _, count in found))
        at = (bisect_left(sums, total * part) for part in (0.02, 0.5, 0.98))
        return tuple(self.form.decode(found[n][0] << self.form.fine) for n in at)


def _zeros_behind(words: Any) -> int:
    """How many words at the end are zero."""
    held = words.nonzero()[0]
    return int(words.size - 1 - held[-1]) if held.size else int(words.size)


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
            slot.spec.name: _Extremes(form)
            for slot in header.slots
            if (form := _FORMATS.get(slot.spec.dtype))
        }
        segments: list[_Segment] = []
        for run in _runs(header.slots):
            if run[0].spec.dtype in _FORMATS:
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
    ) -> Iterator[tuple[_Segment, Mapping[str, _Extremes]]]:
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
    ) -> Iterator[tuple[_Segment, Mapping[str, _Extremes]]]:
        """Each segment with what is in it, in order. Reading and max() let other threads run."""
        import numpy as np  # not above: a check of the headers alone does without

        buffers = local()

        def survey(segment: _Segment) -> Mapping[str, _Extremes]:
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
            (run[0].spec.dtype in _FORMATS) != (slot.spec.dtype in _FORMATS)
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
) -> Mapping[str, _Extremes]:
    extremes = {s.spec.name: _Extremes(_FORMATS[s.spec.dtype]) for s in segment.slots}
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
