"""JS: JSON hygiene of every file; CF: a model's config.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.shipping import is_document

#: What loaders of some program look for; all other JSON is somebody's notes.
_READ = re.compile(r".*config.*\.json|.*tokenizer.*\.json|.*\.index\.json|modules\.json"
                   r"|params\.json|tekken\.json")  # fmt: skip


def _is_read(path: str) -> bool:
    name = path.rpartition("/")[2]
    return is_document(name) or _READ.fullmatch(name) is not None


def _unread(subject: Subject) -> Iterator[Observation]:
    """Logs of trainers hold NaN, and some tools write a line for each record. No loader reads them;
    nor did any rule here look for what they say."""
    for document in subject.artifact.documents:
        if document.problem is not None and not _is_read(document.path.text):
            yield Observation(Location(document.path.text), {"detail": document.problem.detail})


def _problems(code: str, why: str) -> Callable[[Subject], Iterator[Observation]]:
    def check(subject: Subject) -> Iterator[Observation]:
        for document in subject.artifact.documents:
            problem = document.problem
            if problem is not None and problem.code == code and _is_read(document.path.text):
                yield Observation(Location(document.path.text), {"detail": problem.detail})

    check.__doc__ = why
    return check


def _rule(code: str, name: str, remedy: str, why: str) -> Rule:
    return Rule(code, name, Severity.ERROR, "{detail}", remedy, _problems(code, why))


def _model_type(subject: Subject) -> Iterator[Observation]:
    """Every loader chooses the architecture by model_type."""
    if subject.model is not None and not isinstance(subject.model.config.get("model_type"), str):
        yield Observation(Location("config.json", "model_type"))


def _no_architecture(subject: Subject) -> Iterator[Observation]:
    """vLLM, SGLang and llama.cpp's converter choose by architectures, and take no model without;
    mlx-lm-lora leaves it out when it fuses."""
    model = subject.model
    named = model.config.get("architectures") if model is not None else None
    if not (isinstance(named, list) and named and all(isinstance(n, str) for n in named)):
        yield Observation(Location("config.json", "architectures"))


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
    Rule("JS009", "unread-json", Severity.INFO, "is no JSON as loaders take it: {detail}",
         "leave it out of the release", _unread),
    Rule("CF002", "model-type-missing", Severity.ERROR, "is missing or no string",
         "copy config.json from the base model", _model_type, Need.MODEL,
         frozenset({Kind.FUSED})),
    Rule("CF004", "architectures-missing", Severity.WARNING, "is missing or no list of names",
         "copy the line from the base model's config.json", _no_architecture, Need.MODEL,
         frozenset({Kind.FUSED})),
)  # fmt: skip
