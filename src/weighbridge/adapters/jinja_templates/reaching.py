"""What a template reaches for beyond the conversation: Python's internals, files, the network.

transformers runs templates in a sandbox that stops most of it; llama-cpp-python and SGLang ran them
without one (CVE-2024-34359, CVE-2026-5760).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import nodes

from weighbridge.adapters.jinja_templates.tree import text_of, walk
from weighbridge.domain.templates import Hazard

#: Ways from any object to all classes, without an underscore.
_ATTRIBUTES = frozenset(
    {"mro", "func_globals", "func_code", "im_class", "im_func", "gi_frame", "gi_code",
     "cr_frame", "cr_code", "ag_frame", "f_globals", "f_builtins", "f_back", "tb_frame"}
)  # fmt: skip
#: Objects that jinja2 or a web framework gives, and that lead out; none is a chat's.
_NAMES = frozenset(
    {"self", "cycler", "joiner", "lipsum", "request", "os", "sys", "subprocess", "config",
     "get_flashed_messages", "url_for", "g", "session", "builtins", "eval", "exec", "open",
     "getattr", "globals", "importlib", "compile"}
)  # fmt: skip
_BY_NAME = frozenset({"attr", "map", "selectattr", "rejectattr", "groupby", "sort", "unique",
                      "sum", "min", "max"})  # fmt: skip
_OUTSIDE = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)
_URL = re.compile(r"(?i)\b(https?|ftp|file|wss?)://[^\s'\"<>{}]{1,80}")
#: A field of str.format that goes on to an attribute or item of its own choice.
_INNER_FIELD = re.compile(r"\{[^{}]*(?:\.|\[)__?[A-Za-z][^{}]*\}")
_DUNDER = re.compile(r"__[a-z]+(__)?", re.IGNORECASE)


def reaching_hazards(tree: nodes.Node) -> Iterator[Hazard]:
    """CT002 for each way to Python's internals or other files, CT006 for each address."""
    made = _made_names(tree)
    bound = {n.name for n in walk(tree) if isinstance(n, nodes.Name) and n.ctx != "load"}
    bound |= {n.name for n in walk(tree) if isinstance(n, nodes.Macro)}
    seen: set[Hazard] = set()
    for node in walk(tree):
        for hazard in (*_of(node, bound), *_by_made_name(node, made)):
            if hazard not in seen:
                seen.add(hazard)
                yield hazard


def _of(node: nodes.Node, bound: set[str]) -> Iterator[Hazard]:
    match node:
        case nodes.Keyword(key=keyword) if keyword.startswith("__"):
            yield _reaches(f"a name that is a keyword, {keyword!r}", node)
        case nodes.Getattr(attr=attr) if _internal(attr):
            yield _reaches(f"the attribute {attr!r}", node)
        case nodes.Getitem(arg=arg) if (key := text_of(arg)) and _internal(key):
            yield _reaches(f"the item {key!r}", node)
        case nodes.Name(name=name) if name in _NAMES - bound or name.startswith("__"):
            yield _reaches(f"the name {name!r}", node)
        case nodes.Filter(name="attr"):
            yield _reaches("an attribute by the filter attr", node)
        case nodes.Filter(name=name) if name in _BY_NAME:
            yield from _by_name(node)
        case nodes.Const(value=str(text)) | nodes.TemplateData(data=text):
            yield from _text(text, node)
        case nodes.Getitem(arg=arg) if _put_together(arg):
            yield _reaches("an item whose name is put together", node)
        case nodes.Concat() | nodes.Add() | nodes.Filter() if (
            made := text_of(node)
        ) and _DUNDER.search(made):
            yield _reaches(f"a name put together, {made[:60]!r}", node)
    if isinstance(node, _OUTSIDE):
        yield _reaches(f"another file ({type(node).__name__.lower()})", node)


def _made_names(tree: nodes.Node) -> set[str]:
    """Variables that hold a text put together: keys that nobody can read off the template."""
    return {
        node.target.name
        for node in walk(tree)
        if isinstance(node, nodes.Assign)
        and isinstance(node.target, nodes.Name)
        and _put_together(node.node)
    }


def _by_made_name(node: nodes.Node, made: set[str]) -> Iterator[Hazard]:
    match node:
        case nodes.Getitem(arg=nodes.Name(name=name)) if name in made:
            yield _reaches(f"an item by {name!r}, which is put together", node)


def _by_name(node: nodes.Filter) -> Iterator[Hazard]:
    values = [*node.args, *(keyword.value for keyword in node.kwargs)]
    for value in values:
        parts = (text_of(value) or "").split(".")
        if any(map(_internal, parts)) or "attr" in parts[:1]:
            yield _reaches(f"an attribute by the filter {node.name}", node)


def _text(text: str, node: nodes.Node) -> Iterator[Hazard]:
    if isinstance(node, nodes.Const) and _DUNDER.fullmatch(text):
        yield _reaches(f"the name {text[:60]!r}", node)
    if isinstance(node, nodes.Const) and (field := _INNER_FIELD.search(text)):
        yield _reaches(f"an attribute by a format, {field.group()[:60]!r}", node)
    for found in _URL.finditer(text):
        yield Hazard("CT006", f"holds the address {found.group()}")


def _put_together(arg: nodes.Node) -> bool:
    """True for a key made of parts that are not known: chats have names or counts for keys."""
    match arg:
        case nodes.Concat() | nodes.Filter(name="join" | "replace" | "reverse" | "format" | "attr"):
            return True
        case (
            nodes.Add(left=left, right=right)
            | nodes.Mod(left=left, right=right)
            | nodes.Mul(left=left, right=right)
        ):
            sides = (left, right)
            return any(isinstance(s, nodes.Const) and isinstance(s.value, str) for s in sides)
        case nodes.Call(node=nodes.Getattr(attr="join" | "replace" | "format" | "lower" | "strip")):
            return True
    return False


def _internal(name: str) -> bool:
    return name.startswith("_") or name in _ATTRIBUTES


def _reaches(what: str, node: nodes.Node) -> Hazard:
    return Hazard("CT002", f"reaches for {what} at line {node.lineno}")
