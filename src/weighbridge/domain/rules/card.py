"""CD: the model card and the licence. What the Hub reads of it is the front matter.

Fields: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from weighbridge.domain.conversion import is_local_path
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.front_matter import FrontMatter, read_front_matter
from weighbridge.domain.licences import HUB_LICENCES, conflicts, says_another
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.shipping import CARD

_TEXTS = (
    "library_name", "pipeline_tag", "license_name", "license_link", "base_model_relation",
    "new_version",
)  # fmt: skip
_LICENCE = re.compile(r"(?i)(licen[cs]e|copying)(\.|$)")
_LISTS = ("license", "language", "tags", "datasets", "metrics", "base_model")


def _front(subject: Subject) -> FrontMatter:
    return read_front_matter(subject.artifact.contents.card or b"")


def _field(subject: Subject, key: str) -> tuple[str, ...]:
    """The texts of a field that holds one or several."""
    value = _front(subject).fields.get(key)
    found = value if isinstance(value, list) else [value]
    return tuple(text for text in found if isinstance(text, str))


def _missing(subject: Subject) -> Iterator[Observation]:
    """Nobody knows what the model is for, from what it was made and what may be done with it."""
    paths = subject.artifact.paths
    if paths and CARD not in paths:  # of an empty directory enough is said
        yield Observation(Location(CARD))


def _unreadable(subject: Subject) -> Iterator[Observation]:
    """The Hub refuses a commit with such a card, after the upload."""
    problem = _front(subject).problem
    if problem is not None:
        yield Observation(Location(CARD), {"problem": problem})


def _wrong_type(subject: Subject) -> Iterator[Observation]:
    """The Hub refuses or ignores the field. YAML reads some words as something else: no is false,
    1.10 a number."""
    for key, value in _front(subject).fields.items():
        wrong = _problem(key, value)
        if wrong is not None:
            yield Observation(Location(CARD, key), {"is": wrong})


def _problem(key: str, value: Any) -> str | None:
    if value is None or key not in (*_TEXTS, *_LISTS, "model-index"):
        return None
    if key == "model-index":
        return None if isinstance(value, list) else f"a {type(value).__name__}"
    listed = value if isinstance(value, list) and key in _LISTS else [value]
    other = next((each for each in listed if not isinstance(each, str)), None)
    return None if other is None else f"a {type(other).__name__} ({str(other)[:40]})"


def _other_base(subject: Subject) -> Iterator[Observation]:
    """People load an adapter on the base that the card names, and the Hub links to it."""
    base = subject.base_model or (subject.model.base_model if subject.model else None)
    named = _field(subject, "base_model")
    if not base or not named or is_local_path(base):
        return
    if not any(_same_model(base, name) for name in named):
        facts = {"card": ", ".join(named)[:200], "base": base}
        yield Observation(Location(CARD, "base_model"), facts)


def _same_model(one: str, other: str) -> bool:
    """True for the same name, or that of a quantised copy, which has it with an ending."""
    a, b = (name.rpartition("/")[2].casefold() for name in (one, other))
    return a.startswith(b) or b.startswith(a)


def _unknown_licence(subject: Subject) -> Iterator[Observation]:
    """The Hub knows a licence by an identifier of its list, in lower case, and refuses others."""
    for licence in _field(subject, "license"):
        if licence not in HUB_LICENCES:
            lower = licence.strip().lower()
            known = f"; the Hub's is {lower}" if lower in HUB_LICENCES else ""
            yield Observation(Location(CARD, "license"), {"licence": licence[:80], "known": known})


def _no_licence(subject: Subject) -> Iterator[Observation]:
    """Without a licence nobody may use the model."""
    front = _front(subject)
    if CARD in subject.artifact.paths and front.problem is None and not front.fields.get("license"):
        yield Observation(Location(CARD, "license"))


def _conflict(subject: Subject) -> Iterator[Observation]:
    """A licence that binds what is made from the base cannot be replaced by another."""
    base = subject.base_licence
    for licence in _field(subject, "license") if base else ():
        if base and licence in HUB_LICENCES and conflicts(licence, base):
            yield Observation(Location(CARD, "license"), {"licence": licence, "base": base})


def _other_text(subject: Subject) -> Iterator[Observation]:
    """People read the card, and the text is what binds: one of the two is of another model."""
    named = _field(subject, "license")
    for path, text in subject.artifact.contents.legal.items():
        said = says_another(text, named) if "/" not in path and _LICENCE.match(path) else None
        if said is not None:
            yield Observation(Location(path), {"said": said, "named": ", ".join(named)[:80]})


def _unnamed(subject: Subject) -> Iterator[Observation]:
    """The licence 'other' says nothing by itself."""
    fields = _front(subject).fields
    if "other" in _field(subject, "license") and not fields.get("license_name"):
        yield Observation(Location(CARD, "license_name"))


def _other_library(subject: Subject) -> Iterator[Observation]:
    """The Hub shows the code of that library for the model, and it cannot read the weights: nothing
    but MLX reads what MLX quantised."""
    model = subject.model
    named = _front(subject).fields.get("library_name")
    foreign = isinstance(named, str) and not named.lower().startswith("mlx")
    if isinstance(model, FusedModel) and model.quantised and foreign:
        yield Observation(Location(CARD, "library_name"), {"named": str(named)[:40]})


def _no_model(subject: Subject) -> Iterator[Observation]:
    """The Hub refuses a commit with such a card: there a base is a model of the Hub's, by its name
    alone."""
    for name in _field(subject, "base_model"):
        if is_local_path(name):
            yield Observation(Location(CARD, "base_model"), {"named": name[:80]})


_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("CD001", "card-missing", _W, "is not there",
         "write one; publish writes a short one otherwise", _missing),
    Rule("CD002", "card-front-matter-invalid", _E, "{problem}",
         "write the front matter as YAML between two lines of ---", _unreadable),
    Rule("CD003", "card-field-type", _W, "is {is}, not text or a list of texts",
         "put the value in quotes, or make it a list", _wrong_type),
    Rule("CD004", "card-base-differs", _W, "names {card}, but the model was trained on {base}",
         "name the base that it was trained on", _other_base),
    Rule("CD005", "licence-unknown", _W, "{licence!r} is none of the Hub's identifiers{known}",
         "write an identifier of the Hub's list, or 'other' with license_name", _unknown_licence),
    Rule("CD006", "licence-missing", _W, "is not given", "name the licence in the front matter",
         _no_licence),
    Rule("CD007", "licence-conflict", _W, "is {licence}, but the base is under {base}",
         "keep the base's licence", _conflict),
    Rule("CD008", "licence-unnamed", _W, "is missing with the licence 'other'",
         "give license_name and license_link, or add the text as LICENSE", _unnamed),
    Rule("CD010", "licence-text-differs", _W, "says {said!r}, but the card names {named}",
         "give the text of the licence that the card names, or name this one", _other_text),
    Rule("CD011", "card-base-invalid", _E, "names {named!r}, which is no name of a model",
         "write org/name, or leave it out", _no_model),
    Rule("CD009", "library-differs", _W, "is {named}, but the weights are quantised by MLX",
         "write mlx", _other_library, Need.MODEL, frozenset({Kind.FUSED})),
)  # fmt: skip
