"""Whether a tokenizer.model is whole: SentencePiece's protocol buffer, or tiktoken's lines.

Its outermost fields are walked, no piece is read: a file that was cut off, or is another, shows.
"""

from __future__ import annotations

import re

_PIECES = 1
_RANKED = re.compile(rb"[A-Za-z0-9+/]+=* \d+")
_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5


def pieces_problem(raw: bytes) -> str:
    """What is wrong with a tokenizer.model, in the words of a finding; '' if nothing is seen."""
    first, _, rest = raw.partition(b"\n")
    if _RANKED.fullmatch(first):
        last = rest.rstrip(b"\n").rpartition(b"\n")[2]
        return "" if not last or _RANKED.fullmatch(last) else "is cut off in a line of tiktoken's"
    try:
        at, pieces = 0, 0
        while at < len(raw):
            key, at = _varint(raw, at)
            at = _after(raw, at, key & 7)
            pieces += key >> 3 == _PIECES
    except (IndexError, ValueError):
        return "is no SentencePiece model, or only the beginning of one"
    if at > len(raw):
        return "is cut off: it is the beginning of a SentencePiece model"
    return "" if pieces else "is no SentencePiece model: it has no pieces"


def _after(raw: bytes, at: int, kind: int) -> int:
    """Where the field ends whose value begins at ``at``."""
    if kind == _SIZED:
        size, at = _varint(raw, at)
        return at + size
    if kind == _VARINT:
        return _varint(raw, at)[1]
    if kind in (_EIGHT, _FOUR):
        return at + (8 if kind == _EIGHT else 4)
    raise ValueError(kind)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends. Raises IndexError or ValueError."""
    value = 0
    for place in range(10):
        byte = raw[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("too long")
