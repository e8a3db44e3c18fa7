"""How text for people is laid out: columns, wrapped to the terminal if there is one, and counts.

What comes in is escaped here, so that no renderer can forget it.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from weighbridge.entrypoints.render.escape import human_bytes, visible

_LEAST_COLUMNS = 30


def pairs(rows: Iterable[tuple[str, str]], indent: str = "  ") -> Iterator[str]:
    """Names, dimmed, and what they stand for, in two columns."""
    listed = [(visible(name), visible(value)) for name, value in rows]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        first, *rest = wrapped(value, len(indent) + width + 2)
        yield f"{indent}{dim(f'{name:<{width}}')}  {first}".rstrip()
        yield from (" " * (len(indent) + width + 2) + line for line in rest)


def sizes(rows: Iterable[tuple[str, int]], indent: str = "  ") -> Iterator[str]:
    """Names of files and their sizes in bytes, which end below each other."""
    listed = [(visible(name), human_bytes(size)) for name, size in rows]
    width = max((len(name) for name, _ in listed), default=0)
    wide = max((len(size) for _, size in listed), default=0)
    for name, size in listed:
        yield f"{indent}{name:<{width}}  {size:>{wide}}"


def wrapped(text: str, indent: int) -> list[str]:
    """``text`` in lines that fit beside an indent; one line if nobody sees it, for grep's sake."""
    columns = shutil.get_terminal_size().columns - indent if _on_terminal() else 0
    if columns < _LEAST_COLUMNS:
        return [text]
    return textwrap.wrap(text, columns, break_on_hyphens=False, break_long_words=False) or [""]


def _on_terminal() -> bool:
    # None under ``>&-``.
    return sys.stdout is not None and sys.stdout.isatty()


def item(text: str, indent: str = "  ") -> str:
    """One line of a list; what does not fit goes on below it, further in."""
    first, *rest = wrapped(visible(text), len(indent) + 2)
    return "\n".join([indent + first, *(f"{indent}  {line}" for line in rest)])


def dim(text: str) -> str:
    """What is there but not to be read first."""
    return click.style(text, dim=True)


def counted(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours drawn together: ``0-3, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
