"""Whether a template comes to its end with any conversation: from its tree alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from jinja2 import nodes

from weighbridge.adapters.jinja_templates.tree import walk
from weighbridge.domain.templates import Hazard

#: What a program gives every template, beside what it has of its own.
_GIVEN = frozenset(
    {"range", "dict", "namespace", "lipsum", "cycler", "joiner", "raise_exception",
     "strftime_now", "super", "caller", "self", "loop", "varargs", "kwargs"}
)  # fmt: skip
_DEEPEST = 40
_Way = TypeVar("_Way")


def failing_hazards(tree: nodes.Template) -> Iterator[Hazard]:
    """CT013 if no conversation is rendered."""
    names = {n.name for n in walk(tree) if isinstance(n, nodes.Name) and n.ctx != "load"}
    macros = {n.name for n in walk(tree) if isinstance(n, nodes.Macro)}
    if (failure := _failure(tree.body, _GIVEN | names | macros)) is not None:
        yield Hazard("CT013", failure)


def _failure(body: Iterable[nodes.Node], known: frozenset[str]) -> str | None:
    """Why no conversation gets past these statements; None if one may."""
    for node in body:
        found = None
        match node:
            case nodes.Output(nodes=parts):
                found = next(filter(None, (_call(part, known) for part in parts)), None)
            case nodes.Assign(node=value) | nodes.ExprStmt(node=value):
                found = _call(value, known)
            case nodes.For(iter=nodes.Name(name="messages"), test=None) | nodes.Scope():
                found = _failure(node.body, known)
            case nodes.If(test=test, body=first, elif_=others, else_=last):
                ways = [(test, first), *((o.test, o.body) for o in others), (None, last)]
                found = _all_fail([_failure(way, known) for way in _open(ways, known)])
        if found is not None:
            return found
        if isinstance(node, nodes.Break | nodes.Continue):
            return None
    return None


def _call(node: nodes.Node | None, known: frozenset[str]) -> str | None:
    """What the value always comes to, if it is no value."""
    match node:
        case nodes.Call(node=nodes.Name(name="raise_exception")):
            return f"fails by itself at line {node.lineno}, whatever is asked"
        case nodes.Call(node=nodes.Name(name=name)) if name not in known:
            return f"calls {name[:40]!r} at line {node.lineno}, which no program gives it"
        case nodes.Filter(node=inner) if inner is not None:
            return _call(inner, known)
        case nodes.CondExpr(test=test, expr1=first, expr2=last):
            return _all_fail(
                [_call(way, known) for way in _open([(test, first), (None, last)], known)]
            )
        case nodes.Concat() | nodes.Add():
            return next(filter(None, (_call(n, known) for n in node.iter_child_nodes())), None)
    return None


def _all_fail(failures: Sequence[str | None]) -> str | None:
    return failures[0] if failures and all(failures) else None


def _open(ways: Iterable[tuple[nodes.Node | None, _Way]], known: frozenset[str]) -> Iterator[_Way]:
    """The ways that may be gone; the last is for when no condition holds."""
    for condition, way in ways:
        holds = True if condition is None else _holds(condition, known)
        if holds is not False:
            yield way
        if holds:
            return


def _holds(node: nodes.Node, known: frozenset[str], depth: int = 0) -> bool | None:
    """Whether a condition holds in every conversation, which has messages; None if that depends.
    ``known`` has the name messages if the template gives it another meaning."""
    if depth > _DEEPEST:
        return None
    match node:
        case nodes.Const(value=value):
            return bool(value)
        case (
            nodes.Name(name="messages")
            | nodes.Filter(name="length" | "count", node=nodes.Name(name="messages"))
            | nodes.Test(name="defined", node=nodes.Name(name="messages"))
        ):
            return None if "messages" in known else True
        case nodes.Not(node=inner):
            inner_holds = _holds(inner, known, depth + 1)
            return None if inner_holds is None else not inner_holds
        case nodes.And() | nodes.Or():
            sides = {_holds(node.left, known, depth + 1), _holds(node.right, known, depth + 1)}
            decides = isinstance(node, nodes.Or)
            if decides in sides:
                return decides
            return None if None in sides else not decides
        case nodes.Compare(
            expr=nodes.Const(value=left),
            ops=[nodes.Operand(op="eq" | "ne" as op, expr=nodes.Const(value=right))],
        ):
            return (left == right) is (op == "eq")
    return None
