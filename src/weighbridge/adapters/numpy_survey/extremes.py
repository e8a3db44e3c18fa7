"""What is known of one tensor so far, chunk by chunk.

Never decodes elements. Floats order like their bits, so with sign bit 0 the non-finite patterns
are the largest signed integers, and with sign bit 1 the largest unsigned ones: two integer max()
per chunk tell everything, at the speed of memory.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

from weighbridge.domain.survey import TensorStats

if TYPE_CHECKING:
    import numpy as np

    from weighbridge.adapters.numpy_survey.formats import Format
    from weighbridge.domain.tensors import TensorSpec

Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

# Of a buffer so many words are looked at one by one, a tenth of what the two max() take; a part of
# a few is no part.
_SAMPLE, _FEW, _VERY_FEW = 256, 128, 32
#: So many words at the beginning are asked for their sign.
_HEAD = 64


@define
class Extremes:
    """The largest signed and unsigned reading of a tensor's words so far.

    ``first`` is the first word, ``constant`` whether all are it: of most tensors the second word
    already says no, so that it costs nothing. Of the ``sampled`` words ``zeros`` are zero, and
    ``denormal`` less than the least normal number; ``sizes`` counts them by their magnitude's upper
    bits. Of all ``words`` the last ``tail`` are zero. ``signs`` are those of the first few, True
    for a negative one.
    """

    form: Format
    signed: int = 0
    unsigned: int = 0
    first: int | None = None
    signs: Sequence[bool] = ()
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
        if self.form.fine and not self.words:
            self.signs = (words[:_HEAD] >= self.form.sign).tolist()
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

    def join(self, other: Extremes) -> None:
        """Take in what another part of the same tensor has."""
        self.signed = max(self.signed, other.signed)
        self.unsigned = max(self.unsigned, other.unsigned)
        self.sampled += other.sampled
        self.denormal += other.denormal
        self.zeros += other.zeros
        self.sizes.update(other.sizes)
        self.signs = self.signs if self.words else other.signs
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
            signs=tuple(self.signs),
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
