"""Strict JSON: what a gate must refuse, and what it must not."""

from __future__ import annotations

import time

import pytest

from weighbridge.domain.strict_json import MAX_DEPTH, StrictJsonError, parse_object, parse_strictly

REFUSED = [
    ("JS001", b""),
    ("JS001", b"{"),
    ("JS001", b"{'a': 1}"),
    ("JS001", b'{"a": 1,}'),
    ("JS001", b'{"a": 1} x'),
    ("JS001", b'{"a": "\x01"}'),
    ("JS002", b'{"a": 1, "a": 2}'),
    ("JS002", b'{"x": {"a": 1, "\\u0061": 2}}'),
    ("JS002", b'{"a\\"b": 1, "a\\"b": 2}'),
    ("JS002", b'{"\\\\": "\\"", "\\\\": "\\\\\\""}'),
    ("JS003", b'{"a": NaN}'),
    ("JS003", b'{"a": [-Infinity]}'),
    ("JS004", b'{"a": 1e999}'),
    ("JS004", b'{"a": ' + b"9" * 5000 + b"}"),
    ("JS005", b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}"),
    ("JS005", b"[" * 200_000),
    ("JS006", b"[]"),
    ("JS006", b"null"),
    ("JS006", b'"text"'),
    ("JS007", b"\xef\xbb\xbf{}"),
    ("JS007", b"\xff\xfe{\x00}\x00"),
    ("JS007", b'{"a": "\xff"}'),
    ("JS007", b'{"a": "\\ud800"}'),
    ("JS007", b'{"\\udfff": 1}'),
]


@pytest.mark.parametrize(("code", "raw"), REFUSED)
def test_refuses(code: str, raw: bytes) -> None:
    with pytest.raises(StrictJsonError) as caught:
        parse_object(raw)
    assert caught.value.code == code
    assert caught.value.detail and code in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, -2.5, true, null, "x"]}\n', {"a": [1, -2.5, True, None, "x"]}),
        (b'{"model_max_length": 1000000000000000019884624838656}',
         {"model_max_length": 1000000000000000019884624838656}),
        ('{"é": "🐈"}'.encode(), {"é": "🐈"}),
        (b'{"\\\\": "\\"", "\\"": "\\\\\\""}', {"\\": '"', '"': '\\"'}),
        (b'{"cat": "\\ud83d\\udc08"}', {"cat": "🐈"}),
        (b'{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
    ],
)  # fmt: skip
def test_accepts(raw: bytes, value: object) -> None:
    assert parse_object(raw) == value


def test_depth_is_counted_exactly() -> None:
    lists = MAX_DEPTH - 2  # the object is one level, the scalar another
    assert parse_object(b'{"a":' + b"[" * lists + b"1" + b"]" * lists + b"}")
    lists += 1
    with pytest.raises(StrictJsonError, match="JS005"):
        parse_object(b'{"a":' + b"[" * lists + b"1" + b"]" * lists + b"}")


def test_minus_zero_is_no_size() -> None:
    """As in serde_json: otherwise an offset of -0 passes here and nowhere else."""
    assert isinstance(parse_object(b'{"a": -0}')["a"], float)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"1"])
def test_strict_without_being_an_object(raw: bytes) -> None:
    parse_strictly(raw)


def test_the_key_that_is_there_twice_is_found_in_a_time_that_does_not_grow_faster() -> None:
    """One search for each key took an hour for a million of them."""
    begun = time.process_time()
    keys = ",".join(f'"k{n}":0' for n in range(300_000))
    with pytest.raises(StrictJsonError, match="'k299999' twice"):
        parse_strictly(f'{{{keys},"k299999":1}}'.encode())
    assert time.process_time() - begun < 10
