"""What pickle writes is told from what people write, in every protocol."""

from __future__ import annotations

import collections
import datetime
import decimal
import pathlib
import pickle
import pickletools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from weighbridge.domain.contents import Family
from weighbridge.domain.file_forms import EDGE, recognise

_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.decimals() | st.dates() | st.sampled_from([len, np.float32(1), pathlib.Path("x"), 2j])
)  # fmt: skip
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    | st.lists(inner, min_size=1).map(tuple) | st.sets(st.integers()),
    max_leaves=20,
)  # fmt: skip
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)
#: Lines that begin as opcodes do, and a full stop at the end.
LINES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="\0\x0b\x0c\r"), max_size=20)
    | st.sampled_from(["could", "should", "Right", "import os", "(see", "I1", "cap", "p0", "S'a'"]),
    min_size=1,
)


def is_pickle(raw: bytes) -> bool:
    form = recognise(raw[:EDGE], raw[-EDGE:])
    return form is not None and form.family is Family.PICKLE


def loads(text: bytes) -> bool:
    """If an unpickler takes it, or comes as far as to call something."""
    called = []

    class Watched(pickle._Unpickler):  # type: ignore[name-defined, misc]
        def find_class(self, module: str, name: str) -> Any:
            return lambda *arguments: called.append(arguments)

    try:
        Watched(__import__("io").BytesIO(text)).load()
    except Exception:
        return bool(called)
    return True


@given(st.builds(lambda v: [v], VALUES) | VALUES.map(lambda v: {"w": v}), PROTOCOLS)
def test_whatever_holds_something_is_recognised(value: Any, protocol: int) -> None:
    assert is_pickle(pickle.dumps(value, protocol))


@given(VALUES, PROTOCOLS, st.binary(max_size=50))
def test_a_call_is_recognised_whatever_comes_after(value: Any, protocol: int, after: bytes) -> None:
    raw = pickle.dumps(collections.OrderedDict({"w": value}), protocol)
    assert is_pickle(raw[:-1] + after)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3000), {"w": [1.0] * 4000}, [b"x" * 9000] * 2, list(range(5000)),
        decimal.Decimal("1.5"), datetime.datetime(2020, 1, 1), Exception("x"), len,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_real_values_of_any_size_are_recognised(value: Any, protocol: int) -> None:
    raw = pickle.dumps(value, protocol)
    assert is_pickle(raw)
    if len(raw) < EDGE:
        assert is_pickle(pickletools.optimize(raw))


@given(LINES)
def test_a_text_that_no_unpickler_takes_is_none(lines: list[str]) -> None:
    text = "\n".join(lines).encode()
    assert not is_pickle(text) or loads(text)


@pytest.mark.parametrize("end", ["", ".", "\n", ".\n"])
@pytest.mark.parametrize("text", [
    "could\nshould\nRight", "could\nshould\np1\nRight", "(done)\nI agree", "(l\nists",
    "cat\ndog\n(R", "(dp0\nis a port", "if we\ncan\n0k", "could\nshould\n(see above)tR",
    "N", "(t", "]",
    "a" * 5000, "could\nshould\n" * 1000, "(list\n" * 1000, "Version 1\n" * 500,
    "I 1\n" * 2000, "F1.5\n" * 9,
])  # fmt: skip
def test_what_people_write_is_no_pickle(text: str, end: str) -> None:
    raw = (text + end).encode()
    assert not is_pickle(raw) or loads(raw)
