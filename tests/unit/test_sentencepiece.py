"""Whether a tokenizer.model is whole, told from its outermost fields or its lines."""

from __future__ import annotations

import pytest

from weighbridge.domain.sentencepiece import pieces, pieces_problem


def _piece(text: bytes) -> bytes:
    """A message of SentencePiece's: the text, and a score."""
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15\0\0\x80\xbf"
    return b"\x0a" + bytes([len(inner)]) + inner


#: Pieces; then the trainer's settings, and fields of the other kinds.
WHOLE = b"".join(map(_piece, (b"<unk>", b"a", b"b"))) + b"\x12\x02\x0a\0\x18\x96\x01\x21" + bytes(8)
RANKS = b"AA== 0\nAQ== 1\nAAE= 2\n"


def test_what_is_whole() -> None:
    assert pieces_problem(WHOLE) == "" == pieces_problem(RANKS) == pieces_problem(RANKS.rstrip())


@pytest.mark.parametrize("end", range(1, len(WHOLE)))
def test_of_a_beginning_no_more_is_taken_for_whole_than_ends_a_field(end: int) -> None:
    ends = {len(WHOLE[:n]) for n in (14, 24, 34, 38, 41)}
    assert (pieces_problem(WHOLE[:end]) == "") == (end in ends)


@pytest.mark.parametrize(
    "raw",
    [b"\x12\x02\x0a\0", b"<!DOCTYPE html>", b"version https://git-lfs", b"\xff" * 20,
     b"\x0b\x01", RANKS + b"AAI", b"\x0a" + b"\xff" * 9 + b"\x01"],
)  # fmt: skip
def test_what_is_none(raw: bytes) -> None:
    assert pieces_problem(raw)


def test_each_piece_is_at_its_number() -> None:
    assert pieces(WHOLE) == ["<unk>", "a", "b"]
    assert pieces(RANKS) == pieces(b"\xff" * 20) == pieces(b"\x0a\x02\x15\0") == []
