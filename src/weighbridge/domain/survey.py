"""What one pass over the weights tells of each tensor."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from weighbridge.domain.artifact import Digest


@frozen
class TensorStats:
    """``finite``: no NaN or infinity. ``zero``: every element is 0. ``absmax``: the largest finite
    magnitude (NaN if not finite). A dtype that cannot be examined has ``examined`` False.

    Of bytes (U8) ``absmax`` is the largest, and they are finite and not zero, whatever they encode.
    Of packed words (U32) it is NaN, and they are finite.

    ``constant``: every element has the same bits, and there are several. ``marks`` are figures that
    two tensors of the same bytes share, and others hardly ever; () if there are none. ``tail``: how
    many elements at its end are zero. ``signs``: of a float's first elements, whether each is
    negative. From a sample: ``zeros`` is the part of its elements that are
    zero, ``denormal`` that of those of BF16 or F32 that are less than a normal number, ``sizes``
    the magnitudes that 2, 50 and 98 % of those that are not zero do not exceed, rounded down by up
    to a quarter octave; () if too few were seen.
    """

    finite: bool
    zero: bool
    absmax: float
    examined: bool = True
    constant: bool = False
    marks: tuple[int, ...] = field(default=(), eq=False, repr=False)
    denormal: float = field(default=0.0, eq=False)
    zeros: float = field(default=0.0, eq=False)
    sizes: tuple[float, ...] = field(default=(), eq=False)
    tail: int = field(default=0, eq=False)
    signs: tuple[bool, ...] = field(default=(), eq=False)


@frozen
class WeightSurvey:
    """Statistics by file path and tensor name; ``duplicates`` are groups of (path, tensor) whose
    bytes are the same. ``digests`` are those of the files, of the very bytes that were counted."""

    files: Mapping[str, Mapping[str, TensorStats]]
    duplicates: tuple[tuple[tuple[str, str], ...], ...] = ()
    digests: Mapping[str, Digest] = field(factory=dict)

    def stats(self, path: str, tensor: str) -> TensorStats | None:
        """Statistics of one tensor, if it was examined."""
        found = self.files.get(path, {}).get(tensor)
        return found if found is not None and found.examined else None
