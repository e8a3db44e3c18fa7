"""What the files of an artifact hold beside the model: their forms, what they leak, telling keys.

Decides which JSON keys are telling and which files belong to version control. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen


class Family(Enum):
    """What a file is by its content, as far as it matters."""

    PICKLE = "pickle"
    PYTHON = "Python"
    EXECUTABLE = "executable"
    ARCHIVE = "archive"
    FOREIGN = "foreign model format"
    TENSORS = "tensors"


@frozen
class Form:
    """A family and the form's own name."""

    family: Family
    what: str


@frozen
class Leak:
    """Something private in a file; ``code`` is the rule's, and the thing itself is not kept."""

    code: str
    path: str
    place: str
    what: str
    masked: str


@frozen
class Mark:
    """A telling key of a JSON file; ``pointer`` says where, as ``a.b[0]``."""

    path: str
    pointer: str
    key: str
    value: Any


@frozen
class Unexamined:
    """A part of the artifact that was not looked at, or not to its end, and why.

    Nothing is known against it, so that it is not bad; but nobody can call it good. ``path`` is the
    file, or '' for the directory; None if the part is no file. ``chosen`` if the caller wanted it
    so: then it does not count.
    """

    what: str
    reason: str
    chosen: bool = False
    path: str | None = None

    @classmethod
    def at(cls, path: str, reason: str, *, chosen: bool = False) -> Unexamined:
        """That file, or with '' the directory."""
        return cls(path or "the directory", reason, chosen, path)


@frozen
class Contents:
    """What a look into the files gave. ``card`` is the beginning of the model card, ``legal`` are
    those of licences, ``binary`` are the files that begin with what no text holds."""

    forms: Mapping[str, Form]
    leaks: tuple[Leak, ...] = ()
    marks: tuple[Mark, ...] = ()
    unexamined: tuple[Unexamined, ...] = ()
    card: bytes | None = None
    legal: Mapping[str, bytes] = field(factory=dict)
    binary: frozenset[str] = frozenset()


#: By these an artifact decides which code or file is loaded.
TELLING_KEYS = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "model_file",
        "tool_parser_type",
        "chat_template_type",
        "trust_remote_code",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
    }
)


_CONTAINERS = frozenset({dict, list})


def marks_in(path: str, value: Any) -> Iterator[Mark]:
    """Every telling key of a parsed JSON value, at any depth."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        pointer, node = pending.pop()
        if isinstance(node, dict):
            # Vocabularies have hundreds of thousands of keys, and neither of the two.
            if not TELLING_KEYS.isdisjoint(node):
                for key in filter(TELLING_KEYS.__contains__, node):
                    yield Mark(path, f"{pointer}.{key}".lstrip("."), key, node[key])
            if not _CONTAINERS.isdisjoint(map(type, node.values())):
                held = ((k, v) for k, v in node.items() if type(v) in _CONTAINERS)
                pending += ((f"{pointer}.{key}", value) for key, value in held)
        else:
            # A list of merges has hundreds of thousands of pairs, and no key in any.
            lists = enumerate(node) if isinstance(node, list) else ()
            below = ((i, v) for i, v in lists if type(v) in _CONTAINERS and not _is_plain(v))
            pending += ((f"{pointer}[{i}]", v) for i, v in below)


def _is_plain(value: dict[str, Any] | list[Any]) -> bool:
    return type(value) is list and _CONTAINERS.isdisjoint(map(type, value))


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a parsed JSON value."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def in_repository(path: str) -> bool:
    """True for the files of a git repository's own book-keeping."""
    return ".git" in path.split("/")


def is_companion(path: str) -> bool:
    """True for what macOS keeps beside a file on a disk of others: ``._x``, by the file's name and
    with nothing of its form."""
    return path.rpartition("/")[2].startswith("._")
