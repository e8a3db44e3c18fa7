"""Walking a template's tree without recursion, and the constants that it makes of constants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from jinja2 import nodes

_Node = TypeVar("_Node", bound=nodes.Node)
#: Longer strings need not be put together: nobody hides a name in one.
_LONGEST = 200
_DEEPEST = 8


def walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Every node below ``tree``, and itself. Deep trees cost no stack."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.iter_child_nodes()


def find(tree: nodes.Node, kind: type[_Node]) -> Iterator[_Node]:
    """Every node of that kind below ``tree``; jinja2's own search recurses."""
    return (node for node in walk(tree) if isinstance(node, kind))


def text_of(node: nodes.Node | None, depth: int = 0) -> str | None:
    """The string that ``node`` always is, if it is put together from constants in a plain way."""
    if depth > _DEEPEST:
        return None
    match node:
        case nodes.Const(value=value):
            return str(value)[:_LONGEST]
        case nodes.Concat(nodes=parts):
            return _joined([text_of(part, depth + 1) for part in parts[:_LONGEST]])
        case nodes.Add(left=left, right=right):
            return _joined([text_of(left, depth + 1), text_of(right, depth + 1)])
        case nodes.Mul(left=left, right=nodes.Const(value=int(times))) if 0 < times < _LONGEST:
            one = text_of(left, depth + 1)
            return one and (one * times)[:_LONGEST]
        case nodes.Filter(node=inner, name=name):
            return _filtered(inner, name, node, depth + 1)
    return None


def _filtered(inner: nodes.Expr | None, name: str, node: nodes.Filter, depth: int) -> str | None:
    if name == "join" and isinstance(inner, nodes.List | nodes.Tuple) and not node.args:
        return _joined([text_of(item, depth) for item in inner.items[:_LONGEST]])
    text = text_of(inner, depth)
    if text is None:
        return None
    match name:
        case "reverse":
            return text[::-1]
        case "lower" | "upper" | "title" | "capitalize" | "trim" | "string" | "safe" | "e":
            return text.lower() if name == "lower" else text
        case "replace" if len(node.args) == 2:
            old, new = (text_of(arg, depth) for arg in node.args)
            return text.replace(old, new)[:_LONGEST] if old and new is not None else text
    return None


def _joined(parts: list[str | None]) -> str | None:
    if any(part is None for part in parts):
        return None
    return "".join(part or "" for part in parts)[:_LONGEST]
