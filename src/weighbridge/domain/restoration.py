"""The tensors of an MLX model under the names and in the shapes of the checkpoint it came from.

The inverse of what mlx-lm's ``sanitize`` did when it loaded that checkpoint: stacks of experts are
taken apart, rows that were taken apart are joined, convolutions and norms get their form back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from attrs import define, field, frozen

from weighbridge.domain.base_tensors import stored_shape, stores_turned
from weighbridge.domain.checkpoint import Block, Copy, Dequantise, PlannedWeight, Recast, Turn
from weighbridge.domain.packing import Mode, Packed, Packing
from weighbridge.domain.placement import Architecture, Impossible, Layout, Rows, Stored
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
        whole = self.packed.global_scale
        one = None if whole is None else Block.of(whole)
        if whole is not None and whole.shape not in ((), (1,)):
            one = Block(whole, index, 1, 1)
        blocks = [
            None if spec is None else Block.of(spec).part(index, count)
            for spec in (self.packed.weight, self.packed.scales, self.packed.biases)
        ]
        weight, scales, biases = blocks
        assert weight is not None and scales is not None
        return Dequantise(self.packing, weight, scales, biases, one)


Logical: TypeAlias = Plain | Unpacked


@frozen
class _Piece:
    """A tensor, or part ``index`` of ``count`` of one that MLX took apart by rows."""

    spec: TensorSpec
    operation: Copy | Recast | Dequantise | Turn
    index: int = 0
    count: int = 1


@define
class Restoration:
    """What is gathered tensor by tensor: pieces by the name they will have, and reasons against.

    ``moved`` are the names of those whose name, shape or layout is another than in MLX.
    """

    architecture: Architecture
    pieces: dict[str, list[_Piece]] = field(factory=dict)
    moved: set[str] = field(factory=set)
    reasons: list[str] = field(factory=list)

    def add(self, tensor: Logical) -> None:
        """The pieces of one tensor."""
        spec = tensor.spec
        module, _, leaf = spec.name.rpartition(".")
        place = self.architecture.place(module)
        if isinstance(place, Rows):
            target = TensorSpec(f"{place.checkpoint}.{leaf}", spec.dtype, spec.shape)
            self._keep(spec, _Piece(target, tensor.part(0, 1), place.index, place.count))
            return
        stored = self.architecture.restore(spec.name)
        if isinstance(stored, Impossible):
            self.reasons.append(f"{spec.name}: {stored.reason}")
        elif "{}" in stored.name:
            self._add_experts(tensor, stored)
        else:
            self._add_whole(tensor, stored)

    def _add_experts(self, tensor: Logical, stored: Stored) -> None:
        spec = tensor.spec
        if stored.layout is not Layout.SAME or len(spec.shape) < 2:
            self.reasons.append(f"{spec.name}: {list(spec.shape)} is no stack of experts")
            return
        for expert in range(spec.shape[0]):
            name = stored.name.replace("{}", str(expert))
            target = TensorSpec(name, spec.dtype, spec.shape[1:])
            self._keep(spec, _Piece(target, tensor.part(expert, spec.shape[0])))

    def _add_whole(self, tensor: Logical, stored: Stored) -> None:
        spec = tensor.spec
        module, _, leaf = spec.name.rpartition(".")
        turned = stores_turned(self.architecture, module, leaf, spec.shape)
        shape = stored_shape(spec.shape, stored.layout, turned)
        operation = _laid_out(tensor, stored.layout, turned)
        if shape is None or operation is None:
            found = f"{spec.dtype} {list(spec.shape)}"
            self.reasons.append(f"{spec.name}: {found} cannot be restored ({stored.layout.value})")
            return
        self._keep(spec, _Piece(TensorSpec(stored.name, spec.dtype, shape), operation))

    def _keep(self, source: TensorSpec, piece: _Piece) -> None:
        self.pieces.setdefault(piece.spec.name, []).append(piece)
        if piece.spec != source or piece.count > 1 or isinstance(piece.operation, Recast):
            self.moved.add(piece.spec.name)

    def joined(self) -> Iterator[PlannedWeight]:
        """The weights, in the order in which their first piece came."""
        for name, found in self.pieces.items():
            ordered = sorted(found, key=lambda p: p.index)
            if [p.index for p in ordered] != list(range(found[0].count)):
                listed = ", ".join(str(p.index) for p in ordered)
                self.reasons.append(f"{name}: is made of parts {listed} of {found[0].count}")
            elif len({(p.spec, p.count) for p in found}) > 1:
                self.reasons.append(f"{name}: is made of parts of different shapes or dtypes")
            else:
                spec, parts = ordered[0].spec, tuple(p.operation for p in ordered)
                shape = (spec.shape[0] * len(parts), *spec.shape[1:]) if spec.shape else ()
                yield PlannedWeight(TensorSpec(name, spec.dtype, shape), parts)


def _laid_out(
    tensor: Logical, layout: Layout, turned: bool
) -> Copy | Recast | Dequantise | Turn | None:
    """The operation; None if packed weights had a layout that only plain ones have."""
    whole = tensor.part(0, 1)
    if layout is Layout.SAME:
        return Turn(whole) if turned else whole
    if isinstance(whole, Dequantise):
        return None
    return whole if layout is Layout.CONVOLUTION else Recast(whole.block, -1.0)
