"""LoRA targets at their place in the checkpoint, and the zero pairs that some consumers want.

A consumer may look for what training left out: every layer (TGI and LoRAX drop a module type that
is missing in one), q, k and v together (SGLang), gate and up together (PEFT on transformers 5), all
three matrices of an expert (vLLM). A pair of zeros changes nothing and satisfies all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.models import LoraTarget
from weighbridge.domain.placement import Experts, Part, Plain, Rows

LAYER = re.compile(r"(?P<head>(?:.*\.)?(?:layers|h|blocks)\.)(?P<layer>\d{1,9})(?P<tail>\..*)")
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@frozen
class Placed:
    """What is to stand at one place; ``target`` is None for a pair of zeros."""

    place: Plain | Rows | Experts
    rank: int
    in_features: int
    out_features: int
    dtype: str
    experts: int | None = None
    embedding: bool = False
    target: LoraTarget | None = None

    @property
    def key(self) -> str:
        """Tells places apart."""
        match self.place:
            case Plain(path, _):
                return path
            case Rows(path, _, index, _):
                return f"{path}[{index}]"
            case Experts(container, _, part):
                return f"{container}.{part.value}"


def place_target(target: LoraTarget, place: Plain | Rows | Experts, *, embedding: bool) -> Placed:
    """The target at that place."""
    return Placed(place, target.rank, target.in_features, target.out_features, target.a.dtype,
                  target.experts, embedding, target)  # fmt: skip


def padded(held: tuple[Placed, ...], base: BaseModel) -> tuple[tuple[Placed, ...], list[str]]:
    """``held`` and the zero pairs that complete it, and a note for what could not be completed."""
    complete = {p.key: p for p in held}
    unknown: set[str] = set()
    for extra in _expert_siblings(held):
        complete.setdefault(extra.key, extra)  # an expert has all three, of sizes that follow
    for extra in _siblings(held):
        _add(extra, complete, base, unknown)
    layers = _layer_count(tuple(complete.values()), base)
    for one, present in _by_module(complete.values()):
        for layer in range(layers):
            if layer not in present:
                _add(_moved(one, layer), complete, base, unknown)
    notes = []
    if unknown:
        shown = ", ".join(sorted(unknown)[:4]) + (" ..." if len(unknown) > 4 else "")
        notes.append(
            f"not padded, for want of the base's shapes: {shown}; give --base, or TGI, LoRAX and "
            "SGLang may not load this"
        )
    return tuple(complete.values()), notes


def _add(extra: Placed, complete: dict[str, Placed], base: BaseModel, unknown: set[str]) -> None:
    if extra.key in complete:
        return
    if base.tensors:
        shape = base.shape(extra.place)  # without one there is no such module in that layer
        if shape is not None:
            out, wide = shape
            complete[extra.key] = evolve(extra, in_features=wide, out_features=out)
    elif extra.in_features and base.architecture.uniform:
        complete[extra.key] = extra
    elif (shape := base.llama_shape(extra.key.rpartition(".")[2])) and base.architecture.uniform:
        complete[extra.key] = evolve(extra, in_features=shape[1], out_features=shape[0])
    else:
        unknown.add(extra.key)


def _siblings(held: Iterable[Placed]) -> Iterator[Placed]:
    """Pairs of zeros beside the projections that are held; of unknown size, so 0 x 0."""
    for one in held:
        if not isinstance(one.place, Plain) or one.embedding:
            continue
        stem, _, leaf = one.place.path.rpartition(".")
        checkpoint, _, last = one.place.checkpoint.rpartition(".")
        for family in _SIBLINGS:
            if leaf in family and last == leaf:
                for name in family:
                    place = evolve(one.place, path=f"{stem}.{name}",
                                   checkpoint=f"{checkpoint}.{name}")  # fmt: skip
                    yield evolve(one, place=place, in_features=0, out_features=0, target=None)


def _expert_siblings(held: Iterable[Placed]) -> Iterator[Placed]:
    """The other matrices of every expert that is held: gate and up alike, down the other way."""
    for one in held:
        if not isinstance(one.place, Experts):
            continue
        wide, out = one.in_features, one.out_features
        for part, name in _part_names(one.place):
            turned = (part is Part.DOWN) != (one.place.part is Part.DOWN)
            place = evolve(one.place, part=part, checkpoint=name)
            yield evolve(one, place=place, in_features=out if turned else wide,
                         out_features=wide if turned else out, target=None)  # fmt: skip


_EXPERT_LEAVES = (("w1", "w3", "w2"), ("gate_proj", "up_proj", "down_proj"))


def _part_names(place: Experts) -> Iterator[tuple[Part, str]]:
    stem, _, leaf = place.checkpoint.rpartition(".")
    for leaves in _EXPERT_LEAVES:
        if leaf in leaves:
            for part, name in zip((Part.GATE, Part.UP, Part.DOWN), leaves, strict=True):
                yield part, f"{stem}.{name}"


def _layer(one: Placed) -> int | None:
    found = LAYER.fullmatch(one.key)
    return int(found["layer"]) if found else None


def _by_module(placed: Iterable[Placed]) -> list[tuple[Placed, set[int]]]:
    """One for each module that layers repeat, and the layers that have it."""
    found: dict[tuple[str, str], tuple[Placed, set[int]]] = {}
    for one in placed:
        if where := LAYER.fullmatch(one.key):
            _, layers = found.setdefault((where["head"], where["tail"]), (one, set()))
            layers.add(int(where["layer"]))
    return list(found.values())


def _layer_count(all_of: tuple[Placed, ...], base: BaseModel) -> int:
    """The base's, else what the last layer held implies: mlx-lm trains the last layers."""
    return base.layers or max((n for p in all_of if (n := _layer(p)) is not None), default=-1) + 1


def _moved(one: Placed, layer: int) -> Placed:
    """The pair of zeros at the same place in another layer."""
    place = one.place
    checkpoint = _in_layer(place.checkpoint, layer)
    match place:
        case Plain() | Rows():
            moved = evolve(place, path=_in_layer(place.path, layer), checkpoint=checkpoint)
            return evolve(one, place=moved, target=None)
        case Experts():
            there = _in_layer(place.container, layer)
            moved_stack = evolve(place, container=there, checkpoint=checkpoint)
            return evolve(one, place=moved_stack, target=None)


def _in_layer(path: str, layer: int) -> str:
    found = LAYER.fullmatch(path)
    return f"{found['head']}{layer}{found['tail']}" if found else path  # experts may have no name
