"""Texts as a reader has them back: characters written by their numbers, and what base64 wraps."""

from __future__ import annotations

import re
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from attrs import field, frozen

#: What stands for one character, or several in a row, by the sign that it begins with: of JSON,
#: Python and YAML, of addresses and of HTML.
_NUMBERED = {
    b"\\": re.compile(
        rb"\\(?:u00[2-7][0-9A-Fa-f](?:\\u00[2-7][0-9A-Fa-f])*"
        rb"|x[2-7][0-9A-Fa-f](?:\\x[2-7][0-9A-Fa-f])*)"
    ),
    b"%": re.compile(rb"%[2-7][0-9A-Fa-f](?:%[2-7][0-9A-Fa-f])*"),
    b"&": re.compile(rb"&#(?:[xX][2-7][0-9A-Fa-f]|0?(?:4[5-9]|[5-9]\d|1[01]\d|12[0-2]));"),
}
#: So many different ones are put in place one after the other, which is sooner done.
_FEW = 64
#: Runs of one character are remembered; long ones may be as large as a file.
_SINGLE = 6
#: What JSON and Markdown write with another before it, and what is not shown.
_PRECEDED = (
    *((b"\\" + sign, sign) for sign in (b"/", b"_", b"-")),
    *((before + b'"', b'"') for before in (b"\\\\\\", b"\\")),  # JSON within JSON
)
_UNSEEN = tuple(sign.encode() for sign in "\u200b\u200c\u200d\u2060\ufeff\xad")
#: The alphabets of base64 become x. What wraps fewer than 30 characters is not looked into: names
#: and digests of that length are everywhere.
WORDS = bytes(
    0x78 if chr(c).isascii() and (chr(c).isalnum() or chr(c) in "+/_-") else 0x20
    for c in range(256)
)
_LEAST_WRAPPED = 40
_STANDARD = bytes.maketrans(b"-_", b"+/")


def unescaped(text: bytes) -> bytes:
    """The characters that JSON, HTML, addresses and Markdown write by their numbers, or with
    another before them; without those that are not shown. Lines stay as they are."""
    for written, meant in _PRECEDED if b"\\" in text else ():
        text = text.replace(written, meant)
    for unseen in () if text.isascii() else _UNSEEN:
        text = text.replace(unseen, b"")
    for sign, form in _NUMBERED.items():
        if sign in text:  # A single sign is found many times faster than a form.
            text = _in_place(form, text)
    return text


def _in_place(form: re.Pattern[bytes], text: bytes) -> bytes:
    runs = set(form.findall(text))
    if len(runs) > _FEW:
        return form.sub(_characters, text)
    # The longest first: one may be the beginning of another.
    for run in sorted(runs, key=lambda run: (-len(run), run)):
        text = text.replace(run, _read(run))
    return text


def _characters(match: re.Match[bytes]) -> bytes:
    run = match[0]
    return _one(run) if len(run) <= _SINGLE else _read(run)


def _read(run: bytes) -> bytes:
    if run.startswith(b"&"):
        number = run[2:-1]
        return bytes([int(number[1:], 16) if number[:1] in b"xX" else int(number)])
    numbers = run
    for written in (b"\\u00", b"\\x", b"%"):
        numbers = numbers.replace(written, b"")
    return bytes.fromhex(numbers.decode())


_one = lru_cache(4096)(_read)


@frozen
class Unwrapped:
    """What the runs of base64 in a text hold, a line for each."""

    text: bytes
    _sizes: list[int] = field(alias="sizes", repr=False)
    _places: list[int] = field(alias="places", repr=False)

    def place(self, at: int) -> int:
        """Where in the text the run begins that ``at`` is of."""
        ends = list(accumulate(size + 1 for size in self._sizes))
        return self._places[bisect_right(ends, at)]


def long_words(text: bytes, least: int) -> Iterator[tuple[int, int]]:
    """From where to where each word goes that has so many letters; spaces are between them, and
    each letter is an x."""
    word = b"x" * least
    start = text.find(word)
    while start >= 0:
        end = text.find(b" ", start)
        end = len(text) if end < 0 else end
        yield start, end
        start = text.find(word, end)


def unwrapped(text: bytes) -> Unwrapped | None:
    """Every long run of base64's letters, decoded; None if there is none."""
    places = list(long_words(text.translate(WORDS), _LEAST_WRAPPED))
    if not places:
        return None
    letters = text.translate(_STANDARD)
    runs = [letters[start : end - ((end - start) % 4 == 1)] for start, end in places]
    # Digests and names are of small letters, and no wrapped text is.
    parts = [b"" if run.islower() else a2b_base64(run + b"==") for run in runs]
    return Unwrapped(b"\n".join(parts), list(map(len, parts)), [start for start, _ in places])
