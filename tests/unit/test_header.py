"""The safetensors header: what is good, and each defect by its code."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from tests.builders import raw_tensors
from weighbridge.domain.tensors import (
    MAX_HEADER_BYTES,
    Header,
    HeaderInvalid,
    TensorSpec,
    encode_header,
    header_length,
    parse_header,
)


def read(content: bytes) -> Header:
    length = header_length(content[:64], len(content))
    return parse_header(content[8 : 8 + length], len(content))


def codes(content: bytes) -> set[str]:
    with pytest.raises(HeaderInvalid) as caught:
        read(content)
    return {d.code for d in caught.value.defects}


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def made(table: dict[str, Any], data: int = 4) -> bytes:
    return raw_tensors(json.dumps(table).encode(), bytes(data))


TWO = b'{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{}}'
ONE = json.dumps({"t": entry()}).encode()

BAD = [
    ("ST001", b""),
    ("ST001", b"\x02\x00\x00"),
    ("ST002", struct.pack("<Q", 0) + b"{}"),
    ("ST002", struct.pack("<Q", 10**15) + b"{}" * 9),
    ("ST002", struct.pack("<Q", 3) + b"{}"),
    ("ST003", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
    ("ST004", b"<!DOCTYPE html><html></html>"),
    ("ST004", b"GGUF\3\0\0\0" + b"\1" * 20),
    ("ST004", b"PK\3\4" + b"\0" * 26),
    ("ST010", raw_tensors(b'["a"]   ')),
    ("ST010", raw_tensors(b'{"\xff": 1}')),
    ("ST010", raw_tensors(b'{"\\ud800": 1}')),
    ("ST011", raw_tensors(b'{"a": }')),
    ("ST011", raw_tensors(b'{"a": NaN}')),
    ("ST010", raw_tensors(b'{"__metadata__":{"a":"\\udc00"},' + ONE[1:], bytes(4))),
    (
        "ST014",
        raw_tensors(b'{"__metadata__":' + b"[" * 200 + b"]" * 200 + b"," + ONE[1:], bytes(4)),
    ),
    ("ST012", raw_tensors(ONE + b"\x00\x00", bytes(4))),
    ("ST012", raw_tensors(ONE + b"\n", bytes(4))),
    ("ST013", raw_tensors(TWO, bytes(4))),
    ("ST013", raw_tensors(ONE.replace(b'"dtype"', b'"dtype":"F32","dtype"'), bytes(4))),
    ("ST013", raw_tensors(ONE.replace(b'"shape"', b'"shape":[2],"shape"'), bytes(4))),
    ("ST013", raw_tensors(b'{"__metadata__":{"a":"b","a":"c"},' + ONE[1:], bytes(4))),
    ("ST013", raw_tensors(b'{"__metadata__":null,"__metadata__":{},' + ONE[1:], bytes(4))),
    ("ST013", raw_tensors(b'{"__metadata__":{"\\"":"\\""},"t":1,' + ONE[1:], bytes(4))),
    ("ST014", made({"__metadata__": {"a": 1}, "t": entry()})),
    ("ST014", made({"__metadata__": [], "t": entry()})),
    ("ST015", made({"t": []})),
    ("ST015", made({"t": {"dtype": "F32", "shape": [1]}})),
    ("ST015", made({"t": entry() | {"extra": 1}})),
    ("ST016", made({"t": entry(dtype="F128")})),
    ("ST016", made({"t": entry(dtype=["F32"])})),
    ("ST017", made({"t": entry(shape=[1.0])})),
    ("ST017", made({"t": entry(shape=[True])})),
    ("ST017", made({"t": entry(shape=[-1])})),
    ("ST017", made({"t": entry(shape=[2**31])})),
    ("ST017", made({"t": entry(shape=[1] * 9)})),
    ("ST018", made({"t": entry(offsets=[0, 4.0])})),
    ("ST018", made({"t": entry(offsets=[0, 2, 4])})),
    ("ST018", made({"t": entry(offsets=[-4, 0])})),
    ("ST019", made({"t": entry(shape=[2])})),
    ("ST019", made({"t": entry(offsets=[4, 0])})),
    ("ST019", made({"t": entry("F4", [3], [0, 1])}, 1)),
    ("ST020", made({}, 0)),
    ("ST020", made({"__metadata__": {"format": "mlx"}}, 0)),
    ("ST021", made({"a": entry(), "b": entry(offsets=[2, 6])}, 6)),
    ("ST022", made({"a": entry(), "b": entry(offsets=[5, 9])}, 9)),
    ("ST022", made({"a": entry(offsets=[4, 8])}, 8)),
    ("ST023", made({"t": entry()}, 3)),
    ("ST024", made({"t": entry()}, 5)),
    ("ST034", made({"layers." + "9" * 5000 + ".a": entry()})),
    ("ST034", made({"layers." + "\u0669" * 5000 + ".a": entry()})),
]


@pytest.mark.parametrize(("code", "content"), BAD)
def test_defect(code: str, content: bytes) -> None:
    assert code in codes(content)


def test_every_code_has_an_example() -> None:
    from weighbridge.domain.rules.container import RULES

    assert {c for c, _ in BAD} == {r.code for r in RULES if r.code.startswith("ST")}


def test_good_with_what_mlx_writes() -> None:
    found = read(made({"__metadata__": None, "t": entry()}))
    assert found.metadata is None and found.data_bytes == 4
    assert found.specs == {"t": TensorSpec("t", "F32", (1,))}


def test_slots_are_in_order_of_place_and_absolute() -> None:
    content = made({"b": entry(offsets=[4, 8]), "a": entry()}, 8)
    found = read(content)
    assert [s.spec.name for s in found.slots] == ["a", "b"]
    assert [s.start for s in found.slots] == [len(content) - 8, len(content) - 4]


def test_scalars_and_empty_tensors_are_sound() -> None:
    content = made({"s": entry(shape=[]), "e": entry(shape=[0, 3], offsets=[4, 4])})
    assert read(content).specs["s"].nbytes == 4


def test_all_defects_at_once() -> None:
    table = {"__metadata__": 3, "a": entry(dtype="?"), "b": entry(shape=[-1]), "c": 1}
    assert codes(made(table)) == {"ST014", "ST015", "ST016", "ST017"}


def test_the_defect_names_its_tensor() -> None:
    with pytest.raises(HeaderInvalid) as caught:
        read(made({"good": entry(), "bad": entry(dtype="?")}))
    assert [d.tensor for d in caught.value.defects] == ["bad"]


def test_an_enormous_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(HeaderInvalid, match="ST002"):
        header_length(struct.pack("<Q", MAX_HEADER_BYTES + 1), 10**12)


def test_encoding_is_padded_to_eight() -> None:
    for name in ("a", "ab", "abc", "é"):
        assert len(encode_header([TensorSpec(name, "U8", (1,))])) % 8 == 0


def test_a_product_that_overflows_is_refused_although_it_is_zero() -> None:
    """The reference reader multiplies from the left, with overflow checks."""
    shape = [2**31 - 1] * 4 + [0]
    assert codes(made({"t": entry(shape=shape, offsets=[0, 0])}, 0)) == {"ST017"}
