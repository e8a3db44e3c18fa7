"""What makes a template run or grow without end: huge ranges, nested ones, repeats, formats.

transformers' sandbox bounds one range to 100,000, but neither nested loops nor the length of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import nodes

from weighbridge.adapters.jinja_templates.tree import find
from weighbridge.domain.templates import Hazard

_LONG_RANGE = 1000
#: Steps that nested loops over constant ranges take together.
_STEPS = 10_000
_LARGE = 100_000
#: Larger numbers are taken for this one.
_MOST = 10**12
_WIDE = re.compile(r"%[-+ #0]*\d{5,}|%[-+ #0\d]*\.\d{5,}|\{[^{}]*:[^{}]*\d{5,}[^{}]*\}")
_GROWING = frozenset({"center", "indent", "wordwrap", "truncate", "batch", "slice", "round",
                      "tojson"})  # fmt: skip


def loop_hazards(tree: nodes.Node) -> Iterator[Hazard]:
    """CT005, once for each place."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while waiting:
        node, steps = waiting.pop()
        what = _one(node)
        if isinstance(node, nodes.For) and (count := _range(node.iter)) is not None:
            before, steps = steps, steps * max(1, count)
            if before > 1 and steps > _STEPS and count <= _LONG_RANGE:
                what = f"loops {steps} times, one loop inside of another"
        if isinstance(node, nodes.For):
            yield from _doublings(node)
        if isinstance(node, nodes.Macro) and _counts_down(node):
            what = f"calls {node.name} several times in itself with a number counted on"
        if what:
            yield Hazard("CT005", f"{what} at line {node.lineno}")
        waiting += [(child, min(steps, _MOST)) for child in node.iter_child_nodes()]


def _counts_down(macro: nodes.Macro) -> bool:
    """True if each call makes several others, as many deep as a number says: 2^40 for a 40.

    Macros that go down a schema call themselves too, but with a part of what they were given."""
    calls = list(_calls(macro, macro.name))
    if not any(
        call.args and all(isinstance(arg, nodes.BinExpr | nodes.Const) for arg in call.args)
        for call in calls
    ):
        return False
    return len(calls) > 1 or any(any(_calls(loop, macro.name)) for loop in find(macro, nodes.For))


def _calls(node: nodes.Node, name: str) -> Iterator[nodes.Call]:
    for call in find(node, nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == name:
            yield call


def _doublings(loop: nodes.For) -> Iterator[Hazard]:
    """A variable that becomes itself twice with each step is large beyond measure after forty."""
    for node in find(loop, nodes.Assign):
        grown = node.node
        if not isinstance(grown, nodes.Add | nodes.Concat | nodes.Mul):
            continue
        name = _variable(node.target)
        if name and sum(_variable(part) == name for part in _parts(grown)) > 1:
            yield Hazard("CT005", f"doubles {name} in a loop at line {node.lineno}")


def _variable(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.NSRef(name=name, attr=attr):
            return f"{name}.{attr}"
        case nodes.Getattr(node=nodes.Name(name=name), attr=attr):
            return f"{name}.{attr}"
    return None


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    """What sums and products are made of."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, nodes.Add | nodes.Concat | nodes.Mul):
            waiting += one.iter_child_nodes()
        else:
            yield one


def _one(node: nodes.Node) -> str | None:
    match node:
        case nodes.Call() if (count := _range(node)) is not None and count > _LONG_RANGE:
            return f"has a range of {_figure(count)}"
        case nodes.Mul(left=left, right=right) if _repeats(left, right) or _repeats(right, left):
            return "repeats a text or list very often"
        case nodes.Pow(right=right) if (_number(right) or 0) > 16 or _number(node) == _MOST:
            return "raises a number to a great power"
        case nodes.Mod(left=nodes.Const(value=str(text))) if _WIDE.search(text):
            return "formats to a great width"
        case nodes.Filter(name="format", node=nodes.Const(value=str(text))) if _WIDE.search(text):
            return "formats to a great width"
        case nodes.Call(node=nodes.Getattr(node=nodes.Const(value=str(text)), attr="format")):
            return "formats to a great width" if _WIDE.search(text) else None
        case nodes.Filter(name=name, args=args, kwargs=named) if name in _GROWING:
            given = [*args, *(one.value for one in named)]
            wide = any((_number(arg) or 0) > _LARGE for arg in given)
            return f"makes a great text by {name}" if wide else None
        case nodes.Call(node=nodes.Getattr(attr=attr), args=args) if attr in _PADDING:
            wide = any((_number(arg) or 0) > _LARGE for arg in args)
            return f"makes a great text by {attr}" if wide else None
        case nodes.Call(node=nodes.Name(name="lipsum")):
            return "fills with text"
    return None


_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})


def _repeats(thing: nodes.Node, times: nodes.Node) -> bool:
    grown = isinstance(thing, nodes.List | nodes.Tuple | nodes.Concat)
    text = isinstance(thing, nodes.Const) and isinstance(thing.value, str)
    return (grown or text or isinstance(thing, nodes.Mul)) and (_number(times) or 0) > _LARGE


def _range(node: nodes.Node) -> int | None:
    """The length of a range of constants, roughly; None if it is none."""
    while isinstance(node, nodes.Filter) and node.node is not None:
        node = node.node
    if not (isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name)):
        return None
    if node.node.name != "range" or not node.args:
        return None
    numbers = [_number(arg) or _factor(arg) for arg in node.args]
    if numbers[0] is None and len(numbers) == 1:
        return None
    known = [n for n in numbers[:2] if n is not None]
    if len(known) < min(2, len(numbers)):
        return max(map(abs, known), default=0)
    length = abs(known[-1] - (known[0] if len(known) > 1 else 0))
    step = abs(numbers[2] or 1) if len(numbers) > 2 else 1
    return length // step


def _factor(node: nodes.Node) -> int | None:
    """The large constant that something unknown is multiplied by."""
    if not isinstance(node, nodes.Mul):
        return None
    known = [n for part in (node.left, node.right) if (n := _number(part)) is not None]
    return max((n for n in known if n > _LONG_RANGE), default=None)


def _number(node: nodes.Node, depth: int = 0) -> int | None:
    """The integer that ``node`` always is; of powers and products only that it is large."""
    if depth > 8:
        return None
    match node:
        case nodes.Const(value=bool()):
            return None
        case nodes.Const(value=int(value)):
            return _bounded(value)
        case nodes.Const(value=float(value)):
            return int(max(-1e12, min(1e12, value))) if value == value else None
        case nodes.Neg(node=inner):
            found = _number(inner, depth + 1)
            return None if found is None else -found
        case nodes.Filter(name="int", node=inner) if inner is not None:
            return _number(inner, depth + 1)
        case (
            nodes.Mul(left=left, right=right)
            | nodes.Add(left=left, right=right)
            | nodes.Pow(left=left, right=right)
        ):
            a, b = _number(left, depth + 1), _number(right, depth + 1)
            return None if a is None or b is None else _combined(node, a, b)
    return None


def _combined(node: nodes.Node, a: int, b: int) -> int:
    if isinstance(node, nodes.Pow):
        return _MOST if b > 40 and abs(a) > 1 else _bounded(a ** max(0, min(b, 40)))
    return _bounded(a * b if isinstance(node, nodes.Mul) else a + b)


def _bounded(value: int) -> int:
    return max(-_MOST, min(_MOST, value))


def _figure(count: int) -> str:
    return f"{count}" if count < _MOST else "more than 10^12"
