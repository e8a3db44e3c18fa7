"""A key that comes twice is seen wherever it is, although the quick way only counts strings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from weighbridge.domain.strict_json import StrictJsonError, parse_strictly

_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
_KEYS = st.sampled_from(["a", "b", "", "é", 'q"', "\\", "\n", ":", ","])


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may come twice."""


_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(_KEYS, inner), max_size=3).map(Pairs)
    ),
    max_leaves=12,
)  # fmt: skip


def _text(tree: Any, *, ascii_only: bool) -> str:
    def text(node: Any) -> str:
        return _text(node, ascii_only=ascii_only)

    if isinstance(tree, Pairs):
        return "{" + ", ".join(f"{text(key)}: {text(value)}" for key, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(text, tree)) + "]"
    return json.dumps(tree, ensure_ascii=ascii_only)


def _has_a_key_twice(tree: Any) -> bool:
    if isinstance(tree, Pairs):
        keys = [key for key, _ in tree]
        return len(keys) != len(set(keys)) or any(_has_a_key_twice(v) for _, v in tree)
    return isinstance(tree, list) and any(map(_has_a_key_twice, tree))


@given(_TREES, st.booleans())
def test_a_key_that_comes_twice_is_seen(tree: Any, ascii_only: bool) -> None:
    text = _text(tree, ascii_only=ascii_only)
    if _has_a_key_twice(tree):
        with pytest.raises(StrictJsonError, match="JS002"):
            parse_strictly(text.encode())
    else:
        assert parse_strictly(text.encode()) == json.loads(text)
