"""What a LoRA changes, one weight at a time, and where a PEFT file says the same.

The proof of a conversion compares these: every change that MLX makes must be found, every pair that
was written must be accounted for. Written from what PEFT computes, not from how ``conversion``
plans; the two share the table of architectures and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.models import LoraTarget
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.peft.selection import KEY_PREFIX, pair_scale, parameter_names
from weighbridge.domain.placement import Architecture, Experts, Impossible, Part, Plain, Rows
from weighbridge.domain.tensor_plan import Grid
from weighbridge.domain.tensors import TensorSpec


@frozen
class Change:
    """One weight that MLX changes: ``target``, or one ``expert`` of it, at its place."""

    target: LoraTarget
    place: Plain | Rows | Experts
    expert: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        number = "" if self.expert is None else f"[{self.expert}]"
        return self.target.module + number

    @property
    def a(self) -> Grid:
        """lora_a as (rank, in) elements of its tensor."""
        if self.expert is None:
            whole = Grid.whole(self.target.a.shape)
            return whole if self.target.turned else whole.transposed
        rank, wide = self.target.rank, self.target.in_features
        return Grid.whole((rank, wide), start=self.expert * rank * wide)

    @property
    def b(self) -> Grid:
        """lora_b as (out, rank) elements of its tensor."""
        if self.expert is None:
            whole = Grid.whole(self.target.b.shape)
            return whole if self.target.turned else whole.transposed
        rank, out = self.target.rank, self.target.out_features
        return Grid.whole((out, rank), start=self.expert * rank * out)


def changes_of(
    targets: Iterable[LoraTarget], architecture: Architecture
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Every change of that LoRA, and what cannot be placed."""
    changes: list[Change] = []
    problems: list[str] = []
    for target in targets:
        place = architecture.place(target.module)
        if isinstance(place, Impossible):
            problems.append(f"{target.module}: {place.reason}")
        elif target.experts is None:
            changes.append(Change(target, place))
        else:
            changes += [Change(target, place, e) for e in range(target.experts)]
    return tuple(changes), tuple(problems)


@frozen
class WrittenPair:
    """One pair of a PEFT file. ``a`` is (rank, in), ``b`` (out, rank), per expert if stacked."""

    stem: str
    a: TensorSpec
    b: TensorSpec
    magnitude: TensorSpec | None
    scale: float
    parameter: str | None

    @property
    def names(self) -> Iterator[str]:
        """The tensors that it is made of."""
        yield from (self.a.name, self.b.name)
        if self.magnitude is not None:
            yield self.magnitude.name


@frozen
class Factors:
    """Where one change stands in a PEFT file: a part of each matrix of ``pair``."""

    pair: WrittenPair
    a: Grid
    b: Grid


def written_pairs(
    specs: Mapping[str, TensorSpec], config: Mapping[str, Any]
) -> tuple[dict[str, WrittenPair], list[str]]:
    """Every pair of the file by its stem, and every tensor that is part of none.

    Raises NotPeft if the config is none that PEFT could compute with.
    """
    stems: dict[str, dict[str, TensorSpec]] = {}
    strange = []
    for name, spec in specs.items():
        stem, leaf = _leaf(name)
        if leaf is None or not stem.startswith(KEY_PREFIX):
            strange.append(f"{name}: {_strangeness(name)}")
        else:
            stems.setdefault(stem.removeprefix(KEY_PREFIX), {})[leaf] = spec
    pairs = {}
    parameters = parameter_names(stems, config)
    for stem, leaves in stems.items():
        a, b = leaves.get("A"), leaves.get("B")
        if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2:
            strange.append(f"{stem}: is no pair of matrices: {', '.join(sorted(leaves))}")
            continue
        parameter = parameters.get(stem)
        scale = pair_scale(parameter or stem, config)
        pairs[stem] = WrittenPair(stem, a, b, leaves.get("magnitude"), scale, parameter)
    return pairs, strange


def _strangeness(name: str) -> str:
    if parse_name(name) is not None:
        return "is no tensor of a PEFT LoRA; weighbridge repair names it as PEFT does"
    if name.startswith(KEY_PREFIX) and name.endswith((".weight", ".bias")):
        return ("is a whole weight, no LoRA, and not known to be the base's own. If it is, give "
                "the base as --base DIR, or save the adapter with save_embedding_layers=False; if "
                "it was trained, PEFT's merge_and_unload makes a whole model of it")  # fmt: skip
    return "is no tensor of a PEFT LoRA"


_LEAVES = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
    ".lora_magnitude_vector": "magnitude",
}


def _leaf(name: str) -> tuple[str, str | None]:
    for ending, leaf in _LEAVES.items():
        if name.endswith(ending):
            return name.removesuffix(ending), leaf
    return name, None


def find_factors(change: Change, pairs: Mapping[str, WrittenPair]) -> Factors | str:
    """Where the file states that change; else why it does not.

    ``pairs`` are by stem, and those of parameters by the parameter's name too.
    """
    target, place = change.target, change.place
    match place:
        case Plain(path, checkpoint):
            return _direct(change, pairs, (checkpoint, path))
        case Rows(path, checkpoint, index, count):
            pair = pairs.get(path) or pairs.get(checkpoint)
            if pair is None:
                return "missing in the converted file"
            rows = target.out_features
            if pair.b.shape[0] != rows * count or pair.a.shape[1] != target.in_features:
                return f"{pair.b.name} is {list(pair.b.shape)}, not {count} times {rows} rows"
            rank = pair.a.shape[0]
            return Factors(pair, Grid.whole(pair.a.shape),
                           Grid.whole((rows, rank), start=index * rows * rank))  # fmt: skip
        case Experts(container, _, part):
            each = place.each(change.expert or 0) if place.checkpoint else ""
            if each in pairs:
                return _direct(change, pairs, (each,))
            return _stacked(change, container, part, pairs)


def _direct(
    change: Change, pairs: Mapping[str, WrittenPair], stems: tuple[str, ...]
) -> Factors | str:
    pair = next((pairs[s] for s in stems if s in pairs), None)
    if pair is None:
        return "missing in the converted file"
    wide, out = change.target.in_features, change.target.out_features
    if pair.a.shape[1] != wide or pair.b.shape[0] != out:
        return (f"{pair.a.name} is {list(pair.a.shape)} and {pair.b.name} {list(pair.b.shape)}, "
                f"for a weight that maps {wide} to {out}")  # fmt: skip
    if pair.a.shape[0] != pair.b.shape[1]:
        ranks = f"{pair.a.shape[0]} and {pair.b.shape[1]}"
        return f"{pair.a.name} and {pair.b.name} have the ranks {ranks}"
    return Factors(pair, Grid.whole(pair.a.shape), Grid.whole(pair.b.shape))


def _stacked(
    change: Change, container: str, part: Part, pairs: Mapping[str, WrittenPair]
) -> Factors | str:
    """One expert's part of PEFT's stacked matrices: rows of A, every n-th column of B."""
    name = "down_proj" if part is Part.DOWN else "gate_up_proj"
    wanted = f"{container}.{name}"
    pair = pairs.get(wanted)
    experts, expert = change.target.experts or 1, change.expert or 0
    if pair is None:
        return "missing in the converted file"
    wide, out = change.target.in_features, change.target.out_features
    rank, rest = divmod(pair.a.shape[0], experts)
    rows = out if part is Part.DOWN else 2 * out
    if rest or pair.a.shape[1] != wide or pair.b.shape != (rows, rank * experts):
        return (
            f"{pair.a.name} {list(pair.a.shape)} and {list(pair.b.shape)} hold no {experts} experts"
        )
    first = out if part is Part.UP else 0
    width = rank * experts
    return Factors(
        pair,
        Grid.whole((rank, wide), start=expert * rank * wide),
        Grid(first * width + expert, out, rank, width, experts),
    )
