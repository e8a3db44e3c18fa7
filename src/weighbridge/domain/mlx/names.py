"""The MLX module that a PEFT file's module is, by proposing names and asking the table.

The table of architectures answers from MLX's side. Going back, every way in which names differ
between the stacks proposes a candidate, and the table decides: a candidate counts only if it is
placed exactly where the PEFT file has its module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from weighbridge.domain.placement import Architecture, Experts, Part, Plain, Rows

#: Whole-path changes, from transformers' side to MLX's; each is tried alone and after the others.
_PREFIXES = (
    (r"transformer\.(.*)", r"model.\1"),
    (r"gpt_neox\.layers\.(.*)", r"model.h.\1"),
    (r"gpt_neox\.(.*)", r"model.\1"),
    (r"model\.language_model\.(.*)", r"language_model.model.\1"),
    (r"language_model\.model\.(.*)", r"language_model.model.\1"),
    (r"model\.(.*)", r"language_model.model.\1"),
    (r"lm_head", r"language_model.lm_head"),
    (r"lm_head|embed_out", r"model.embed_out"),
    (r"model\.(.*)", r"backbone.\1"),
)
_INNER = (
    (r"\.mlp\.", ".block_sparse_moe."),
    (r"\.feed_forward\.w1$", ".feed_forward.gate_proj"),
    (r"\.feed_forward\.w3$", ".feed_forward.up_proj"),
    (r"\.feed_forward\.w2$", ".feed_forward.down_proj"),
    (r"\.shared_mlp\.output_linear$", ".mlp.down_proj"),
    (r"\.mlp\.router$", ".block_sparse_moe.gate"),
    (r"\.router$", ".router.layer"),
    (r"\.gate$", ".gate.proj"),
    (r"\.shared_experts\.", ".shared_expert."),
    (r"\.experts\.", ".switch_mlp."),
    (r"\.experts\.", ".experts.switch_glu."),
)
_EXPERT = re.compile(r"(?P<head>.*\.)(?P<number>\d+)\.(?P<leaf>[^.]+)")
_PARTS = {
    "w1": Part.GATE, "w3": Part.UP, "w2": Part.DOWN,
    "gate_proj": Part.GATE, "up_proj": Part.UP, "down_proj": Part.DOWN,
}  # fmt: skip
_PART_NAMES = {Part.GATE: "gate_proj", Part.UP: "up_proj", Part.DOWN: "down_proj"}


@frozen
class Origin:
    """The MLX module of a pair; ``expert`` if the pair is one of a stack."""

    module: str
    place: Plain | Rows | Experts
    expert: int | None = None


def candidates(path: str) -> Iterator[str]:
    """MLX paths that a module of that path might have; the path itself first."""
    seen = dict.fromkeys([path])
    for _ in range(2):
        for name in tuple(seen):
            for pattern, replacement in _PREFIXES:
                if re.fullmatch(pattern, name):
                    seen.setdefault(re.sub(pattern, replacement, name, count=1))
            for pattern, replacement in _INNER:
                seen.setdefault(re.sub(pattern, replacement, name))
    yield from seen


def origin(path: str, architecture: Architecture) -> Origin | None:
    """The MLX module whose place is ``path``, or None."""
    for name in candidates(path):
        place = architecture.place(name)
        if isinstance(place, Plain) and path in (place.path, place.checkpoint):
            return Origin(name, place)
    return _expert_origin(path, architecture)


def row_origins(path: str, architecture: Architecture) -> tuple[Origin, ...]:
    """The MLX modules that are rows of ``path``, in order; empty if there are none."""
    stem = path.rpartition(".")[0]
    found = {}
    for parent in candidates(f"{stem}.x"):
        for sibling in ("mlp", "feed_forward", "shared_mlp"):
            base = parent.rpartition(".")[0].rpartition(".")[0]
            for leaf in ("gate_proj", "up_proj"):
                module = f"{base}.{sibling}.{leaf}"
                place = architecture.place(module)
                if isinstance(place, Rows) and path in (place.path, place.checkpoint):
                    found[place.index] = Origin(module, place)
    return tuple(found[i] for i in sorted(found))


def _expert_origin(path: str, architecture: Architecture) -> Origin | None:
    parsed = _EXPERT.fullmatch(path)
    if parsed is None or parsed["leaf"] not in _PARTS:
        return None
    number, part = int(parsed["number"]), _PARTS[parsed["leaf"]]
    for name in candidates(f"{parsed['head']}{_PART_NAMES[part]}"):
        place = architecture.place(name)
        if (
            isinstance(place, Experts)
            and place.part is part
            and place.checkpoint
            and place.each(number) == path
        ):
            return Origin(name, place, number)
    return None


def stack_origin(container: str, part: Part, architecture: Architecture) -> Origin | None:
    """The MLX module whose experts are a part of the stack in ``container``."""
    for name in candidates(f"{container}.{_PART_NAMES[part]}"):
        place = architecture.place(name)
        if isinstance(place, Experts) and place.part is part and place.container == container:
            return Origin(name, place)
    return None
