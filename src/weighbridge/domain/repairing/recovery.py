"""The LoRA inside a broken PEFT adapter, tensor by tensor, as MLX would store it.

Recovering MLX's form first leaves one road to a right adapter: the conversion that every LoRA
takes. Which bytes mean what is decided by the original's bytes if it is at hand, else by shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import frozen

from weighbridge.domain.models import LoraModel
from weighbridge.domain.peft.names import Part, parse_name
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 10


class Likeness(Enum):
    """How the bytes of a tensor compare with those of its counterpart in the original."""

    AS_MLX = "the same bytes"
    TRANSPOSED = "the bytes of the transpose"
    OTHER = "other values"


class Move(Enum):
    """What becomes of a tensor on its way from the broken adapter to the repaired one."""

    KEPT = "kept"
    TRANSPOSED = "transposed"
    #: The header gives a shape that the bytes do not have; they are read by the real one.
    REREAD = "read by its real shape, transposed"
    RESHAPED = "read by its real shape"
    FROM_ORIGINAL = "taken from the original"


@frozen
class Recovered:
    """One tensor of the LoRA. ``target`` is its name and shape in MLX.

    ``source`` is the tensor that it is made of, with the shape that its bytes really have;
    ``header`` the shape that the file claims. With ``turned`` the bytes are PEFT's, so that the
    axes are exchanged to get MLX's. ``lost`` says that ``source`` is in the original.
    """

    target: TensorSpec
    source: TensorSpec
    header: tuple[int, ...]
    turned: bool = False
    lost: bool = False

    @property
    def move(self) -> Move:
        """What becomes of it, seen from the broken adapter."""
        if self.lost:
            return Move.FROM_ORIGINAL
        if len(self.header) != 2 or len(self.target.shape) != 2:
            return Move.KEPT
        honest = self.header == self.source.shape
        if self.turned:
            return Move.KEPT if honest else Move.RESHAPED
        return Move.TRANSPOSED if honest else Move.REREAD


@frozen
class Match:
    """A tensor of the broken adapter, and the tensor of the original that it should be."""

    held: TensorSpec
    original: TensorSpec


def lora_specs(model: LoraModel) -> tuple[TensorSpec, ...]:
    """Every tensor of the original, pairs first."""
    return tuple(s for t in model.targets for s in (t.a, t.b)) + model.others


def matches(held: Iterable[TensorSpec], original: LoraModel) -> tuple[Match, ...]:
    """Who should be whom, by names alone, however the names are spelt."""
    known = {}
    for spec in lora_specs(original):
        if (name := parse_name(spec.name)) is not None:
            known[name.key] = spec
    found = []
    for spec in held:
        name = parse_name(spec.name)
        if name is not None and name.key in known:
            found.append(Match(spec, known[name.key]))
    return tuple(found)


def recover_with(
    matched: Iterable[Match], likeness: Mapping[str, Likeness], original: LoraModel
) -> tuple[tuple[Recovered, ...], tuple[str, ...]]:
    """All tensors of ``original``, made from the adapter's as far as those hold its bytes.

    Also returns why nothing should be made: a tensor with values that are not the original's means
    that the adapter was not made from it.
    """
    by_original: dict[str, list[Match]] = {}
    for match in matched:
        by_original.setdefault(match.original.name, []).append(match)
    recovered: list[Recovered] = []
    reasons: list[str] = []
    for spec in lora_specs(original):
        here = by_original.get(spec.name, [])
        alike = [m for m in here if likeness[m.held.name] is not Likeness.OTHER]
        if alike:
            turned = likeness[alike[0].held.name] is Likeness.TRANSPOSED
            recovered.append(_from(alike[0], turned))
        elif here:
            reasons.append(_unlike(here[0]))
        else:
            recovered.append(Recovered(spec, spec, spec.shape, lost=True))
    if not by_original:
        reasons = ["none of its tensors is one of the original's; check --original"]
    rest = len(reasons) - _MOST_NAMED
    more = (f"and {rest} more tensors like these",) if rest > 0 else ()
    return tuple(recovered), (*reasons[:_MOST_NAMED], *more)


def _from(match: Match, turned: bool) -> Recovered:
    spec = match.original
    shape = spec.shape[::-1] if turned else spec.shape
    source = TensorSpec(match.held.name, spec.dtype, shape)
    return Recovered(spec, source, match.held.shape, turned)


def _unlike(match: Match) -> str:
    held, spec = match.held, match.original
    text = f"{held.name}: its values are not those of the original's {spec.name}"
    if held.dtype != spec.dtype:
        text += f" ({held.dtype} here, {spec.dtype} there)"
    return f"{text}; check --original, or make the adapter anew with weighbridge convert"


def unmatched(held: Iterable[TensorSpec], recovered: Iterable[Recovered]) -> tuple[str, ...]:
    """Names of tensors that are no part of the repaired adapter."""
    used = {r.source.name for r in recovered if not r.lost}
    return tuple(s.name for s in held if s.name not in used)


def mlx_spec(module: str, part: Part, dtype: str, shape: tuple[int, ...]) -> TensorSpec:
    """The spec that MLX gives that tensor of a module."""
    return TensorSpec(f"{module}.{part.value}", dtype, shape)
