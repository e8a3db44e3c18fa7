"""Where the weight that a LoRA changes stands in a model: packed by MLX, as MLX has it, or as the
checkpoint of the architecture has it.

Decides places from headers and config; reads no weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.changes import written_pairs
from weighbridge.domain.checkpoints.base_tensors import BaseTensors, spellings
from weighbridge.domain.checkpoints.checkpoint import Block, Dequantise, LowRank, Recast
from weighbridge.domain.checkpoints.packing import Packed, packing_of, quantisation_of
from weighbridge.domain.checkpoints.patches import FLOATS, low_rank, weight_shape
from weighbridge.domain.models import LoraTarget, PeftModel
from weighbridge.domain.placement import Experts, Layout
from weighbridge.domain.tensors import TensorSpec

#: What the weight of a norm is called.
NORM = re.compile(r"(?:.*\.)?(?:[a-z_]*norm[a-z_]*|ln_\w+)\.weight")
_STACK = re.compile(r".*\.(switch_mlp|switch_glu|experts)\.\w+")
#: Of a stack of experts so many are looked at, evenly spread.
_MOST_EXPERTS = 4


@frozen
class Rectangle:
    """``columns`` of a block from ``column`` on; ``turned``: what is meant is the transpose."""

    block: Block
    column: int
    columns: int
    turned: bool = False


#: A weight as a matrix (out, in).
Place: TypeAlias = Rectangle | Dequantise


@frozen
class Changed:
    """One weight that a LoRA changes, or a full fine-tune replaces, where it stands, and where what
    was made of it stands."""

    module: str
    change: LowRank | Recast
    weight: Place
    made: Place | None = None


def _by_name(tensors: Iterable[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {t.name: t for t in tensors}


@frozen
class ModuleWeights:
    """The headers of a whole model, asked for the weights of modules. ``by_mlx``: MLX wrote it."""

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorSpec] = field(converter=_by_name)
    by_mlx: bool = False

    @cached_property
    def _homes(self) -> BaseTensors:
        return BaseTensors(architecture_for(self.config), self.tensors.values())

    def of_target(self, target: LoraTarget) -> Mapping[int | None, Place]:
        """By the number of the expert, or None; nothing if it is not there as it should be."""
        embedding = target.module in architecture_for(self.config).embeddings
        return self.of_module(target.module, weight_shape(target, embedding=embedding))

    def of_module(self, module: str, shape: tuple[int, ...]) -> Mapping[int | None, Place]:
        """The same of a weight of that shape in MLX: a matrix, or a stack of the experts'."""
        stacked = len(shape) == 3
        experts = _chosen(shape[0] if stacked else None)
        if self.by_mlx or f"{module}.scales" in self.tensors:
            own = {e: self.as_stored(module, shape, e) for e in experts}
            return {e: place for e, place in own.items() if place is not None}
        homes = self._homes.locate(f"{module}.weight", shape, slices=stacked)
        return {} if isinstance(homes, str) else {
            home.part: Rectangle(
                Block.of(home.tensor).rows_at(home.first, home.rows),
                home.column, home.columns, home.turned,
            )
            for home in homes
            if home.part in experts and home.tensor.dtype in FLOATS
        }  # fmt: skip

    def as_stored(
        self, module: str, shape: tuple[int, ...], expert: int | None = None
    ) -> Place | None:
        """The weight of that very name, if it has that shape, packed or not."""
        weight, scales = (self.tensors.get(f"{module}.{leaf}") for leaf in ("weight", "scales"))
        if weight is None:
            return None
        parts, count = (0, 1) if expert is None else (expert, shape[0])
        if scales is None:
            if weight.shape != shape or weight.dtype not in FLOATS:
                return None
            return Rectangle(Block.of(weight).part(parts, count), 0, shape[-1])
        biases, whole = (self.tensors.get(f"{module}.{p}") for p in ("biases", "global_scale"))
        packed = Packed(module, weight, scales, biases, whole)
        packing = packing_of(packed, quantisation_of(self.config))
        if isinstance(packing, str) or whole is not None:
            return None
        found = Dequantise(
            packing,
            Block.of(weight).part(parts, count),
            Block.of(scales).part(parts, count),
            None if biases is None else Block.of(biases).part(parts, count),
        )
        held = (*weight.shape[:-1], found.columns)
        return found if held == shape else None

    def shape(self, module: str) -> tuple[int, ...] | None:
        """That of a module's weight under that very name, unpacked, if it is a matrix or a stack of
        the experts'."""
        weight, scales = (self.tensors.get(f"{module}.{leaf}") for leaf in ("weight", "scales"))
        sizes = 3 if _STACK.fullmatch(module) else 2
        if weight is None or len(weight.shape) != sizes or NORM.fullmatch(weight.name):
            return None
        if scales is None:
            return weight.shape
        biases = self.tensors.get(f"{module}.biases")
        packed = Packed(module, weight, scales, biases)
        packing = packing_of(packed, quantisation_of(self.config))
        if isinstance(packing, str):
            return None
        return *weight.shape[:-1], weight.shape[-1] * 32 // packing.bits

    def of_vector(self, name: str, shape: tuple[int, ...]) -> tuple[TensorSpec, float] | None:
        """The vector that a vector of an MLX model is here, and what MLX adds to it."""
        own = self.tensors.get(name)
        if self.by_mlx:
            return None if own is None or own.shape != shape else (own, 0.0)
        homes = self._homes.locate(name, shape)
        if isinstance(homes, str) or len(homes) != 1 or homes[0].tensor.shape != shape:
            return None
        return homes[0].tensor, 1.0 if homes[0].layout is Layout.MINUS_ONE else 0.0


@frozen
class Vectors:
    """A vector in a base and the same in what was made of it, which differs by ``added``."""

    base: TensorSpec
    made: TensorSpec
    added: float


def norms(base: ModuleWeights, made: ModuleWeights) -> Iterator[Vectors]:
    """The weights of norms that both have."""
    for name, spec in made.tensors.items():
        if len(spec.shape) != 1 or not NORM.fullmatch(name) or spec.dtype not in FLOATS:
            continue
        own, found = made.of_vector(name, spec.shape), base.of_vector(name, spec.shape)
        if own is not None and found is not None and found[0].dtype in FLOATS:
            yield Vectors(found[0], own[0], found[1] - own[1])


@frozen
class Twins:
    """The same weight in a base and in what was made of it."""

    module: str
    base: Place
    made: Place


def twins(base: ModuleWeights, made: ModuleWeights) -> Iterator[Twins]:
    """The matrices that are found in both, of a stack of experts' a few."""
    for name in made.tensors:
        module = name.removesuffix(".weight")
        shape = made.shape(module) if module != name else None
        if shape is None:
            continue
        before, after = base.of_module(module, shape), made.of_module(module, shape)
        for expert in before.keys() & after.keys():
            shown = module if expert is None else f"{module}[{expert}]"
            yield Twins(shown, before[expert], after[expert])


def _chosen(experts: int | None) -> tuple[int | None, ...]:
    if experts is None:
        return (None,)
    step = max(1, experts // _MOST_EXPERTS)
    return tuple(range(0, experts, step))[:_MOST_EXPERTS]


def changed_weights(
    targets: Iterable[tuple[LoraTarget, float]], base: ModuleWeights, made: ModuleWeights | None
) -> Iterator[Changed]:
    """What each pair changes, with the scale beside it, where that is found in ``base``; with
    ``made`` only where it is found there as well."""
    embeddings = architecture_for(base.config).embeddings
    for target, scale in targets:
        if any(spec.dtype not in FLOATS for spec in target.specs):
            continue
        after = {} if made is None else made.of_target(target)
        for expert, place in base.of_target(target).items():
            if made is None or expert in after:
                change = low_rank(target, expert, scale, embedding=target.module in embeddings)
                name = target.module if expert is None else f"{target.module}[{expert}]"
                yield Changed(name, change, place, after.get(expert))


def replaced_weights(
    tensors: Iterable[TensorSpec], base: ModuleWeights, made: ModuleWeights
) -> Iterator[Changed]:
    """What each matrix of a full fine-tune replaces, where that is found in both."""
    architecture = architecture_for(base.config)
    for spec in tensors:
        module, _, leaf = spec.name.rpartition(".")
        stacked = isinstance(architecture.place(module), Experts)
        if leaf != "weight" or len(spec.shape) != 2 + stacked or spec.dtype not in FLOATS:
            continue
        after, block = made.of_module(module, spec.shape), Block.of(spec)
        for expert, place in base.of_module(module, spec.shape).items():
            if expert in after:
                own = block if expert is None else block.part(expert, spec.shape[0])
                name = module if expert is None else f"{module}[{expert}]"
                yield Changed(name, Recast(own), place, after[expert])


def peft_changed_weights(model: PeftModel, base: ModuleWeights) -> Iterator[Changed]:
    """What each pair of a PEFT adapter changes, where that is found; not those of parameters.

    Raises NotPeft if its config is none that PEFT could compute with.
    """
    pairs, _ = written_pairs({t.name: t for t in model.tensors}, model.config)
    for stem, pair in pairs.items():
        tensors = [pair.a, pair.b, *([pair.magnitude] if pair.magnitude else [])]
        if pair.parameter is not None or any(t.dtype not in FLOATS for t in tensors):
            continue
        a, b = Block.of(pair.a), Block.of(pair.b)
        left, right, shape = b, a, (b.rows, a.columns)
        # On an embedding PEFT stretches columns, not rows.
        embedding = ".lora_embedding_" in pair.a.name
        if pair.magnitude is not None and (embedding or math.prod(pair.magnitude.shape) != b.rows):
            continue
        if embedding:
            left, right = evolve(a, turned=True), evolve(b, turned=True)
            shape = (a.columns, b.rows)
        found = (base.as_stored(module, shape) for module in spellings(stem))
        place = next((p for p in found if p is not None), None)
        if place is not None and a.rows == b.columns:
            magnitude = Block.of(pair.magnitude) if pair.magnitude else None
            yield Changed(stem, LowRank(left, right, pair.scale, magnitude), place)
