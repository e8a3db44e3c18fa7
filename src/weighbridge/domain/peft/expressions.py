"""Matches regular expressions of strangers against names, in a time that is bounded.

Python's own engine tries every way to match, of which an expression can have more than anybody can
wait for. One with few ways is left to it. Any other is followed here by all ways at once: each
place in the expression meets each place in the text once, which is all that a yes or no needs.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeAlias

from attrs import define, field, frozen

_LONGEST = 100_000
_MOST_PLACES = 10_000
_MOST_KEPT = 8192
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: As many ways go in the time of one step here.
_WAYS_PER_STEP = 50
_FEW_WAYS = 100_000
#: The flags that change what a single character matches.
_ALTERING = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.ASCII | re.LOCALE
# What an expression consists of is nowhere else to be had, and has been the same since 3.11.
_parser = import_module("re._parser")
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda c: not c.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda c: not c.isspace(),
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
    "CATEGORY_NOT_WORD": lambda c: not (c.isalnum() or c == "_"),
}
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
#: An instruction: what it does, and with what.
_Step: TypeAlias = tuple[str, Any]


class Unfollowed(ValueError):
    """An expression that is none, or that cannot be followed in a bounded time; the text says
    why."""

    def __str__(self) -> str:
        return str(self.args[0])


@define
class Effort:
    """What may be spent on one question, in steps of about half a microsecond.

    Raises Unfollowed once it is spent.
    """

    left: int = 20_000

    def spend(self, steps: int) -> None:
        """Take so many off."""
        self.left -= steps
        if self.left < 0:
            raise Unfollowed("takes too long to match")


@frozen
class Expression:
    """One that was compiled."""

    compiled: re.Pattern[str]
    tree: Any = field(repr=False)

    def matches(self, text: str, starts: Sequence[int], effort: Effort) -> bool:
        """True if it takes all of ``text`` from one of ``starts`` on. Raises Unfollowed."""
        ways = _ways_in(self.compiled.pattern, len(text)) * len(starts)
        if ways > _FEW_WAYS:
            return _run(_program(self.compiled.pattern), text, starts, effort, len(text))
        effort.spend(1 + int(ways) // _WAYS_PER_STEP)
        return any(self.compiled.fullmatch(text, at) for at in starts)

    def first_group(self, text: str, effort: Effort) -> str | None:
        """What its first group holds, if it takes a beginning of ``text``. Raises Unfollowed."""
        ways = min(_ways_in(self.compiled.pattern, len(text)), 1e9)
        effort.spend(1 + int(ways) // _WAYS_PER_STEP)
        found = self.compiled.match(text)
        return found[1] if found else None


@lru_cache(_MOST_KEPT)
def expression(pattern: str) -> Expression:
    """Raises Unfollowed."""
    if len(pattern) > _LONGEST:
        raise Unfollowed(f"has {len(pattern)} characters")
    try:
        with warnings.catch_warnings():  # of spellings that will mean something else one day
            warnings.simplefilter("ignore")
            return Expression(re.compile(pattern), _parser.parse(pattern))
    except re.error as error:
        raise Unfollowed(f"is no regular expression: {error}") from error
    except (RecursionError, OverflowError) as error:
        raise Unfollowed("is nested too deeply, or repeats too often") from error


@frozen
class Patterns:
    """Expressions in an order. Most are the names of modules, of which there may be thousands:
    those are looked up, by what they have at the places where no point is."""

    names: Mapping[str, int]
    points: Mapping[int, frozenset[tuple[int, ...]]]
    others: tuple[tuple[int, str], ...]

    def first(self, text: str, starts: Sequence[int]) -> int | None:
        """Which is the first to take all of ``text`` from one of ``starts`` on. Raises
        Unfollowed, whose second argument is the expression."""
        found = min(self._named(text, starts), default=None)
        effort = Effort()
        for number, pattern in self.others:
            if found is not None and number > found:
                break
            try:
                if expression(pattern).matches(text, starts, effort):
                    return number
            except Unfollowed as problem:
                raise Unfollowed(str(problem), pattern) from problem
        return found

    def _named(self, text: str, starts: Sequence[int]) -> Iterator[int]:
        for start in starts:
            for places in self.points.get(len(text) - start, ()):
                signs = list(text[start:])
                for place in places:
                    signs[place] = "."
                if (number := self.names.get("".join(signs))) is not None:
                    yield number


@lru_cache(4)
def patterns(keys: tuple[str, ...]) -> Patterns:
    """Those expressions, in their order."""
    names: dict[str, int] = {}
    points: dict[int, set[tuple[int, ...]]] = {}
    others = []
    for number, key in enumerate(keys):
        if not _NAME.fullmatch(key):
            others.append((number, key))
            continue
        names.setdefault(key, number)
        places = tuple(at for at, sign in enumerate(key) if sign == ".")
        points.setdefault(len(key), set()).add(places)
    return Patterns(names, {n: frozenset(each) for n, each in points.items()}, tuple(others))


@lru_cache(1 << 16)
def _ways_in(pattern: str, length: int) -> float:
    return _ways(expression(pattern).tree, length)


def _ways(tree: Any, length: int) -> float:
    """At most so many steps take Python's engine to match a text of that length."""
    ways, longest = 1.0, 1.0
    for op, value in tree:
        more, size = _ways_of(str(op), value, length)
        ways, longest = ways * more, longest + size
    return ways * (1 + longest / _WAYS_PER_STEP)


def _ways_of(op: str, value: Any, length: int) -> tuple[float, float]:
    """How often the engine may come back to it for another way, and how long one way is."""
    if op == "BRANCH":
        return sum(_ways(each, length) for each in value[1]), 1
    if op in ("SUBPATTERN", "ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"):
        return _ways(value if op == "ATOMIC_GROUP" else value[-1], length), 1
    if op == "GROUPREF_EXISTS":
        return sum(_ways(each, length) for each in value[1:] if each is not None), 1
    if op not in (*_REPEATS, "POSSESSIVE_REPEAT"):
        return 1, 1
    least, most, body = value
    inner = _ways(body, length)
    most = min(most, max(length, least))
    if len(body) == 1 and str(body[0][0]) in ("ANY", "IN", "LITERAL", "NOT_LITERAL"):
        return most - least + 1, 1
    if most <= 1:
        return 1 + inner, 1
    return (math.inf, 1) if inner > 2 or most > 1000 else (inner**most, most)


@lru_cache(64)
def _program(pattern: str) -> tuple[_Step, ...]:
    tree = expression(pattern).tree
    if tree.state.flags & _ALTERING:
        raise Unfollowed("has flags and too many ways to match")
    return (*_Program().of(tree), ("end", None))


@define
class _Program:
    """Writes a tree as instructions, of which ``fork`` and ``jump`` name others by their
    distance."""

    written: int = 0

    def of(self, tree: Any) -> list[_Step]:
        steps: list[_Step] = []
        for op, value in tree:
            steps += self._one(str(op), value)
        return steps

    def _count(self, more: int) -> None:
        self.written += more
        if self.written > _MOST_PLACES:
            raise Unfollowed("is too large")

    def _one(self, op: str, value: Any) -> list[_Step]:
        self._count(1)
        if op in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return [("char", _accepts(op, value))]
        if op == "AT":
            return [("at", str(value))]
        if op == "SUBPATTERN" and not (value[1] or value[2]):
            return self.of(value[3])
        if op == "BRANCH":
            return self._branch([self.of(each) for each in value[1]])
        if op in _REPEATS:
            return self._repeat(*value)
        if op in ("ASSERT", "ASSERT_NOT"):
            direction, tree = value
            back = None if direction > 0 else tree.getwidth()[0]
            return [("look", (op == "ASSERT", back, (*self.of(tree), ("end", None))))]
        raise Unfollowed(f"has too many ways to match, and {op.lower()}")

    def _branch(self, branches: list[list[_Step]]) -> list[_Step]:
        *first, steps = branches
        for branch in reversed(first):
            self._count(2)
            steps = [("fork", len(branch) + 2), *branch, ("jump", len(steps) + 1), *steps]
        return steps

    def _repeat(self, least: int, most: int, tree: Any) -> list[_Step]:
        steps: list[_Step] = []
        body = self.of(tree)
        if not body:
            return steps
        self._count(len(body) * least)
        steps += body * least
        if most is _parser.MAXREPEAT:
            return [*steps, ("fork", len(body) + 2), *body, ("jump", -len(body) - 1)]
        self._count((len(body) + 1) * (most - least))
        for left in range(most - least, 0, -1):
            steps += [("fork", (len(body) + 1) * left), *body]
        return steps


def _accepts(op: str, value: Any) -> Callable[[str], bool]:
    if op == "ANY":
        return lambda c: c != "\n"
    if op == "IN":
        negated = str(value[0][0]) == "NEGATE"
        parts = [_accepts(str(kind), each) for kind, each in value[negated:]]
        return lambda c: any(part(c) for part in parts) is not negated
    if op == "RANGE":
        first, last = value
        return lambda c: first <= ord(c) <= last
    if op == "CATEGORY":
        return _CATEGORIES[str(value)]
    return lambda c: (ord(c) == value) is (op == "LITERAL")


def _run(
    program: Sequence[_Step], text: str, starts: Sequence[int], effort: Effort, end: int | None
) -> bool:
    """True if it takes the text from one of ``starts`` to ``end``, or to anywhere if that is
    None."""
    seen: set[tuple[int, int]] = set()
    pending = [(0, start) for start in starts]
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        effort.spend(1)
        at, where = place
        op, value = program[at]
        if op == "end":
            if end is None or where == end:
                return True
            continue
        pending += _next(op, value, at, where, text, effort)
    return False


def _next(
    op: str, value: Any, at: int, where: int, text: str, effort: Effort
) -> Iterator[tuple[int, int]]:
    if op == "jump":
        yield at + value, where
    elif op == "fork":
        yield at + 1, where
        yield at + value, where
    elif op == "char":
        if where < len(text) and value(text[where]):
            yield at + 1, where + 1
    elif _holds(op, value, where, text, effort):
        yield at + 1, where


def _holds(op: str, value: Any, where: int, text: str, effort: Effort) -> bool:
    """True if what takes no character holds there."""
    if op == "at":
        return _PLACES[value].match(text, where) is not None
    wanted, back, program = value
    if back is None:
        found = _run(program, text, [where], effort, None)
    else:
        found = where >= back and _run(program, text, [where - back], effort, where)
    return found is bool(wanted)


_PLACES = {
    "AT_BEGINNING": re.compile("^"),
    "AT_BEGINNING_STRING": re.compile(r"\A"),
    "AT_END": re.compile("$"),
    "AT_END_STRING": re.compile(r"\Z"),
    "AT_BOUNDARY": re.compile(r"\b"),
    "AT_NON_BOUNDARY": re.compile(r"\B"),
}
