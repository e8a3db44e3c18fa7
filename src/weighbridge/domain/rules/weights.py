"""WT: values of the weights, from one pass over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from weighbridge.domain.checkpoints.packing import Mode, Packing, packing_of, quantisation_of
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import packed_modules, places
from weighbridge.domain.survey import TensorStats

#: How each format calls the second factor of a pair, and the first.
_FACTORS = {
    ".lora_b": ".lora_a",
    ".lora_b.weight": ".lora_a.weight",
    ".B": ".A",
    ".lora_B.weight": ".lora_A.weight",
    ".lora_embedding_B": ".lora_embedding_A",
}


def _all(subject: Subject) -> Iterator[tuple[Location, TensorStats]]:
    files = subject.survey.files if subject.survey else {}
    for path in sorted(files):
        for name in sorted(files[path]):
            stats = files[path][name]
            if stats.examined:
                yield Location(path, name), stats


def _not_finite(subject: Subject) -> Iterator[Observation]:
    """One NaN or infinity makes every answer NaN. Training diverged, or a cast overflowed."""
    for location, stats in _all(subject):
        if not stats.finite:
            yield Observation(location)
    yield from map(Observation, _scales_without_value(subject))


def _scales_without_value(subject: Subject) -> Iterator[Location]:
    """Those of MLX's small floats are bytes: powers of two, or in nvfp4 floats of eight bits."""
    model, survey = subject.model, subject.survey
    if not isinstance(model, FusedModel) or survey is None:
        return
    paths, said = places(subject), quantisation_of(model.config)
    for packed in packed_modules(model):
        path, name = paths.get(packed.scales.name, ""), packed.scales.name
        if packed.scales.dtype != "U8" or (stats := survey.stats(path, name)) is None:
            continue
        packing = packing_of(packed, said)
        floats = isinstance(packing, Packing) and packing.mode is Mode.NVFP4
        if stats.absmax == 0xFF or (floats and stats.absmax == 0x7F):
            yield Location(path, name)


_Factor: TypeAlias = tuple[Location, TensorStats]


def _unnamed(tensor: str) -> str:
    """Without the name that PEFT gives an adapter in memory, which some scripts save as well."""
    return re.sub(r"\.(lora_[AB])\.\w+\.weight$", r".\1.weight", tensor)


def _pairs(subject: Subject) -> list[tuple[_Factor, ...]]:
    """The second factor of every pair, and the first if it is there."""
    found = {(at.path, _unnamed(at.inside)): (at, stats) for at, stats in _all(subject)}
    pairs: list[tuple[_Factor, ...]] = []
    for (path, name), second in found.items():
        ending = next((s for s in _FACTORS if name.endswith(s)), None)
        if ending is not None:
            first = found.get((path, name.removesuffix(ending) + _FACTORS[ending]))
            pairs.append((second,) if first is None else (second, first))
    return pairs


def _untrained(subject: Subject) -> Iterator[Observation]:
    """lora_b starts at zero; while a factor of each pair is zero, the LoRA does nothing at all."""
    pairs = _pairs(subject)
    if pairs and all(any(stats.zero for _, stats in pair) for pair in pairs):
        second = all(pair[0][1].zero for pair in pairs)
        facts: dict[str, Fact] = {"count": len(pairs)}
        facts["factor"] = "lora_b" if second else "lora_a or lora_b"
        yield Observation(Location(pairs[0][0][0].path), facts)


def _partly_untrained(subject: Subject) -> Iterator[Observation]:
    """Modules of which one factor is zero did not learn anything. A pair of zeros was never
    trained, but added, since some servers look for it."""
    zero = [[at for at, stats in pair if stats.zero] for pair in _pairs(subject)]
    if not all(zero):
        for found in zero:
            if len(found) == 1:
                yield Observation(found[0])


def _outlier(subject: Subject) -> Iterator[Observation]:
    """Weights this large come from training that diverged, and overflow in float16."""
    for location, stats in _all(subject):
        if stats.finite and stats.absmax > 1e4:
            yield Observation(location, {"absmax": f"{stats.absmax:.3g}"})


_ADAPTERS = frozenset({Kind.LORA, Kind.PEFT})
_EARLIER = "train again with a lower learning rate, or take an earlier checkpoint"
RULES = (
    Rule("WT001", "not-finite", Severity.ERROR, "holds NaN or infinity", _EARLIER, _not_finite,
         Need.SURVEY),
    Rule("WT002", "untrained", Severity.ERROR, "{factor} is zero in all {count} pairs",
         "train the LoRA; this is its initial state", _untrained, Need.SURVEY, _ADAPTERS),
    Rule("WT005", "magnitude-outlier", Severity.WARNING, "holds a weight of magnitude {absmax}",
         _EARLIER, _outlier, Need.SURVEY),
    Rule("WT008", "partly-untrained", Severity.WARNING, "is all zero: the module learnt nothing",
         "leave the module out of the training keys", _partly_untrained, Need.SURVEY, _ADAPTERS),
)  # fmt: skip
