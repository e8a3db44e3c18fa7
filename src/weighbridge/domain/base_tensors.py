"""Where the tensors of an MLX model are in the checkpoint of its base, found in the base's headers.

An architecture says what a module may be called; only the headers say what it is called here, since
published checkpoints leave a prefix out, or stack their experts, or do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import field, frozen

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

_PREFIXES = ("model.", "transformer.", "language_model.")


@frozen
class Home:
    """Rows ``first`` to ``first + rows`` of a base tensor, for the module or one of its experts.

    ``turned``: the base stores the transpose. ``layout``: what MLX changed when it loaded it.
    """

    tensor: TensorSpec
    first: int
    rows: int
    expert: int | None = None
    turned: bool = False
    layout: Layout = Layout.SAME


#: Where something is, an element for each expert if there are experts; or why it is nowhere.
Homes: TypeAlias = tuple[Home, ...] | str


def _by_name(tensors: Iterable[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {t.name: t for t in tensors}


@frozen
class BaseTensors:
    """The headers of a base, asked with MLX's names."""

    architecture: Architecture
    tensors: Mapping[str, TensorSpec] = field(converter=_by_name)

    def find(self, *names: str) -> TensorSpec | None:
        """The first of these that is there, with its whole name or without its prefix."""
        return next((self.tensors[n] for n in _spellings(names) if n in self.tensors), None)

    def of_module(self, module: str, shape: tuple[int, ...]) -> Homes:
        """Where the weight of an adapted module is; ``shape`` is that of MLX's weight."""
        place = self.architecture.place(module)
        match place:
            case Plain(path, checkpoint):
                turned = self.stores_turned(module, "weight", shape)
                return self._plain((checkpoint, path), "weight", shape, turned=turned)
            case Rows():
                return self._rows(place, "weight", shape)
            case Experts():
                return self._experts(place, "weight", shape)
            case Impossible(reason):
                return reason

    def of_tensor(self, name: str, shape: tuple[int, ...]) -> Homes:
        """Where any tensor of the MLX model is, in whole."""
        module, _, leaf = name.rpartition(".")
        place = self.architecture.place(module)
        match place:
            case Rows():
                return self._rows(place, leaf, shape)
            case Experts():
                return self._experts(place, leaf, shape)
        restored = self.architecture.restore(name)
        if isinstance(restored, Impossible):
            return restored.reason
        names = [restored.name.rpartition(".")[0]]
        names += [place.path] if isinstance(place, Plain) else []
        turned = self.stores_turned(module, leaf, shape)
        return self._plain(names, leaf, shape, turned=turned, restored=restored)

    def stores_turned(self, module: str, leaf: str, shape: tuple[int, ...]) -> bool:
        """True if transformers keeps that tensor as (in, out), as GPT-2's Conv1D does."""
        return stores_turned(self.architecture, module, leaf, shape)

    def _plain(
        self,
        stems: Iterable[str],
        leaf: str,
        shape: tuple[int, ...],
        *,
        turned: bool,
        restored: Stored | None = None,
    ) -> Homes:
        layout = restored.layout if restored else Layout.SAME
        names = tuple(f"{stem}.{leaf}" if stem else leaf for stem in stems)
        found = self.find(*names)
        if found is None:
            return f"has no counterpart in the base, which has no {names[0]}"
        wanted = stored_shape(shape, layout, turned)
        if wanted is None or found.shape != wanted:
            return _mismatch(found, wanted or shape)
        rows = found.shape[-1] if turned else math.prod(found.shape[:-1])
        return (Home(found, 0, rows, None, turned, layout),)

    def _rows(self, place: Rows, leaf: str, shape: tuple[int, ...]) -> Homes:
        names = (f"{place.checkpoint}.{leaf}", f"{place.path}.{leaf}")
        found = self.find(*names)
        if found is None:
            return f"has no counterpart in the base, which has no {names[0]}"
        wanted = (shape[0] * place.count, *shape[1:])
        if found.shape != wanted or len(shape) != 2:
            return _mismatch(found, wanted)
        return (Home(found, place.index * shape[0], shape[0]),)

    def _experts(self, place: Experts, leaf: str, shape: tuple[int, ...]) -> Homes:
        if leaf == "weight" and len(shape) != 3:
            return f"is {list(shape)}, but a stack of experts in {self.architecture.model_type}"
        experts = shape[0]
        found = [self.find(f"{place.each(e)}.{leaf}") for e in range(experts)]
        if any(found):
            return self._each(place, leaf, shape, found)
        stacked = "down_proj" if place.part is Part.DOWN else "gate_up_proj"
        container = place.checkpoint.partition(".{}")[0]
        names = (f"{place.container}.{stacked}", f"{container}.{stacked}")
        whole = self.find(*names) if leaf == "weight" else None
        if whole is None:
            missing = f"{place.each(0)}.{leaf}"
            return f"has no counterpart in the base, which has neither {missing} nor {names[0]}"
        halves = 1 if place.part is Part.DOWN else 2
        wanted = (experts, halves * shape[1], shape[2])
        if whole.shape != wanted:
            return _mismatch(whole, wanted)
        begin = shape[1] if place.part is Part.UP else 0
        return tuple(Home(whole, e * wanted[1] + begin, shape[1], expert=e) for e in range(experts))

    def _each(
        self, place: Experts, leaf: str, shape: tuple[int, ...], found: list[TensorSpec | None]
    ) -> Homes:
        homes = []
        for expert, spec in enumerate(found):
            if spec is None:
                return f"has {shape[0]} experts, but the base has no {place.each(expert)}.{leaf}"
            if spec.shape != shape[1:]:
                return _mismatch(spec, shape[1:])
            homes.append(Home(spec, 0, math.prod(spec.shape[:-1]), expert=expert))
        if self.find(f"{place.each(shape[0])}.{leaf}") is not None:
            return f"has {shape[0]} experts, the base has more"
        return tuple(homes)


def stores_turned(
    architecture: Architecture, module: str, leaf: str, shape: tuple[int, ...]
) -> bool:
    """True if transformers keeps that tensor as (in, out), as GPT-2's Conv1D does."""
    linear = leaf == "weight" and len(shape) == 2 and module not in architecture.embeddings
    return architecture.conv1d and linear and not module.endswith("lm_head")


def stored_shape(shape: tuple[int, ...], layout: Layout, turned: bool) -> tuple[int, ...] | None:
    """The shape in the checkpoint of a tensor that has ``shape`` in MLX.

    None for a convolution that is not of one channel each: its values would have to move.
    """
    if layout is Layout.CONVOLUTION:
        if len(shape) != 3 or shape[2] != 1:
            return None
        return shape[0], 1, shape[1]
    return shape[::-1] if turned else shape


def _spellings(names: Iterable[str]) -> Iterator[str]:
    listed = tuple(names)
    yield from listed
    for name in listed:
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                yield name.removeprefix(prefix)


def _mismatch(found: TensorSpec, wanted: tuple[int, ...]) -> str:
    return (
        f"belongs to a tensor of {list(wanted)}, but {found.name} is {list(found.shape)} in the "
        "base; is it the base that was trained on?"
    )
