"""JS: JSON hygiene of every file; CF: a model's config.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind


def _problems(code: str, why: str) -> Callable[[Subject], Iterator[Observation]]:
    def check(subject: Subject) -> Iterator[Observation]:
        for document in subject.artifact.documents:
            if document.problem is not None and document.problem.code == code:
                yield Observation(Location(document.path.text), {"detail": document.problem.detail})

    check.__doc__ = why
    return check


def _rule(code: str, name: str, remedy: str, why: str) -> Rule:
    return Rule(code, name, Severity.ERROR, "{detail}", remedy, _problems(code, why))


def _model_type(subject: Subject) -> Iterator[Observation]:
    """Every loader chooses the architecture by model_type."""
    if subject.model is not None and not isinstance(subject.model.config.get("model_type"), str):
        yield Observation(Location("config.json", "model_type"))


_WRITE = "write it again with a JSON library"
RULES = (
    _rule("JS001", "invalid-json", _WRITE, "No loader can read it."),
    _rule("JS002", "duplicate-key", "delete one of the two",
          "Parsers silently keep the last; a reviewer reads the first."),
    _rule("JS003", "nan-literal", "write a number or null", "NaN and Infinity are not JSON."),
    _rule("JS004", "huge-number", "write a number of the real size",
          "Parsers overflow, or spend minutes on it."),
    _rule("JS005", "too-deep-or-large", _WRITE, "Parsers exhaust the stack or the memory."),
    _rule("JS006", "not-an-object", _WRITE, "Every configuration file is a JSON object."),
    _rule("JS007", "bad-encoding", "save it as UTF-8 without byte order mark",
          "JSON is UTF-8; half of the loaders refuse anything else."),
    Rule("CF002", "model-type-missing", Severity.ERROR, "is missing or no string",
         "copy config.json from the base model", _model_type, Need.MODEL,
         frozenset({Kind.FUSED})),
)  # fmt: skip
