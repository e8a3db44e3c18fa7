"""An open safetensors file, read in pieces: raw words, or float64 values."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import evolve, field, frozen
from safetensors import SafetensorError, safe_open

from weighbridge.domain.npz import parse_npz
from weighbridge.domain.tensors import HeaderInvalid, header_length, parse_header

if TYPE_CHECKING:
    from weighbridge.domain.tensor_plan import Grid
    from weighbridge.domain.tensors import TensorSlot, TensorSpec

Words: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Reals: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_WORDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_BITS = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}
# The bits that are all set in what is not finite.
_EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}


class Unreadable(Exception):
    """A file that cannot be examined; the text is the problem."""


@frozen
class Weights:
    """Where each tensor is; a context that holds the file open. Reads may run in parallel."""

    path: Path
    size: int
    slots: Mapping[str, TensorSlot]
    descriptor: int
    _room: threading.local = field(factory=threading.local, repr=False, eq=False)

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Specs by name."""
        return {name: slot.spec for name, slot in self.slots.items()}

    def dtype(self, name: str) -> str:
        """The dtype of one tensor."""
        return self.slots[name].spec.dtype

    def words(self, name: str, grid: Grid) -> Words:
        """The grid's elements as unsigned integers, (rows, columns), valid until the thread's next.

        Reads what lies between the first and the last, or row by row if most of that is foreign.
        """
        if grid.row_stride == 1 and grid.column_stride > grid.rows:
            return self.words(name, grid.transposed).T  # what is together is a column
        word = np.dtype(_BITS[self.dtype(name)])
        if grid.column_stride == 1 and 4 * grid.columns < grid.row_stride and grid.columns > 512:
            words = self._buffer(grid.rows * grid.columns, word).reshape(grid.rows, -1)
            for row in range(grid.rows):
                self._read(name, words[row], grid.start + row * grid.row_stride)
            return words
        flat = self._buffer(max(0, grid.last + 1 - grid.start), word)
        self._read(name, flat, grid.start)
        shape, item = (grid.rows, grid.columns), word.itemsize
        strides = (grid.row_stride * item, grid.column_stride * item)
        return np.lib.stride_tricks.as_strided(flat, shape, strides)

    def _buffer(self, elements: int, word: np.dtype[Any]) -> Words:
        """Room of this thread's own, used again: new pages cost as much as the reading."""
        size = elements * word.itemsize
        held: Words | None = getattr(self._room, "bytes", None)
        if held is None or held.size < size:
            held = self._room.bytes = np.empty(size, np.uint8)
        return held[:size].view(word)

    def _read(self, name: str, into: Words, element: int) -> None:
        at = self.slots[name].start + element * into.itemsize
        view = into.data.cast("B")
        while view.nbytes:
            got = os.preadv(self.descriptor, [view], at)
            if not got:
                raise OSError(f"{self.path.name}: ends within {name}")
            view, at = view[got:], at + got

    def bands(self, name: str, grid: Grid, elements: int) -> Iterator[tuple[slice, Reals]]:
        """The grid's rows, some at a time, as float64."""
        step = max(1, elements // max(1, grid.columns))
        for row in range(0, grid.rows, step):
            down = slice(row, min(grid.rows, row + step))
            part = evolve(grid, start=grid.start + row * grid.row_stride, rows=down.stop - row)
            yield down, self.reals(name, part)

    def reals(self, name: str, grid: Grid) -> Reals:
        """The grid's elements as float64."""
        return decoded(self.words(name, grid), self.dtype(name))


def finite(words: Words, dtype: str) -> bool:
    """True if no value is an infinity or NaN: two maxima tell, of the words with and without sign.

    As signed integers, positive values are in order of size, and as unsigned ones negative values.
    """
    exponent, bits = _EXPONENTS[dtype], words.itemsize * 8
    if not words.size:
        return True
    positive = int(words.view(f"<i{words.itemsize}").max()) < exponent
    return positive and int(words.max()) < (exponent | 1 << (bits - 1))


def decoded(words: Words, dtype: str) -> Reals:
    """Values of raw words."""
    if dtype == "BF16":
        return (words.astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.ascontiguousarray(words).view(_WORDS[dtype]).astype(np.float64)


def opened(path: Path) -> Weights:
    """The file's layout, on which safetensors or numpy itself must agree. Raises Unreadable."""
    slots = _npz_slots(path) if path.suffix == ".npz" else _safetensors_slots(path)
    odd = (n for n, slot in slots.items() if slot.spec.dtype not in _WORDS)
    if name := min(odd, default=""):
        spec = slots[name].spec
        raise Unreadable(f"{path.name}: {name}: {spec.dtype} {spec.shape} is no LoRA matrix")
    return Weights(path, path.stat().st_size, slots, os.open(path, os.O_RDONLY))


def _npz_slots(path: Path) -> dict[str, TensorSlot]:
    try:
        with path.open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            slots = {s.spec.name: s for s in parse_npz(read, path.stat().st_size).slots}
        with np.load(path, allow_pickle=False) as reference:
            theirs = {name: reference[name].shape for name in reference.files}
    except (OSError, ValueError, HeaderInvalid) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    if theirs != {name: slot.spec.shape for name, slot in slots.items()}:
        raise Unreadable(f"{path.name}: numpy reads other arrays there")
    return slots


def _safetensors_slots(path: Path) -> dict[str, TensorSlot]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(16)
            file.seek(8)
            header = parse_header(file.read(header_length(prefix, size)), size)
        with safe_open(path, framework="numpy") as reference:
            slices = {name: reference.get_slice(name) for name in reference.keys()}  # noqa: SIM118
            theirs = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, ValueError, HeaderInvalid, SafetensorError) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    ours = {name: (spec.dtype, spec.shape) for name, spec in header.specs.items()}
    if ours != theirs:
        name = min(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        raise Unreadable(f"{path.name}: {name}: safetensors reads {theirs.get(name)} there")
    return {slot.spec.name: slot for slot in header.slots}
