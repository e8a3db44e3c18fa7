"""Text that comes from an artifact may be chosen by an attacker: nothing of it reaches a terminal
as a control sequence, nothing turns the line around, and nothing commands a runner."""

from __future__ import annotations

import re
import unicodedata

# GitHub's runner takes a line of any output that begins with the one, or holds the other, for a
# command to itself; those of Azure and TeamCity are called ##vso[ and ##teamcity[.
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#[a-z]{0,16}\[)", re.MULTILINE)
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, *, keep_lines: bool = False) -> str:
    """``text`` with control, format and bidirectional characters written as escapes, and what
    would be a command to a CI runner."""
    if not text.isprintable():  # else there is none of them, as in nearly every text
        text = "".join(
            c
            if (c == "\n" and keep_lines) or unicodedata.category(c) not in _UNSAFE
            else _escape(c)
            for c in text
        )
    return _COMMAND.sub(_as_text, text)


def _as_text(command: re.Match[str]) -> str:
    colon = command[0].endswith(":")
    return f"{command[1]}\\x3a" if colon else "\\x23"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def human_bytes(count: float) -> str:
    """``count`` bytes in the largest binary unit that keeps it at 1 or more."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
