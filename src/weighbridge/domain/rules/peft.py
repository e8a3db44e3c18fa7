"""PE: PEFT adapters, what we wrote and what others did."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.domain.conversion import KEY_PREFIX
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, PeftModel

_LEAF = re.compile(r"\.lora_(?P<factor>A|B)(\.default)?\.weight$")


def _peft(subject: Subject) -> PeftModel:
    assert isinstance(subject.model, PeftModel)
    return subject.model


def _type(subject: Subject) -> Iterator[Observation]:
    """PEFT reads peft_type before anything else, and only in capitals."""
    value = _peft(subject).config.get("peft_type")
    if value != "LORA":
        yield Observation(Location(_peft(subject).config_path, "peft_type"), {"value": str(value)})


def _prefix(subject: Subject) -> Iterator[Observation]:
    """PEFT drops such a tensor with no more than a warning, and the adapter does nothing."""
    for spec in _peft(subject).tensors:
        if not spec.name.startswith(KEY_PREFIX):
            yield Observation(Location(_peft(subject).weights_path, spec.name))


def _pairs(subject: Subject) -> Iterator[Observation]:
    """A factor without its partner is dropped in silence."""
    names = {s.name for s in _peft(subject).tensors}
    for name in sorted(names):
        found = _LEAF.search(name)
        if found is None:
            continue
        other = "B" if found["factor"] == "A" else "A"
        partner = name[: found.start("factor")] + other + name[found.end("factor") :]
        if partner not in names:
            yield Observation(Location(_peft(subject).weights_path, name), {"partner": partner})


def _rank(subject: Subject) -> Iterator[Observation]:
    """PEFT builds modules of rank r and refuses other shapes; factors that were not transposed look
    like this as well."""
    model = _peft(subject)
    rank, patterned = model.config.get("r"), bool(model.config.get("rank_pattern"))
    for spec in model.tensors:
        found = _LEAF.search(spec.name)
        if found is None or patterned or len(spec.shape) != 2 or ".experts" in spec.name:
            continue
        actual = spec.shape[0] if found["factor"] == "A" else spec.shape[1]
        if actual != rank:
            facts: dict[str, Fact] = {"actual": actual, "rank": str(rank)}
            yield Observation(Location(model.weights_path, spec.name), facts)


_E = Severity.ERROR
_PEFT = frozenset({Kind.PEFT})
_CONVERT = "convert the MLX original with weighbridge convert"
RULES = (
    Rule("PE001", "peft-type", _E, "is {value}, not LORA", _CONVERT, _type, Need.MODEL, _PEFT),
    Rule("PE002", "key-prefix", _E, "does not begin with base_model.model.", _CONVERT, _prefix,
         Need.MODEL, _PEFT),
    Rule("PE003", "unpaired-factor", _E, "has no partner {partner}", _CONVERT, _pairs, Need.MODEL,
         _PEFT),
    Rule("PE004", "rank-mismatch", _E, "has inner size {actual}, but r is {rank}", _CONVERT, _rank,
         Need.MODEL, _PEFT),
)  # fmt: skip
