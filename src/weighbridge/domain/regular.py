"""Regular expressions of strangers: which of them can take for ever, without running any."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

_QUANTIFIER = re.compile(r"[*+]|\{(\d*)(,?)(\d*)\}")
#: A repeat of up to so many times is bounded enough.
_FEW = 10
_LONGEST = 2000


def backtracks(pattern: str) -> bool:
    """True if ``repeats_a_repeat``, or chains many repeats of anything; or if Python cannot compile
    it, or it is longer than anybody writes.

    Errs on the side of True: whoever means names can list them.
    """
    if len(pattern) > _LONGEST:
        return True
    try:
        with warnings.catch_warnings():  # of spellings that will mean something else one day
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return True
    return repeats_a_repeat(pattern) or _chained(pattern)


def repeats_a_repeat(pattern: str) -> bool:
    """True if it repeats, without bound, a group that itself repeats or has a choice of beginnings.

    Of any dialect: nothing is compiled.
    """
    open_groups: list[bool] = []  # whether each open group holds a repeat or a choice
    ended: bool | None = None  # what the group that has just ended holds
    for kind in _tokens(pattern):
        if kind == "(":
            open_groups.append(False)
            ended = None
        elif kind == ")":
            ended = open_groups.pop() if open_groups else False
            if open_groups and ended:
                open_groups[-1] = True
        elif kind == "*":
            if ended:
                return True
            if open_groups:
                open_groups[-1] = True
            ended = None
        else:
            if kind == "|" and open_groups:
                open_groups[-1] = True
            ended = None
    return False


def _chained(pattern: str) -> bool:
    """True for many unbounded repeats in a row of what can stand for the same: .*.*.*."""
    return len(re.findall(r"\.[*+]|\\[wWSD][*+]|\[\^[^\]]{1,40}\][*+]", pattern)) > 6


def _tokens(pattern: str) -> Iterator[str]:
    """'(' and ')' of groups, '|', '*' for each repeat without a small bound, '.' for the rest."""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 2
            yield "."
        elif char == "[":
            at = _after_class(pattern, at)
            yield "."
        elif char in "()|":
            at += 1
            yield char
        elif found := _QUANTIFIER.match(pattern, at):
            at = found.end()
            yield "*" if _many(found) else "."
        else:
            at += 1
            yield "."


def _many(found: re.Match[str]) -> bool:
    if found.group() in ("*", "+"):
        return True
    least, comma, most = found.groups()
    bound = most if comma else least
    return not bound or int(bound[:6] or 0) > _FEW


def _after_class(pattern: str, at: int) -> int:
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
