"""Nothing that an artifact says reaches a terminal as a command."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from weighbridge.entrypoints.render.escape import human_bytes, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Grüße 你好 🐈", "plain text, Grüße 你好 🐈"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028sep\u2029", "line\\u2028sep\\u2029"),
        ("lone\ud800", "lone\\ud800"),
        ("\x00\x7f", "\\x00\\x7f"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_are_kept_only_when_asked_for() -> None:
    assert visible("a\nb\x1b", keep_lines=True) == "a\nb\\x1b"


@given(st.text(st.characters()))
def test_whatever_it_is_the_result_is_safe_and_encodable(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"),
     (5 * 2**30, "5.0 GiB"), (2**42, "4096.0 GiB")],
)  # fmt: skip
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text
