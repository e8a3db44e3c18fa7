"""The tensors of an MLX model under the names and in the shapes of the checkpoint it came from.

The inverse of what mlx-lm's ``sanitize`` did when it loaded that checkpoint: stacks of experts are
taken apart, rows that were taken apart are joined, convolutions and norms get their form back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from weighbridge.domain.checkpoints.checkpoint import (
    Block,
    Copy,
    Dequantise,
    Operation,
    PlannedWeight,
    Recast,
    Turn,
)
from weighbridge.domain.checkpoints.layouts import joined_shape, stored_shape
from weighbridge.domain.checkpoints.packing import Mode, Packed, Packing
from weighbridge.domain.placement import Architecture, Impossible, Layout, Stored
from weighbridge.domain.tensors import TensorSpec


@frozen
class Plain:
    """A tensor that MLX computes with as it is stored."""

    spec: TensorSpec

    def part(self, index: int, count: int) -> Copy:
        """What that part of the rows is made of."""
        return Copy(Block.of(self.spec).part(index, count))


@frozen
class Unpacked:
    """The floats that packed tensors stand for; ``spec`` is of those."""

    packed: Packed
    packing: Packing

    @property
    def spec(self) -> TensorSpec:
        """Name, dtype and shape of the floats."""
        weight = self.packed.weight
        columns = weight.shape[-1] * 32 // self.packing.bits
        # MLX gives BF16 where the scales do not say; the values of those modes are exact in it,
        # but for a global scale, with which MLX computes in the dtype of the model.
        dtype = self.packed.scales.dtype if self.packing.mode is Mode.AFFINE else "BF16"
        return TensorSpec(weight.name, dtype, (*weight.shape[:-1], columns))

    def part(self, index: int, count: int) -> Dequantise:
        """What that part of the rows is made of."""
        packed, whole = self.packed, self.packed.global_scale
        one = None if whole is None else Block.of(whole)
        if whole is not None and whole.shape not in ((), (1,)):
            stack = index * packed.weight.shape[0] // count
            one = Block(whole, stack, 1, 1)
        weight = Block.of(packed.weight).part(index, count)
        scales = Block.of(packed.scales).part(index, count)
        biases = None if packed.biases is None else Block.of(packed.biases).part(index, count)
        return Dequantise(self.packing, weight, scales, biases, one)


Logical: TypeAlias = Plain | Unpacked


@frozen
class _Piece:
    """A whole tensor of MLX's with its place in one of the checkpoint."""

    tensor: Logical
    stored: Stored


@define
class Restoration:
    """What is gathered tensor by tensor: pieces by the name they will have, and reasons against.

    ``moved`` are the names of those whose name, shape or values are others than in MLX.
    """

    architecture: Architecture
    pieces: dict[str, list[_Piece]] = field(factory=dict)
    moved: set[str] = field(factory=set)
    reasons: list[str] = field(factory=list)

    def add(self, tensor: Logical) -> None:
        """One tensor."""
        stored = self.architecture.restore(tensor.spec.name)
        if isinstance(stored, Impossible):
            self.reasons.append(f"{tensor.spec.name}: {stored.reason}")
        else:
            self.pieces.setdefault(stored.name, []).append(_Piece(tensor, stored))

    def joined(self) -> Iterator[PlannedWeight]:
        """The weights, in the order in which their first piece came."""
        for name, found in self.pieces.items():
            ordered = sorted(found, key=lambda p: p.stored.index)
            made = _problem(name, ordered) or _restored(ordered)
            if isinstance(made, str):
                self.reasons.append(made)
                continue
            first = ordered[0]
            if first.stored != Stored(first.tensor.spec.name):
                self.moved |= {w.target.name for w in made}
            yield from made


def _problem(name: str, pieces: list[_Piece]) -> str | None:
    """Why these pieces are not one tensor."""
    first = pieces[0].stored
    if [p.stored.index for p in pieces] != list(range(first.count)):
        listed = ", ".join(str(p.stored.index) for p in pieces)
        return f"{name}: is made of parts {listed} of {first.count}"
    dtypes = {p.tensor.spec.dtype for p in pieces}
    shapes = {p.tensor.spec.shape for p in pieces}
    alike = first.layout is Layout.LATENT or len(shapes) == 1
    if len(dtypes) > 1 or not alike or len({(p.stored.count, p.stored.layout) for p in pieces}) > 1:
        return f"{name}: is made of parts of different shapes, dtypes or layouts"
    return None


def _restored(pieces: list[_Piece]) -> list[PlannedWeight] | str:
    """What the joined pieces are in the checkpoint: one tensor, or one for each expert."""
    stored, spec = pieces[0].stored, pieces[0].tensor.spec
    problem = f"{spec.name}: {spec.dtype} {list(spec.shape)} cannot be restored"
    if stored.layout is Layout.LATENT:
        return _latent(pieces) or f"{problem} as heads of {stored.name}"
    experts = "{}" in stored.name
    if experts and len(spec.shape) < 2:
        return f"{problem} as a stack of experts"
    inner = spec.shape[1:] if experts else spec.shape
    shape = stored_shape(joined_shape(inner, stored.count), stored.layout)
    if shape is None:
        return f"{problem} ({stored.layout.value})"
    whole = TensorSpec(stored.name, spec.dtype, shape)
    weights = []
    for expert in range(spec.shape[0] if experts else 1):
        parts = _parts(pieces, expert, spec.shape[0] if experts else 1, inner)
        if parts is None:
            return f"{problem} ({stored.layout.value})"
        target = evolve(whole, name=stored.name.replace("{}", str(expert)))
        weights.append(PlannedWeight(target, parts))
    return weights


def _parts(
    pieces: list[_Piece], expert: int, experts: int, shape: tuple[int, ...]
) -> tuple[Operation, ...] | None:
    """The operations for one expert's (or the only) tensor, which has that shape in MLX.

    None if packed weights had a layout that only plain ones have.
    """
    stored = pieces[0].stored
    # Matrices in a stack are joined and turned each for itself.
    stacks = math.prod(shape[:-2]) if stored.count > 1 or stored.layout is Layout.TRANSPOSED else 1
    groups = [
        tuple(p.tensor.part(expert * stacks + stack, experts * stacks) for p in pieces)
        for stack in range(stacks)
    ]
    match stored.layout:
        case Layout.TRANSPOSED:
            return tuple(Turn(group, shape[-2] * stored.count, shape[-1]) for group in groups)
        case Layout.MINUS_ONE:
            flat = [part for group in groups for part in group]
            copies = [part for part in flat if isinstance(part, Copy)]
            return tuple(Recast(c.block, -1.0) for c in copies) if copies == flat else None
        case _:
            return tuple(part for group in groups for part in group)


def _latent(pieces: list[_Piece]) -> list[PlannedWeight] | None:
    """Latent attention's ``kv_b_proj``: of each head the turned first part, then the second."""
    first, second = (p.tensor for p in pieces)
    one, two = first.spec.shape, second.spec.shape
    if len(one) != 3 or len(two) != 3 or (one[0], one[1]) != (two[0], two[2]):
        return None
    heads, rank, rows = one
    parts: list[Operation] = []
    for head in range(heads):
        parts += Turn((first.part(head, heads),), rank, rows), second.part(head, heads)
    shape = heads * (rows + two[1]), rank
    target = TensorSpec(pieces[0].stored.name, first.spec.dtype, shape)
    return [PlannedWeight(target, tuple(parts))]
