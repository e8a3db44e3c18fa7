"""Patterns of paths inside an artifact, as in a .gitignore without its negations."""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import field, frozen

_PIECES = re.compile(r"\*+|\?|\[[^]/]+\]|.", re.DOTALL)


@frozen
class Globs:
    """Several patterns, asked all at once: of a policy there may be thousands."""

    patterns: tuple[str, ...]
    _any: re.Pattern[str] = field(init=False, eq=False, repr=False)

    @_any.default
    def _of_all(self) -> re.Pattern[str]:
        return re.compile("|".join(map(_translated, self.patterns)), re.DOTALL)

    def first(self, path: str) -> str | None:
        """The first that fits the whole ``path``; None if none does."""
        if not self.patterns or self._any.fullmatch(path or ".") is None:
            return None
        return next(pattern for pattern in self.patterns if matches(pattern, path))


def matches(pattern: str, path: str) -> bool:
    """True if ``pattern`` fits the whole ``path``; one without a slash fits a file's name in any
    directory. The directory itself is '.'."""
    return _compiled(pattern).fullmatch(path or ".") is not None


def problem_with(pattern: str) -> str | None:
    """Why a pattern fits no path at all; None if it may fit one. What fits nothing was meant
    otherwise, and would be taken for a rule that is in force."""
    if pattern.startswith("!"):
        return "begins with !, and there are no exceptions from a pattern; list what is meant"
    if pattern.startswith("/") or re.match(r"[A-Za-z]:", pattern):
        return "is absolute; paths are inside the artifact, from its own directory"
    if "\\" in pattern:
        return "holds a backslash; paths are written with /"
    if pattern != "." and any(part in ("", ".", "..") for part in pattern.split("/")):
        return "has an empty part, '.' or '..', as no path in an artifact; DIR/** is all in DIR"
    try:
        _compiled(pattern)
    except re.error as error:
        return f"is no pattern: {error}"
    return None


@lru_cache(maxsize=8192)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_translated(pattern), re.DOTALL)


def _translated(pattern: str) -> str:
    """Whatever stands between two wildcards is best where it fits first, and never elsewhere once
    it was found: so the groups are atomic, as those of ``fnmatch``, and no name takes long."""
    parts = pattern.split("/") if "/" in pattern else ["**", pattern]
    runs: list[list[str]] = [[]]
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(_segment(part))
    first, *others = runs
    if not others:
        return "/".join(first)
    # Nothing after the last ** is any file below, and so one name more.
    last = "/".join(others.pop() or [_segment("*")])
    between = "".join(f"(?>(?:[^/]+/)*?{'/'.join(run)}/)" for run in others if run)
    return "".join(f"{part}/" for part in first) + between + "(?:[^/]+/)*" + last


def _segment(part: str) -> str:
    chunks: list[str] = [""]
    for piece in _PIECES.findall(part):
        if piece.startswith("*"):
            chunks.append("")
        else:
            chunks[-1] += _one(piece)
    first, *others = chunks
    if not others:
        return first
    last = others.pop()
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in others if chunk) + "[^/]*" + last


def _one(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if len(piece) > 1:
        inside = piece[1:-1].replace("\\", "\\\\")
        negated = inside.startswith(("!", "^")) and len(inside) > 1
        listed = inside[1:] if negated else inside
        return "[" + ("^/" if negated else "") + listed.replace("[", "\\[") + "]"
    return re.escape(piece)
