"""The pairs of factors that PEFT reads, made from what stands at each place of the checkpoint.

The mathematics: MLX adds ``scale * (x @ lora_a) @ lora_b``, PEFT ``alpha/r * B(A x)``; therefore
``A = lora_a.T`` and ``B = lora_b.T``. Stacked experts are stored (rank, in) and (out, rank) by MLX
already. PEFT 0.19 and later keeps the stack in one matrix: in A the expert is the slow index of
rows, in B the fast index of columns (``ParamWrapper`` of peft/tuners/lora/layer.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from weighbridge.domain.placed import Placed
from weighbridge.domain.placement import Architecture, Experts, Part, Plain, RouteForm, Rows
from weighbridge.domain.tensor_plan import (
    Matrix,
    PlannedTensor,
    block_diagonal,
    interleaved,
    sliced,
    stacked,
    transposed,
)
from weighbridge.domain.tensors import TensorSpec

KEY_PREFIX = "base_model.model."
_REWRITTEN = {
    RouteForm.NONE: frozenset[str](),
    RouteForm.MIXTRAL: frozenset({"gate", "w1", "w2", "w3"}),
    RouteForm.QWEN2_MOE: frozenset({"gate", "gate_proj", "up_proj", "down_proj"}),
}


@frozen
class Pair:
    """One pair as PEFT names it: A is (rank, in), B is (out, rank).

    ``module`` is what ``target_modules`` selects, ``parameter`` an entry of ``target_parameters``
    instead; ``stem`` is the beginning of the tensors' names. ``experts`` counts those within.
    """

    stem: str
    module: str
    a: Matrix
    b: Matrix
    rank: int
    embedding: bool = False
    magnitude: TensorSpec | None = None
    parameter: str = ""
    experts: int = 1
    zero: bool = False

    @property
    def pattern(self) -> str:
        """What ``rank_pattern`` and ``alpha_pattern`` call it."""
        return self.parameter or self.module

    @property
    def tensors(self) -> Iterator[PlannedTensor]:
        """What is written of it."""
        stem = KEY_PREFIX + self.stem
        names = ("lora_embedding_A", "lora_embedding_B") if self.embedding else (
            "lora_A.weight", "lora_B.weight")  # fmt: skip
        yield self.a.planned(f"{stem}.{names[0]}")
        yield self.b.planned(f"{stem}.{names[1]}")
        if self.magnitude is not None:
            yield _copied(self.magnitude, f"{stem}.lora_magnitude_vector")

    def of_rank(self, rank: int) -> Pair:
        """The same with zeros added up to that rank."""
        if rank == self.rank:
            return self
        return evolve(self, a=self.a.grown(rows=rank), b=self.b.grown(columns=rank), rank=rank)


def _copied(source: TensorSpec, name: str) -> PlannedTensor:
    matrix = sliced(source, 0, 1, source.shape[0])
    planned = matrix.planned(name)
    return evolve(planned, target=TensorSpec(name, source.dtype, source.shape))


def stacked_pairs(placed: Iterable[Placed], architecture: Architecture) -> tuple[Pair, ...]:
    """PEFT's own form on transformers 5: experts stay stacked, names are those of its modules."""
    listed = tuple(placed)
    plain = _plain_pairs(listed, checkpoint=False)
    names = {
        p.place.path: p.place.checkpoint
        for p in listed
        if isinstance(p.place, Plain) and architecture.spoilt_on_load(p.place.path)
    }
    return (
        *(evolve(pair, stem=names.get(pair.stem, pair.stem)) for pair in plain),
        *_container_pairs(listed),
        *_each_expert(p for p in listed if isinstance(p.place, Experts) and not p.place.container),
    )


def expert_pairs(placed: Iterable[Placed], *, checkpoint: bool) -> tuple[Pair, ...]:
    """The form of checkpoints and of transformers 4: one pair for each expert."""
    listed = tuple(placed)
    return (
        *_plain_pairs(listed, checkpoint=checkpoint),
        *_each_expert(p for p in listed if isinstance(p.place, Experts)),
    )


def _each_expert(placed: Iterable[Placed]) -> Iterator[Pair]:
    for one in placed:
        assert isinstance(one.place, Experts)
        for number in range(one.experts or 0):
            name = one.place.each(number)
            a, b = _factors(one, number)
            yield Pair(name, name, a, b, one.rank, zero=one.target is None)


def told_apart(
    pairs: Iterable[Pair], architecture: Architecture, held: Iterable[Placed]
) -> tuple[Pair, ...]:
    """The pairs that PEFT would take for experts by their last name, targeted as parameters."""
    by_name = {name: p.place for p in held if isinstance(p.place, Plain)
               for name in (p.place.path, p.place.checkpoint)}  # fmt: skip
    rewritten = _REWRITTEN[architecture.rewriting]
    told = []
    for pair in pairs:
        place = by_name.get(pair.module)
        # A router called gate is rewritten to the parameter that it is.
        rewritten_right = place is not None and place.parameter and _leaf(pair.module) == "gate"
        mistaken = place is not None and _leaf(pair.module) in rewritten and not place.parameter
        untold = place is not None and place.parameter and not (
            rewritten_right and architecture.rewriting is not RouteForm.NONE)  # fmt: skip
        if (mistaken or untold) and place is not None:
            told.append(evolve(pair, parameter=f"{place.path}.weight"))
        else:
            told.append(pair)
    return tuple(told)


def _leaf(module: str) -> str:
    return module.rpartition(".")[2]


def _plain_pairs(placed: tuple[Placed, ...], *, checkpoint: bool) -> Iterator[Pair]:
    rows: dict[str, list[Placed]] = {}
    for one in placed:
        match one.place:
            case Plain(path, name, parameter):
                # Tensors may go by the old name, which PEFT knows; targets have to be today's.
                a, b = _factors(one)
                yield Pair(name if checkpoint else path, path, a, b, one.rank, one.embedding,
                           one.target.magnitude if one.target else None,
                           f"{path}.weight" if parameter and not checkpoint else "",
                           zero=one.target is None)  # fmt: skip
            case Rows(path, name, apart=apart):
                joined = name if checkpoint and not apart else path
                rows.setdefault(joined, []).append(one)
    for name, parts in rows.items():
        yield _joined(name, parts)


def _joined(name: str, parts: list[Placed]) -> Pair:
    """The pair of a module whose output rows belong to several modules of MLX."""
    by_index = {p.place.index: p for p in parts if isinstance(p.place, Rows)}
    first = parts[0]
    assert isinstance(first.place, Rows)
    dtype = _common_dtype(parts)
    factors = {i: _factors(p) for i, p in by_index.items()}
    absent = Matrix(dtype, first.out_features, 0)
    blocks = [factors[i][1] if i in factors else absent for i in range(first.place.count)]
    a = stacked([factors[i][0] for i in sorted(factors)], dtype)
    return Pair(name, name, a, block_diagonal(blocks, dtype), a.rows,
                zero=all(p.target is None for p in parts))  # fmt: skip


def _container_pairs(placed: tuple[Placed, ...]) -> Iterator[Pair]:
    containers: dict[str, dict[Part, Placed]] = {}
    for one in placed:
        if isinstance(one.place, Experts) and one.place.container:
            containers.setdefault(one.place.container, {})[one.place.part] = one
    for container, parts in containers.items():
        upper = [parts[p] for p in (Part.GATE, Part.UP) if p in parts]
        down = parts.get(Part.DOWN)
        if upper:
            # PEFT nests its wrappers: the parameter defined first, gate_up_proj, is inside.
            stem = f"{container}.base_layer" if down else container
            yield _gate_up(stem, container, parts)
        if down:
            factors = [_factors(down, e) for e in _all(down)]
            zero = down.target is None
            yield _stack(container, f"{container}.down_proj", factors, _common_dtype([down]), zero)


def _all(one: Placed) -> range:
    return range(one.experts or 0)


def _gate_up(stem: str, container: str, parts: dict[Part, Placed]) -> Pair:
    present = [parts[p] for p in (Part.GATE, Part.UP) if p in parts]
    dtype = _common_dtype(present)
    absent = Matrix(dtype, present[0].out_features, 0)
    factors = []
    for expert in _all(present[0]):
        found = {p: _factors(parts[p], expert) for p in (Part.GATE, Part.UP) if p in parts}
        blocks = [found[p][1] if p in found else absent for p in (Part.GATE, Part.UP)]
        factors.append((stacked([a for a, _ in found.values()], dtype),
                        block_diagonal(blocks, dtype)))  # fmt: skip
    zero = all(p.target is None for p in present)
    return _stack(stem, f"{container}.gate_up_proj", factors, dtype, zero)


def _stack(
    stem: str, parameter: str, factors: list[tuple[Matrix, Matrix]], dtype: str, zero: bool
) -> Pair:
    a = stacked([a for a, _ in factors], dtype)
    b = interleaved([b for _, b in factors], dtype)
    rank = factors[0][0].rows
    return Pair(stem, parameter, a, b, rank, parameter=parameter, experts=len(factors), zero=zero)


def _common_dtype(placed: Iterable[Placed]) -> str:
    """The dtype of what was trained there; F32, which holds them all, if they differ."""
    listed = tuple(placed)
    trained = {spec.dtype for p in listed if p.target for spec in (p.target.a, p.target.b)}
    dtypes = trained or {p.dtype for p in listed}
    return dtypes.pop() if len(dtypes) == 1 else "F32"


def _factors(one: Placed, expert: int = 0) -> tuple[Matrix, Matrix]:
    """A (rank, in) and B (out, rank); zeros if nothing was trained there."""
    wide, out, rank, target = one.in_features, one.out_features, one.rank, one.target
    if target is None:
        return Matrix(one.dtype, rank, wide), Matrix(one.dtype, out, rank)
    if target.turned:
        return sliced(target.a, 0, rank, wide), sliced(target.b, 0, out, rank)
    if target.experts is None:
        return transposed(target.a), transposed(target.b)
    return sliced(target.a, expert, rank, wide), sliced(target.b, expert, out, rank)
