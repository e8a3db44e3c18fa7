"""How a PEFT config selects exactly the modules that a file holds: names, and layers.

Suffixes come first, since every consumer reads those; full paths select anything, but break where
a consumer nests the model otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from weighbridge.domain.placed import LAYER

_MOST_PARTS = 3


@frozen
class Selection:
    """``target_modules``, ``layers_to_transform``, ``layers_pattern``."""

    modules: tuple[str, ...]
    layers: tuple[int, ...] | None = None
    pattern: str | None = None


def select(
    held: Iterable[str], universe: Iterable[str], *, prefer_layers: bool = False
) -> Selection:
    """What selects ``held`` and nothing else of ``universe`` (all modules that may exist).

    ``prefer_layers``: state the layers even where the names alone would do.
    """
    modules = frozenset(held)
    everything = frozenset(universe) | modules
    by_name = _by_suffix(modules, everything)
    by_layer = _by_layer(modules, everything)
    full = Selection(tuple(sorted(modules)))
    found = (by_layer or by_name) if prefer_layers else (by_name or by_layer)
    return found or full


def _by_suffix(modules: frozenset[str], everything: frozenset[str]) -> Selection | None:
    for parts in range(1, _MOST_PARTS + 1):
        names = frozenset(_last(m, parts) for m in modules)
        if any(name[0].isdigit() for name in names):  # a layer's or an expert's number
            return None
        if all((m in modules) == _ends(m, names) for m in everything):
            return Selection(tuple(sorted(names)))
    return None


def _by_layer(modules: frozenset[str], everything: frozenset[str]) -> Selection | None:
    """Suffixes within a list of layers, and what is in no layer by its full path."""
    layered = {m: f for m in modules if (f := LAYER.fullmatch(m))}
    loose = modules - layered.keys()
    layers = frozenset(int(f["layer"]) for f in layered.values())
    heads = {f["head"].split(".")[-2] for f in layered.values()}
    if not layered or len(heads) != 1:
        return None
    for parts in range(1, _MOST_PARTS + 1):
        names = frozenset(_last(m, parts) for m in layered)
        if any(name[0].isdigit() for name in names):
            return None
        chosen = {m for m in everything if m in loose or (_ends(m, names) and _within(m, layers))}
        if chosen == modules and not any(_ends(m, names) for m in loose):
            return Selection(tuple(sorted(names | loose)), tuple(sorted(layers)), heads.pop())
    return None


def _within(module: str, layers: frozenset[int]) -> bool:
    found = LAYER.fullmatch(module)
    return found is not None and int(found["layer"]) in layers


def _last(module: str, parts: int) -> str:
    return ".".join(module.split(".")[-parts:])


def _ends(module: str, names: frozenset[str]) -> bool:
    """PEFT's rule for a list: the whole path, or its end after a dot."""
    pieces = module.split(".")
    return any(".".join(pieces[-n:]) in names for n in range(1, min(_MOST_PARTS, len(pieces)) + 1))


def neighbours(modules: Iterable[str], layers: int) -> frozenset[str]:
    """``modules``, and the same in each of the first ``layers`` layers."""
    found = [(m, LAYER.fullmatch(m)) for m in modules]
    stems = {(f["head"], f["tail"]) for _, f in found if f}
    return frozenset(m for m, _ in found) | frozenset(
        f"{head}{layer}{tail}" for head, tail in stems for layer in range(layers)
    )
