"""What of a conversation a template shows, and whether it begins an answer: from its tree alone.

Each expression is a whole message or several (``_WHOLE``), what one says (``_SAID``), or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from attrs import define, field
from jinja2 import nodes

from weighbridge.adapters.jinja_templates.tree import walk
from weighbridge.domain.templates import Hazard
from weighbridge.domain.tokenizer import TURN_ENDS

_NEITHER, _WHOLE, _SAID = range(3)
_COUNTS = frozenset({"length", "count"})
#: Filters that give something else than messages for messages.
_REGROUPING = frozenset({"groupby", "items", "dictsort", "tojson", "string"})
_MOST_ROUNDS = 8


def showing_hazards(tree: nodes.Template, text: str) -> Iterator[Hazard]:
    """CT012 if nothing that a message says is put out,
    CT014 if the answer is never asked for. Raises RecursionError for expressions of hundreds of
    operations."""
    every = list(walk(tree))
    names = {node.name for node in every if isinstance(node, nodes.Name)}
    macros = {node.name: node for node in every if isinstance(node, nodes.Macro)}
    if "messages" not in names:
        yield Hazard("CT012", "does not look at messages")
    elif not _Flow(every, macros).shown():
        yield Hazard("CT012", "puts out nothing of what a message says")
    ends = sorted(end for end in TURN_ENDS if end in text)
    if ends and "add_generation_prompt" not in names and not _begins_answer(tree):
        yield Hazard(
            "CT014", f"ends turns with {ends[0]}, and never looks at add_generation_prompt"
        )


@define
class _Flow:
    """``held`` is what each variable may hold, of namespaces each attribute by itself."""

    every: Sequence[nodes.Node]
    macros: Mapping[str, nodes.Macro]
    held: dict[str, int] = field(factory=lambda: {"messages": _WHOLE})
    _judged: dict[int, int] = field(factory=dict, init=False)

    def shown(self) -> bool:
        """True if some output may hold what a message says."""
        for _ in range(_MOST_ROUNDS):
            before = dict(self.held)
            self._judged.clear()
            for node in self.every:
                self._bind(node)
            if self.held == before:
                outputs = (node for node in self.every if isinstance(node, nodes.Output))
                return any(self._of(part) for output in outputs for part in output.nodes)
        return True  # It is handed on too often to be followed.

    def _bind(self, node: nodes.Node) -> None:
        match node:
            case nodes.For(target=target, iter=source) | nodes.Assign(target=target, node=source):
                self._hold(target, self._of(source))
            case nodes.Call(node=nodes.Name(name=name), args=args, kwargs=named):
                macro = self.macros.get(name)
                for parameter, given in zip(macro.args if macro else (), args, strict=False):
                    self._hold(parameter, self._of(given))
                for keyword in named if macro or name == "namespace" else ():
                    self._add(keyword.key, self._of(keyword.value))
            case nodes.Call(node=nodes.Getattr(node=nodes.Name(name=name)), args=args):
                self._add(name, _SAID if self._any(args) else _NEITHER)  # as list.append

    def _hold(self, target: nodes.Node, what: int) -> None:
        match target:
            case nodes.Tuple(items=items):
                for item in items:
                    self._hold(item, _SAID if what else _NEITHER)
            case nodes.Name(name=name) | nodes.NSRef(attr=name):
                self._add(name, what)

    def _add(self, name: str, what: int) -> None:
        self.held[name] = max(self.held.get(name, _NEITHER), what)

    def _of(self, node: nodes.Node | None) -> int:
        """What it may be. Asked of each node once in a round: they lie in each other."""
        known = self._judged.get(id(node))
        if known is None:
            known = self._judged[id(node)] = self._judge(node)
        return known

    def _judge(self, node: nodes.Node | None) -> int:
        match node:
            case nodes.Name(name=name):
                return self.held.get(name, _NEITHER)
            case (
                nodes.Getattr(node=inner, attr=str(key))
                | nodes.Getitem(node=inner, arg=nodes.Const(value=str(key)))
            ):
                return max(self._part(self._of(inner), key), self.held.get(key, _NEITHER))
            case nodes.Call(node=nodes.Getattr(node=inner, attr=method), args=args):
                return max(self._called(self._of(inner), method, args), self._any(args))
            case nodes.Call(node=nodes.Name(name=name)) if name in self.macros:
                return _NEITHER  # What it puts out is an output of its own.
            case nodes.Filter(name=name) if name in _COUNTS:
                return _NEITHER
            case nodes.Filter(node=inner, name=name) if name in _REGROUPING:
                return _SAID if self._of(inner) else _NEITHER
            case nodes.Filter(node=inner, name="map", kwargs=named) if named:
                keys = [k.value.value for k in named if isinstance(k.value, nodes.Const)]
                return self._part(self._of(inner), str(keys[0]) if keys else "content")
            case nodes.CondExpr(expr1=first, expr2=second):
                return max(self._of(first), self._of(second))
            case nodes.Compare() | nodes.Test() | nodes.Not() | nodes.TemplateData() | None:
                return _NEITHER
        return self._any(node.iter_child_nodes())

    def _any(self, parts: Iterable[nodes.Node]) -> int:
        return max(map(self._of, parts), default=_NEITHER)

    @staticmethod
    def _part(whole: int, key: str) -> int:
        """What an attribute or item of that name is."""
        return _SAID if whole == _SAID or (whole and key == "content") else _NEITHER

    def _called(self, whole: int, method: str, args: Sequence[nodes.Expr]) -> int:
        if whole == _WHOLE and method == "get":
            key = args[0] if args else None
            return self._part(whole, str(key.value)) if isinstance(key, nodes.Const) else _SAID
        return _SAID if whole else _NEITHER


def _begins_answer(tree: nodes.Template) -> bool:
    """True if there is always a text behind the last turn: the answer's beginning."""
    behind = takewhile(lambda node: not isinstance(node, nodes.For), reversed(tree.body))
    parts = (p for n in behind if isinstance(n, nodes.Output) for p in n.nodes)
    return any(not isinstance(p, nodes.TemplateData) or p.data.strip() for p in parts)
