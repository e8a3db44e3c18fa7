"""How many experts a mixture has: as its config says, and as its tensors hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from weighbridge.domain.layer_figures import figure
from weighbridge.domain.tensors import TensorSpec

#: What the models' configs call the number of experts.
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_ONE_BY_ONE = ".experts."
_STACK = re.compile(
    r"(?P<mixture>.*\.(?:switch_mlp|switch_glu|experts))\."
    r"(?:(?:gate|up|down|gate_up)_proj|fc[12]|w[123])(?:\.weight|_blocks)?"
)


def other_count(fields: Mapping[str, object], model_type: str, held: int) -> int | None:
    """Another number of experts than ``held`` that the text model's config gives, whatever its key
    is, or that its type takes where it gives none; None if there is no other."""
    said = [key for key in EXPERT_COUNTS if fields.get(key) is not None]
    counts = [figure(fields, model_type, key) for key in said or EXPERT_COUNTS]
    known = [n for n in counts if n is not None]
    # LongCat's that do nothing may be held beside those that do.
    idle = figure(fields, model_type, "zero_expert_num")
    held -= idle if idle is not None and held - idle in known else 0
    return next((n for n in known if n not in (0, held)), 0 if known and not any(known) else None)


def held_experts(groups: Iterable[Sequence[TensorSpec]]) -> Iterator[tuple[TensorSpec, str, int]]:
    """A tensor of every mixture, that mixture's path, and how many experts it holds: as a stack, by
    each tensor of it, or one by one up to the highest number.

    ``groups`` are tensors whose names differ in digits only.
    """
    highest: dict[str, tuple[int, TensorSpec]] = {}
    for group in groups:
        first = group[0]
        if len(first.shape) in (3, 4) and _STACK.fullmatch(first.name):
            found = ((spec, _STACK.fullmatch(spec.name)) for spec in group)
            yield from ((spec, m["mixture"], spec.shape[0]) for spec, m in found if m)
            continue
        begin = first.name.find(_ONE_BY_ONE) + len(_ONE_BY_ONE)
        end = first.name.find(".", begin)
        if begin < len(_ONE_BY_ONE) or not first.name[begin:end].isdecimal() or end - begin > 5:
            continue
        for spec in group:
            mixture, number = spec.name[: begin - 1], int(spec.name[begin:end])
            if number >= highest.get(mixture, (-1, spec))[0]:
                highest[mixture] = number, spec
    for mixture, (number, spec) in highest.items():
        yield spec, mixture, number + 1
