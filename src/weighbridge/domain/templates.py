"""Chat templates: where a directory holds them, and what reading one can find.

A template is a program that runs for every conversation of everybody who downloads the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from weighbridge.domain.artifact import ModelArtifact

#: Several times what the largest published template has; what is larger is suspicious.
LARGE_TEMPLATE = 100_000
#: More is not parsed, in one template and in all together: it would take minutes.
MAX_TEMPLATE = 256_000
MAX_TEMPLATES = 2 * MAX_TEMPLATE
#: Words and signs, of all together: a parser's time goes by these. The largest published template
#: has fewer than 5,000.
MAX_SIGNS = 32_000
TOKENIZER_CONFIG = "tokenizer_config.json"
_HOLDERS = (TOKENIZER_CONFIG, "chat_template.json", "processor_config.json")
_FILE = re.compile(
    r"(?:.+/)??(?:chat_template\.jinja|additional_chat_templates/(?P<name>[^/]+)\.jinja"
    r"|(?P<other>[^/]+)\.(?:jinja2?|j2))",
    re.IGNORECASE,
)
DEFAULT = "default"
_SIGN = re.compile(r"\w+|[^\w\s]")


@frozen
class Hazard:
    """One thing that a template's syntax tree shows; ``code`` is the rule's."""

    code: str
    detail: str


@frozen
class Template:
    """One chat template. ``inside`` is the JSON key that holds it, '' if it is a file of its own;
    ``text`` is None if it is too large to be read."""

    path: str
    inside: str
    name: str
    text: str | None = field(repr=False)
    size: int
    hazards: tuple[Hazard, ...] = ()


def template_name(path: str) -> str | None:
    """The name of the template in the file of that path; None if it is no template."""
    found = _FILE.fullmatch(path)
    if found is None:
        return None
    if found["other"] is not None or path.count("/") > (found["name"] is not None):
        # Of no name that a loader knows it by; servers are given such a file by hand.
        return re.sub(r"[^A-Za-z0-9_-]", "-", path)[:64]
    return found["name"] or DEFAULT


def signs(text: str) -> int:
    """How many words and signs it has, white space aside."""
    return sum(1 for _ in _SIGN.finditer(text))


def held_templates(artifact: ModelArtifact) -> Iterator[Template]:
    """The templates inside of JSON files: one string, a list of names and strings, or a map.

    Programs read ``chat_template``, of a few files; what is called a template otherwise in these,
    and ``chat_template`` in any other, is looked at too.
    """
    for document in artifact.documents:
        path = document.path.text
        holder = document.path.name in _HOLDERS
        for key, value in document.object.items():
            if not (key == "chat_template" or (holder and "template" in key.lower())):
                continue
            name = DEFAULT if key == "chat_template" and path in _HOLDERS else key
            for inside, own, text in _named(key, name, value):
                if isinstance(text, str):
                    yield Template(path, inside, own, text, len(text))


def _named(key: str, name: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, str):
        yield key, name, value
    elif isinstance(value, Mapping):
        for own, text in value.items():
            yield f"{key}.{own}", own, text
    elif isinstance(value, list):
        for at, one in enumerate(value):
            if isinstance(one, Mapping):
                yield f"{key}[{at}]", str(one.get("name")), one.get("template")
