"""Which way round a pair of factors is stored, decided from shapes alone.

PEFT stores A as (rank, in) and B as (out, rank), MLX the transposes. A factor shows which it is if
the rank is known and the other size is another number; nothing is decided by majority or custom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from weighbridge.domain.llama_shapes import expected_shape
from weighbridge.domain.peft.names import LoraName, Part, parse_name
from weighbridge.domain.tensors import TensorSpec

#: (in, out) of a module of the base.
Sizes = tuple[int, int]


@frozen
class StoredPair:
    """The two matrices of one module, in whatever orientation."""

    module: str
    a: TensorSpec
    b: TensorSpec

    def ranks(self, sizes: Sizes | None = None) -> frozenset[int]:
        """The ranks that the shapes allow, given the module's sizes if they are known."""
        shared = frozenset(self.a.shape) & frozenset(self.b.shape)
        if sizes is None:
            return shared
        wide, high = sizes
        return frozenset(
            r
            for r in shared
            if sorted(self.a.shape) == sorted((r, wide))
            and sorted(self.b.shape) == sorted((r, high))
        )


def _stacked(name: LoraName) -> bool:
    """PEFT's one matrix for all experts, whose first size is not the rank."""
    return name.module.removesuffix(".base_layer").endswith(".experts")


def stored_pairs(specs: Iterable[TensorSpec]) -> tuple[StoredPair, ...]:
    """The pairs of matrices among ``specs``, by module; embeddings and stacks are left out."""
    found: dict[str, dict[Part, TensorSpec]] = {}
    for spec in specs:
        name = parse_name(spec.name)
        if name is None or name.embedding or _stacked(name) or len(spec.shape) != 2:
            continue
        if name.part is not Part.MAGNITUDE:
            found.setdefault(name.core, {}).setdefault(name.part, spec)
    return tuple(
        StoredPair(module, parts[Part.A], parts[Part.B])
        for module, parts in sorted(found.items())
        if len(parts) == 2
    )


def sizes_in_base(
    pairs: Iterable[StoredPair], config: Mapping[str, object] | None
) -> dict[str, Sizes]:
    """What the base's config.json tells of the pairs' modules, by module."""
    found = {p.module: expected_shape(config or {}, p.module.rpartition(".")[2]) for p in pairs}
    return {module: sizes for module, sizes in found.items() if sizes is not None}


@frozen
class Rank:
    """The rank of every pair, and how it is known; or, without a value, why it is not."""

    value: int | None
    because: str


def settle_rank(
    pairs: Iterable[StoredPair], stated: int | None, sizes: Mapping[str, Sizes] | None = None
) -> Rank:
    """The one rank of all pairs. ``stated`` is the config's, ``sizes`` the base's, by module.

    ``stated`` decides if it fits every pair; else the shapes do if they leave only one rank.
    """
    known = sizes or {}
    options = [(p, p.ranks(known.get(p.module))) for p in pairs]
    if not options:
        return Rank(None, "holds no pair of factors")
    if stuck := next((p for p, ranks in options if not ranks), None):
        against = " and the base's sizes" if stuck.module in known else ""
        shapes = f"{list(stuck.a.shape)} and {list(stuck.b.shape)}"
        return Rank(None, f"{stuck.module}: {shapes}{against} have no rank in common")
    common = frozenset.intersection(*(ranks for _, ranks in options))
    if not common:
        return Rank(None, "its modules have different ranks")
    if stated in common:
        return Rank(stated, f"r is {stated}, which fits every pair")
    if len(common) == 1:
        (rank,) = common
        return Rank(rank, f"{rank} is the only size that every pair shares")
    return Rank(None, f"the rank could be any of {', '.join(map(str, sorted(common)))}")


def is_turned(spec: TensorSpec, part: Part, rank: int) -> bool | None:
    """True if a factor of that rank is stored as MLX does, False if as PEFT; None for a square,
    which looks the same both ways and, unless it is a single number, is not."""
    ours, other = spec.shape if part is Part.B else spec.shape[::-1]
    if ours == other:
        return None if ours > 1 else False
    return ours == rank
