"""What a run changes in its base, tensor by tensor, and what it must not change.

Gathers patches and the reasons against them; the use of both is ``fusion``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from attrs import define, evolve, field, frozen

from weighbridge.domain.checkpoints.base_tensors import BaseTensors, Home, Homes
from weighbridge.domain.checkpoints.checkpoint import Block, Copy, LowRank, Merge, Patch, Recast
from weighbridge.domain.models import LoraTarget
from weighbridge.domain.placement import Architecture, Layout
from weighbridge.domain.tensors import TensorSpec

FLOATS = frozenset({"F32", "F16", "BF16"})
_NOT_WEIGHTS = frozenset({"lora_a", "lora_b", "m", "scales", "biases", "global_scale"})
_HEADS = ("lm_head", "embed_out")


@frozen
class Ties:
    """If the output head is the embedding. ``known`` False: transformers and MLX would differ."""

    tied: bool
    known: bool
    head: TensorSpec | None

    @classmethod
    def of(cls, config: Mapping[str, Any], base: BaseTensors) -> Ties:
        text = config.get("text_config")
        said = [
            place["tie_word_embeddings"]
            for place in (config, text if isinstance(text, dict) else {})
            if isinstance(place.get("tie_word_embeddings"), bool)
        ]
        head = base.find("lm_head.weight") or base.find("embed_out.weight")
        return cls(said[0] if said else head is None, bool(said) or head is None, head)

    def refusal(self, embedding: bool, head: bool) -> str | None:
        """Why a LoRA on one of the two ends cannot be fused."""
        if not embedding and not head:
            return None
        if not self.known:
            return (
                "is at an end of the model, and the base's config.json does not say "
                "tie_word_embeddings, for which MLX and transformers assume different values"
            )
        if head and self.tied:
            return (
                "is on the output head, which this base does not have: it is the embedding; give "
                "the base that was trained on"
            )
        return None

    def dropped(self, patches: Mapping[str, object]) -> str | None:
        """A head that is stored although it is tied: stale once the embedding has changed."""
        if not self.tied or self.head is None or self.head.name in patches:
            return None
        return self.head.name if any(_is_embedding(name) for name in patches) else None


def _is_embedding(name: str) -> bool:
    return name.removesuffix(".weight").endswith(("embed_tokens", "wte", "embed_in", "embeddings"))


@define
class Patches:
    """What is gathered target by target: patches by base tensor, and reasons against them."""

    architecture: Architecture
    base: BaseTensors
    found: dict[str, list[Patch]] = field(factory=dict)
    reasons: list[str] = field(factory=list)

    def add_target(self, target: LoraTarget, scale: float, ties: Ties) -> None:
        """The patches of one LoRA pair."""
        embedding = target.module in self.architecture.embeddings
        head = target.module.endswith(_HEADS)
        homes: Homes | None = ties.refusal(embedding, head) or _unsound(target, embedding)
        if homes is None:
            shape, name = weight_shape(target, embedding=embedding), f"{target.module}.weight"
            homes = self.base.locate(name, shape, slices=target.experts is not None)
        if isinstance(homes, str):
            self.reasons.append(f"{target.module}: {homes}")
            return
        for home in homes:
            self._add(home, low_rank(target, home.part, scale, embedding=embedding))

    def add_tensor(self, spec: TensorSpec) -> None:
        """The patches of a whole tensor that was trained."""
        leaf = spec.name.rpartition(".")[2]
        if leaf in _NOT_WEIGHTS or spec.dtype not in FLOATS:
            found = f"{spec.dtype} {list(spec.shape)}"
            self.reasons.append(f"{spec.name}: {found} is neither part of a pair nor a weight")
            return
        homes = self.base.locate(spec.name, spec.shape)
        if isinstance(homes, str):
            self.reasons.append(f"{spec.name}: {homes}")
            return
        block = Block.of(spec)
        for home in homes:
            part = block if home.part is None else block.part(home.part, spec.shape[0])
            if not home.turned:  # a convolution's last axis is not the one of the checkpoint
                part = evolve(part, rows=home.rows, columns=home.columns)
            add = -1.0 if home.layout is Layout.MINUS_ONE else 0.0
            self._add(home, Recast(part, add))

    def _add(self, home: Home, change: LowRank | Recast) -> None:
        dtype = home.tensor.dtype
        if dtype not in FLOATS:
            problem = f"is {dtype} in the base; F32, F16 or BF16 is needed"
            self.reasons.append(f"{home.tensor.name}: {problem}")
        patch = Patch(home.first, home.rows, home.column, home.columns, change, home.turned)
        self.found.setdefault(home.tensor.name, []).append(patch)

    def settle(self) -> None:
        """Sort the patches, and refuse those of which one would undo another."""
        for name, patches in self.found.items():
            patches.sort(key=lambda p: (p.first, p.column))
            pairs = pairwise(patches)
            if any(_overlap(one, other) for one, other in pairs):
                self.reasons.append(f"{name}: is changed twice by this run")

    def operation(self, spec: TensorSpec) -> Copy | Merge:
        """What becomes of a tensor of the base."""
        patches = self.found.get(spec.name)
        return Copy(Block.of(spec)) if patches is None else Merge(spec, tuple(patches))


def _overlap(one: Patch, other: Patch) -> bool:
    """Of two patches in order: if they touch the same, or the same rows in part."""
    if (one.first, one.rows) == (other.first, other.rows):
        return other.column < one.column + one.columns
    return other.first < one.first + one.rows


def _unsound(target: LoraTarget, embedding: bool) -> str | None:
    for spec in target.specs:
        if spec.dtype not in FLOATS:
            return f"{spec.name} is {spec.dtype}; F32, F16 or BF16 is needed"
    if embedding and target.turned:
        return "is an embedding, but its factors are those of linear layers"
    if target.magnitude is None:
        return None
    if target.experts is not None:
        return "has a DoRA magnitude on stacked experts, which mlx-lm does not have"
    rows = target.a.shape[0] if embedding else target.out_features
    if target.magnitude.shape != (rows,):
        return f"has a magnitude of {list(target.magnitude.shape)}, not {[rows]}"
    return None


def weight_shape(target: LoraTarget, *, embedding: bool = False) -> tuple[int, ...]:
    """Of MLX's weight that the pair changes."""
    if target.experts is not None:
        return target.experts, target.out_features, target.in_features
    if embedding:
        return target.a.shape[0], target.b.shape[1]
    return target.out_features, target.in_features


def low_rank(
    target: LoraTarget, expert: int | None, scale: float, *, embedding: bool = False
) -> LowRank:
    """The change of a weight of MLX's, or of one expert in it."""
    a, b = Block.of(target.a), Block.of(target.b)
    magnitude = Block.of(target.magnitude) if target.magnitude else None
    if expert is not None and target.experts is not None:
        # Flattened or not, all of one expert's rows come together.
        return LowRank(b.part(expert, target.experts), a.part(expert, target.experts), scale)
    if embedding:
        return LowRank(a, b, scale, magnitude)
    if target.turned:
        return LowRank(b, a, scale, magnitude)
    return LowRank(evolve(b, turned=True), evolve(a, turned=True), scale, magnitude)
