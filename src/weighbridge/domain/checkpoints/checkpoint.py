"""A Hugging Face checkpoint to be written, as a plan: its shards, and what each tensor is made of.

Says what the numbers shall be; making them is the WeightMaker's. Every tensor is seen as a matrix:
its last axis are the columns, all others together the rows; a vector is one row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from attrs import frozen

from weighbridge.domain.checkpoints.packing import Packing
from weighbridge.domain.tensors import DTYPE_BITS, TensorSpec

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@frozen
class Block:
    """``rows`` x ``columns`` elements of ``tensor``, contiguous from element ``start`` on.

    ``turned``: what is meant is the transpose of that matrix.
    """

    tensor: TensorSpec
    start: int
    rows: int
    columns: int
    turned: bool = False

    @classmethod
    def of(cls, tensor: TensorSpec) -> Block:
        """The whole tensor."""
        columns = tensor.shape[-1] if tensor.shape else 1
        return cls(tensor, 0, math.prod(tensor.shape[:-1]), columns)

    def rows_at(self, first: int, count: int) -> Block:
        """``count`` rows from ``first`` on."""
        return Block(self.tensor, self.start + first * self.columns, count, self.columns)

    def part(self, index: int, count: int) -> Block:
        """The part of that index if the rows are cut into ``count`` equal parts."""
        return self.rows_at(index * (self.rows // count), self.rows // count)


@frozen
class Copy:
    """The very bits of ``block``; the target may have another shape of as many elements."""

    block: Block


@frozen
class Recast:
    """The values of ``block`` plus ``add``, rounded to the target's dtype."""

    block: Block
    add: float = 0.0


@frozen
class LowRank:
    """The rows become ``W + scale * left @ right``, in float32.

    With ``magnitude`` (DoRA) each row is then scaled to have that length.
    """

    left: Block
    right: Block
    scale: float
    magnitude: Block | None = None


@frozen
class Patch:
    """A change of a rectangle: ``rows`` from ``first`` on, ``columns`` from ``column`` on.

    A Recast replaces it. ``turned``: what the change gives is the transpose of the rectangle, as
    for weights that are stored (in, out).
    """

    first: int
    rows: int
    column: int
    columns: int
    change: LowRank | Recast
    turned: bool = False


@frozen
class Merge:
    """``base`` with its patches, sorted by row and column.

    Two patches have either the same rows and different columns, or no rows in common.
    """

    base: TensorSpec
    patches: tuple[Patch, ...]


@frozen
class Dequantise:
    """What MLX's packed words stand for.

    ``weight`` is in words of 32 bits, ``scales`` and ``biases`` in groups. ``global_scale`` is one
    number for the block (nvfp4 only).
    """

    packing: Packing
    weight: Block
    scales: Block
    biases: Block | None = None
    global_scale: Block | None = None

    @property
    def columns(self) -> int:
        """Values in a row."""
        return self.weight.columns * 32 // self.packing.bits


@frozen
class Turn:
    """The transpose of a matrix of ``rows`` x ``columns`` whose rows ``of`` gives in order."""

    of: tuple[Copy | Dequantise, ...]
    rows: int
    columns: int


Operation: TypeAlias = Copy | Recast | Merge | Dequantise | Turn


@frozen
class PlannedWeight:
    """One tensor to be written: what its parts give, one after another in row-major order."""

    target: TensorSpec
    parts: tuple[Operation, ...]


@frozen
class Shard:
    """One file, its tensors in file order."""

    path: str
    weights: tuple[PlannedWeight, ...]

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Specs of its tensors, in file order."""
        return tuple(w.target for w in self.weights)


@frozen
class CheckpointPlan:
    """All files of weights. ``notes`` are for people: what they should know of the outcome."""

    shards: tuple[Shard, ...]
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[PlannedWeight, ...]:
        """All tensors of all shards."""
        return tuple(w for shard in self.shards for w in shard.weights)

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors, without headers."""
        return sum(w.target.nbytes for w in self.weights)

    @property
    def index_bytes(self) -> bytes | None:
        """The index as written; None for a single file of the one name that needs none."""
        if [s.path for s in self.shards] == [SINGLE]:
            return None
        weight_map = {s.name: shard.path for shard in self.shards for s in shard.specs}
        parameters = sum(math.prod(w.target.shape) for w in self.weights)
        metadata = {"total_parameters": parameters, "total_size": self.total_bytes}
        table = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        return (json.dumps(table, indent=2) + "\n").encode()


def sharded(weights: Iterable[PlannedWeight], most_bytes: int) -> tuple[Shard, ...]:
    """Shards of at most ``most_bytes`` of tensors each, but for a single larger tensor.

    Within a shard the wider dtypes come first, so that every tensor is aligned to its dtype.
    """
    groups = list(_grouped(weights, most_bytes))
    if len(groups) == 1:
        return (Shard(SINGLE, _aligned(groups[0])),)
    return tuple(
        Shard(f"model-{number:05d}-of-{len(groups):05d}.safetensors", _aligned(group))
        for number, group in enumerate(groups, start=1)
    )


def _grouped(weights: Iterable[PlannedWeight], most: int) -> Iterator[list[PlannedWeight]]:
    group: list[PlannedWeight] = []
    size = 0
    for weight in weights:
        if group and size + weight.target.nbytes > most:
            yield group
            group, size = [], 0
        group.append(weight)
        size += weight.target.nbytes
    if group:
        yield group


def _aligned(weights: Iterable[PlannedWeight]) -> tuple[PlannedWeight, ...]:
    return tuple(sorted(weights, key=lambda w: -DTYPE_BITS[w.target.dtype]))
