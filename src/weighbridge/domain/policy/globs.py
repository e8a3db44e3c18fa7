"""Patterns of paths inside an artifact, as in a .gitignore without its negations."""

from __future__ import annotations

import re
from functools import lru_cache

_PIECES = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[[^]/]+\]|.", re.DOTALL)
_TRANSLATED = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matches(pattern: str, path: str) -> bool:
    """True if ``pattern`` fits the whole ``path``; one without a slash fits a file's name in any
    directory. The directory itself is '.'."""
    path = path or "."
    if "/" not in pattern:
        path = path.rpartition("/")[2]
    return _compiled(pattern).fullmatch(path) is not None


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
    return re.compile("".join(map(_translated, _PIECES.findall(pattern))), re.DOTALL)


def _translated(piece: str) -> str:
    if piece in _TRANSLATED:
        return _TRANSLATED[piece]
    if len(piece) > 1:
        inside = piece[1:-1].replace("\\", "\\\\")
        negated = inside.startswith(("!", "^")) and len(inside) > 1
        listed = inside[1:] if negated else inside
        return "[" + ("^/" if negated else "") + listed.replace("[", "\\[") + "]"
    return re.escape(piece)
