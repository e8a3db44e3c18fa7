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


@lru_cache(maxsize=256)
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
