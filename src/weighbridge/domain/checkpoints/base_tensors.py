"""Where the tensors of an MLX model are in the checkpoint of its base, found in the base's headers.

An architecture says what a tensor may be called and how it is laid out; only the headers say which
of that is true here: published checkpoints leave a prefix out, stack their experts, or do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import evolve, field, frozen

from weighbridge.domain.checkpoints.layouts import joined_shape, stored_shape
from weighbridge.domain.placement import (
    Architecture,
    Experts,
    Impossible,
    Layout,
    Part,
    Plain,
    Rows,
    Stored,
)
from weighbridge.domain.tensors import TensorSpec

_PREFIXES = ("model.", "transformer.", "model.language_model.", "language_model.")


@frozen
class Home:
    """A rectangle of a base tensor, seen as a matrix, that a tensor of MLX's or a slice of it is.

    ``part`` is the slice's number along the first axis, None for the whole tensor. ``turned``: the
    rectangle is the transpose. ``layout`` says what else MLX changed.
    """

    tensor: TensorSpec
    first: int
    rows: int
    column: int
    columns: int
    part: int | None = None
    turned: bool = False
    layout: Layout = Layout.SAME


#: Where something is, or why it is nowhere.
Homes: TypeAlias = tuple[Home, ...] | str


def _by_name(tensors: Iterable[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {t.name: t for t in tensors}


@frozen
class BaseTensors:
    """The headers of a base, asked with MLX's names."""

    architecture: Architecture
    tensors: Mapping[str, TensorSpec] = field(converter=_by_name)

    def find(self, name: str) -> TensorSpec | None:
        """The tensor of that name, with more or less of a prefix if need be."""
        return next((self.tensors[n] for n in spellings(name) if n in self.tensors), None)

    def locate(self, name: str, shape: tuple[int, ...], *, slices: bool = False) -> Homes:
        """Where a tensor of the MLX model is; with ``slices`` each expert for itself."""
        restored = self.architecture.restore(name)
        if isinstance(restored, Impossible):
            return restored.reason
        candidates = list(_candidates(self.architecture, name, restored))
        for stored in candidates:
            if self.find(stored.name.replace("{}", "0")) is not None:
                return self._homes(stored, shape, slices)
        names = " or ".join(dict.fromkeys(c.name.replace("{}", "0") for c in candidates))
        return f"has no counterpart in the base, which has no {names}"

    def _homes(self, stored: Stored, shape: tuple[int, ...], slices: bool) -> Homes:
        if "{}" not in stored.name:
            found = self.find(stored.name)
            assert found is not None
            return _in_one(found, stored, shape, slices)
        if len(shape) != (3 if stored.name.endswith(".weight") else 2):
            return f"is {list(shape)}, and no stack of experts as in the base"
        homes: list[Home] = []
        for expert in range(shape[0]):
            name = stored.name.replace("{}", str(expert))
            own = self.find(name)
            if own is None:
                return f"has {shape[0]} experts, but the base has no {name}"
            inner = _in_one(own, stored, shape[1:], slices=False)
            if isinstance(inner, str):
                return inner
            homes += (evolve(home, part=expert) for home in inner)
        if self.find(stored.name.replace("{}", str(shape[0]))) is not None:
            return f"has {shape[0]} experts, the base has more"
        return tuple(homes)


def _candidates(architecture: Architecture, name: str, restored: Stored) -> Iterator[Stored]:
    """The forms that a checkpoint may have, the published one first."""
    yield restored
    module, _, leaf = name.rpartition(".")
    match architecture.place(module):
        case Plain(path, checkpoint):
            yield evolve(restored, name=f"{path}.{leaf}")
            yield evolve(restored, name=f"{checkpoint}.{leaf}")
        case Rows(path, checkpoint, index, count, apart):
            yield Stored(f"{path}.{leaf}", index=index, count=count)
            own = Stored(f"{checkpoint}.{leaf}")
            yield own if apart else evolve(own, index=index, count=count)
        case Experts(container, checkpoint, part) if leaf == "weight":
            yield from _stacks(container, checkpoint, part)


def _stacks(container: str, checkpoint: str, part: Part) -> Iterator[Stored]:
    if checkpoint:
        yield Stored(f"{checkpoint}.weight")
    for holder in filter(None, (container, checkpoint.partition(".{}")[0])):
        match part:
            case Part.DOWN:
                yield Stored(f"{holder}.down_proj")
            case Part.GATE | Part.UP:
                yield Stored(f"{holder}.gate_up_proj", index=int(part is Part.UP), count=2)


def _in_one(found: TensorSpec, stored: Stored, shape: tuple[int, ...], slices: bool) -> Homes:
    """The rectangles of one base tensor: one, or one for each slice along the first axis."""
    if stored.layout is Layout.LATENT:
        return _latent(found, stored, shape)
    wanted = stored_shape(joined_shape(shape, stored.count), stored.layout)
    if wanted is None or found.shape != wanted:
        return _mismatch(found, wanted or shape)
    turned = stored.layout is Layout.TRANSPOSED
    if not (slices or turned or stored.count > 1) or len(shape) < 2:
        return (_whole(found, stored, shape),)
    stacks = math.prod(shape[:-2])
    height, width = shape[-2:]
    homes = []
    for stack in range(stacks):
        part = stack if len(shape) > 2 else None
        if turned:
            at = stack * width, width, stored.index * height, height
        else:
            at = (stack * stored.count + stored.index) * height, height, 0, width
        homes.append(Home(found, *at, part, turned, stored.layout))
    return tuple(homes)


def _whole(found: TensorSpec, stored: Stored, shape: tuple[int, ...]) -> Home:
    rows, columns = math.prod(found.shape[:-1]), found.shape[-1] if found.shape else 1
    if stored.count > 1:  # of a vector, a stretch
        return Home(found, 0, 1, stored.index * shape[0], shape[0], layout=stored.layout)
    return Home(found, 0, rows, 0, columns, layout=stored.layout)


def _latent(found: TensorSpec, stored: Stored, shape: tuple[int, ...]) -> Homes:
    """Head by head: part 0 is (heads, rank, rows) and turned, part 1 (heads, rows, rank)."""
    if len(shape) != 3 or len(found.shape) != 2 or found.shape[0] % max(1, shape[0]):
        return _mismatch(found, shape)
    heads, rank, rows = shape if stored.index == 0 else (shape[0], shape[2], shape[1])
    height = found.shape[0] // heads
    if found.shape[1] != rank or rows >= height:
        return _mismatch(found, (heads * height, rank))
    begin = 0 if stored.index == 0 else height - rows
    turned = stored.index == 0
    return tuple(
        Home(found, head * height + begin, rows, 0, rank, head, turned) for head in range(heads)
    )


def spellings(name: str) -> Iterator[str]:
    """The names that a checkpoint may have for it: with more or less of a prefix."""
    yield name
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            yield name.removeprefix(prefix)
    for prefix in _PREFIXES:
        yield prefix + name


def _mismatch(found: TensorSpec, wanted: tuple[int, ...]) -> str:
    return (
        f"belongs to a tensor of {list(wanted)}, but {found.name} is {list(found.shape)} in the "
        "base; is it the base that was trained on?"
    )
