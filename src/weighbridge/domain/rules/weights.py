"""WT: values of the weights, from one pass over them."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
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


def _b_factors(subject: Subject) -> list[tuple[Location, TensorStats]]:
    """Every second factor, but for those of pairs of zeros: such a pair was never trained, but
    added, since some servers look for it."""
    found = {(at.path, at.inside): s for at, s in _all(subject)}
    factors = []
    for (path, name), stats in found.items():
        second = next((s for s in _FACTORS if name.endswith(s)), None)
        if second is not None:
            first = found.get((path, name.removesuffix(second) + _FACTORS[second]))
            if not (stats.zero and first is not None and first.zero):
                factors.append((Location(path, name), stats))
    return factors


def _untrained(subject: Subject) -> Iterator[Observation]:
    """lora_b starts at zero; while it is zero the LoRA does nothing at all."""
    factors = _b_factors(subject)
    if factors and all(stats.zero for _, stats in factors):
        yield Observation(Location(factors[0][0].path), {"count": len(factors)})


def _partly_untrained(subject: Subject) -> Iterator[Observation]:
    """Modules whose lora_b is zero did not learn anything."""
    factors = _b_factors(subject)
    zero = [at for at, stats in factors if stats.zero]
    if zero and len(zero) < len(factors):
        for at in zero:
            yield Observation(at)


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
    Rule("WT002", "untrained", Severity.ERROR, "all {count} lora_b tensors are zero",
         "train the LoRA; this is its initial state", _untrained, Need.SURVEY, _ADAPTERS),
    Rule("WT005", "magnitude-outlier", Severity.WARNING, "holds a weight of magnitude {absmax}",
         _EARLIER, _outlier, Need.SURVEY),
    Rule("WT008", "partly-untrained", Severity.WARNING, "is all zero: the module learnt nothing",
         "leave the module out of the training keys", _partly_untrained, Need.SURVEY, _ADAPTERS),
)  # fmt: skip
