"""Text that comes from an artifact may be chosen by an attacker: nothing of it reaches a terminal
as a control sequence, and nothing turns the line around."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, *, keep_lines: bool = False) -> str:
    """``text`` with control, format and bidirectional characters written as escapes."""
    return "".join(
        c if (c == "\n" and keep_lines) or unicodedata.category(c) not in _UNSAFE else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def human_bytes(count: float) -> str:
    """``count`` bytes in the largest binary unit that keeps it at 1 or more."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
