"""A tokenizer.model: SentencePiece's protocol buffer, or tiktoken's lines.

Whether it is whole, its outermost fields tell: a file that was cut off, or is another, shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECES = 1
_TEXT = 0x0A  # field 1, of a length
_RANKED = re.compile(rb"[A-Za-z0-9+/]+=* \d+")
_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5


def pieces_problem(raw: bytes) -> str:
    """What is wrong with a tokenizer.model, in the words of a finding; '' if nothing is seen."""
    first, _, rest = raw.partition(b"\n")
    if _RANKED.fullmatch(first):
        last = rest.rstrip(b"\n").rpartition(b"\n")[2]
        return "" if not last or _RANKED.fullmatch(last) else "is cut off in a line of tiktoken's"
    try:
        keys, _, ends = zip(*_fields(raw), strict=True)
    except (IndexError, ValueError):
        return "is no SentencePiece model, or only the beginning of one"
    if ends[-1] > len(raw):
        return "is cut off: it is the beginning of a SentencePiece model"
    return "" if _PIECES in keys else "is no SentencePiece model: it has no pieces"


def pieces(raw: bytes) -> list[str]:
    """The pieces of a SentencePiece model, each at its number; none if it is not sound."""
    if _RANKED.match(raw):
        return []
    try:
        return [_piece(raw, at) for key, at, _ in _fields(raw) if key == _PIECES]
    except (IndexError, ValueError):
        return []


def _piece(raw: bytes, at: int) -> str:
    """The text, which every writer puts first."""
    if raw[at] != _TEXT:
        raise ValueError(raw[at])
    size, at = _varint(raw, at + 1)
    return raw[at : at + size].decode("utf-8", "replace")


def _fields(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Number of each field, where its value begins and where it ends. Raises IndexError or
    ValueError."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        begin, at = _value(raw, at, key & 7)
        yield key >> 3, begin, at


def _value(raw: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == _SIZED:
        size, at = _varint(raw, at)
        return at, at + size
    if kind == _VARINT:
        return at, _varint(raw, at)[1]
    if kind in (_EIGHT, _FOUR):
        return at, at + (8 if kind == _EIGHT else 4)
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
