"""JSON as a gate must read it. ``json.loads`` keeps the last of duplicate keys, takes NaN and lone
surrogates, and raises RecursionError or a bare ValueError on hostile input."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

MAX_DEPTH = 100
#: transformers writes a model_max_length of 31 digits.
_MAX_INT_DIGITS = 40
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Every digit becomes 0, so that a long number is found as a string.
DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")


class StrictJsonError(ValueError):
    """A document that is refused; ``code`` is the rule's code, ``detail`` says what and where."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code} {detail}")


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``. Raises as ``parse_strictly``, and JS006 for any other value."""
    value = parse_strictly(raw)
    if not isinstance(value, dict):
        raise StrictJsonError("JS006", f"holds a {type(value).__name__}, not an object")
    return value


def parse_strictly(raw: bytes) -> Any:
    """The JSON value in ``raw``.

    Raises StrictJsonError: JS001 syntax, JS002 duplicate key, JS003 NaN or Infinity, JS004 number
    too large, JS005 too deep, JS007 encoding.
    """
    value, strings = parse_unwalked(raw)
    # A key that came twice is then one string too few in the value, and the slow hook is for the
    # text that lacks one.
    if _check_tree(value, surrogates=_SURROGATE.search(raw) is not None) != strings:
        _parse(raw, _no_duplicates)
    return value


def parse_unwalked(raw: bytes) -> tuple[Any, int]:
    """The JSON value in ``raw``, and how many strings its text holds, keys among them.

    Raises StrictJsonError as ``parse_strictly``, but not for duplicate keys, depth, and surrogates.
    There are none if the value holds as many strings, no deeper than that, and no backslash is in
    the text.
    """
    return _parse(raw, None), _quotes(raw) // 2  # every quote begins or ends a string


def _quotes(raw: bytes) -> int:
    """How many of those in a JSON text are none of a string's own."""
    raw = raw.replace(b"\\\\", b"") if b"\\\\" in raw else raw
    return raw.count(b'"') - raw.count(b'\\"')


def _holds_odd_integers(raw: bytes) -> bool:
    """True if the hook for integers is needed; without it they cost next to nothing."""
    longest = b"0" * (_MAX_INT_DIGITS + 1)
    return b"-0" in raw or longest in raw.translate(DIGITS_ALIKE)


def _parse(raw: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    try:
        return json.loads(
            _decode(raw),
            object_pairs_hook=pairs,
            parse_constant=_no_constant,
            parse_int=_bounded_int if _holds_odd_integers(raw) else None,
            parse_float=_finite_float,
        )
    except RecursionError:
        raise StrictJsonError("JS005", "nested too deeply to be parsed") from None
    except json.JSONDecodeError as error:
        detail = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise StrictJsonError("JS001", detail) from None


def _decode(raw: bytes) -> str:
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise StrictJsonError("JS007", "begins with a byte order mark")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJsonError("JS007", f"is not UTF-8 at byte {error.start}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise StrictJsonError("JS002", f"has the key {twice!r} twice")
    return table


def _no_constant(literal: str) -> NoReturn:
    raise StrictJsonError("JS003", f"holds {literal}, which is not JSON")


def _bounded_int(digits: str) -> int | float:
    if len(digits.lstrip("-")) > _MAX_INT_DIGITS:
        raise StrictJsonError("JS004", f"holds an integer of {len(digits)} digits")
    return int(digits) if digits != "-0" else -0.0  # as every other reader has it


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise StrictJsonError("JS004", f"holds {digits[:24]}, which is out of range")
    return value


def _check_tree(value: Any, *, surrogates: bool) -> int:
    """How many strings the value holds, keys among them."""
    level, depth, strings = [value], 0, 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise StrictJsonError("JS005", f"is nested more than {MAX_DEPTH} deep")
        types = list(map(type, level))
        kinds = set(types)  # most levels are large and of one kind
        tables = [n for n in level if type(n) is dict] if dict in kinds else []
        lists = [n for n in level if type(n) is list] if list in kinds else []
        strings += sum(map(len, tables))
        strings += types.count(str) if str in kinds else 0
        if surrogates:
            own = (n for n in level if type(n) is str)
            _check_encodable("".join(chain(own, chain.from_iterable(tables))))
        level = list(chain.from_iterable(chain(map(dict.values, tables), lists)))
    return strings


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StrictJsonError("JS007", "holds a lone surrogate") from None
