"""Hostile files that others thought of: safetensors' attacks and tests, modelaudit's assets, and
pickles. Each ends in the finding that is its due, none in a traceback."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.builders import fused_files, lora_files, raw_tensors, tensors
from tests.fuzz.directories import validated
from tests.witnesses.fetch import fetch
from weighbridge.domain.tensors import TensorSpec


def _codes(files: Mapping[str, bytes], path: str) -> set[str]:
    return {f.code for f in validated(files).findings if f.location.path == path}


def _entry(shape: list[int], begin: int, end: int, dtype: str = "I32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _one(shape: list[int], end: int, data: int, after: bytes = b"") -> bytes:
    return raw_tensors(json.dumps({"test": _entry(shape, 0, end)}).encode(), bytes(data) + after)


def _same_place(count: int, shape: list[int], end: int) -> bytes:
    table = {f"weight_{i}": _entry(shape, 0, end, "F32") for i in range(count)}
    return raw_tensors(json.dumps(table).encode(), bytes(end))


_SOUND = tensors([TensorSpec("weight", "F32", (2, 2))])
#: What attacks/ and the tests of safetensors/src/tensor.rs do to a file (huggingface/safetensors,
#: Apache-2.0), and what is wrong with each.
SAFETENSORS = {
    "abuse 1, length beyond the end": (struct.pack("<Q", 1000) + _SOUND[8:], "ST002"),
    "abuse 2, header of hundreds of megabytes": (_same_place(400_000, [2, 2], 16), "ST002"),
    "abuse 3, many tensors in one place": (_same_place(20_000, [200, 200], 160_000), "ST021"),
    "json attack": (_same_place(10, [2, 2], 16), "ST021"),
    "polyglot": (_one([2, 2], 16, 16, b"extra_bogus_data_for_polyglot_file"), "ST024"),
    "two bytes missing": (_one([2, 2], 16, 14), "ST023"),
    "header too large": (b"<\0\0\0\0\xff\xff\xff" + _one([2, 2], 16, 16)[8:], "ST002"),
    "empty": (b"", "ST001"),
    "length only": (b"<\0\0\0\0\0\0\0", "ST002"),
    "not UTF-8": (raw_tensors(b"\xff"), "ST002"),
    "not UTF-8 inside": (raw_tensors(b'{"\xff":0}'), "ST010"),
    "not JSON": (raw_tensors(b"{"), "ST002"),
    "not JSON, of two": (raw_tensors(b"{{"), "ST011"),
    "padded with other space": (raw_tensors(b"{}\r \t\n"), "ST012"),
    "space before": (raw_tensors(b"\t\n{}\r "), "ST010"),
    "padded with NUL": (raw_tensors(b"{}\0\0"), "ST012"),
    "size of another shape": (_one([2, 2], 4, 4), "ST019"),
    "shape overflows": (_one([2, 2**64 - 2], 16, 16), "ST017"),
    "bytes overflow": (_one([2, 2**63 - 1], 16, 16), "ST017"),
    "no dimension, sound": (_one([], 4, 4), None),
    "two dimensions, sound": (_one([2, 2], 16, 16), None),
    "no element, sound": (_one([2, 0], 0, 0), None),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_own_attacks(name: str) -> None:
    content, code = SAFETENSORS[name]
    found = {
        c
        for c in _codes(lora_files() | {"adapters.safetensors": content}, "adapters.safetensors")
        if c.startswith("ST0")
    }
    assert found - {"ST032", "ST024"} == {code} - {None, "ST024"}
    assert ("ST024" in found) == (code == "ST024")


@pytest.fixture(scope="module")
def assets() -> Path:
    return fetch("hostile files") / "tests/assets"


#: The finding on a file of modelaudit's, by how its name ends; all but the tables are errors.
_DUE = {
    ".pkl": "EX001", ".pt": "EX001", ".py": "EX002", ".zip": "EX008", ".skops": "EX008",
    ".h5": "EX009", ".pb": "EX009", ".csv": "FS012", ".npy": "FS007", ".model": "FS007",
    ".txt": "FS007",
}  # fmt: skip


@pytest.mark.slow
def test_every_asset_of_modelaudit_gets_its_finding(assets: Path) -> None:
    files = [p for p in sorted(assets.rglob("*")) if p.suffix in _DUE]
    assert len(files) >= 50 and {p.suffix for p in files} == set(_DUE)
    wrong = {}
    for path in files:
        for name in (path.name, f"sub/{path.name}"):
            found = _codes(lora_files() | {name: path.read_bytes()}, name)
            if _DUE[path.suffix] not in found:
                wrong[name] = found
    assert wrong == {}


@pytest.mark.slow
def test_a_pickle_of_modelaudit_is_seen_under_any_name(assets: Path) -> None:
    pickles = [p for p in sorted(assets.rglob("*.p*")) if p.suffix in (".pkl", ".pt")]
    assert len(pickles) >= 30
    seen = {p.name: _codes(lora_files() | {"notes.txt": p.read_bytes()}, "notes.txt")
            for p in pickles}  # fmt: skip
    assert {name: found for name, found in seen.items() if "EX001" not in found} == {}


@pytest.mark.slow
def test_any_json_and_safetensors_of_modelaudit_is_read_in_any_place(assets: Path) -> None:
    documents, weights = sorted(assets.rglob("*.json")), sorted(assets.rglob("*.safetensors"))
    assert len(documents) >= 20 and len(weights) >= 2
    for path in documents:
        for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
            validated(fused_files() | {name: path.read_bytes()})
        validated(lora_files() | {"adapter_config.json": path.read_bytes()})
    for path in weights:
        report = validated(lora_files() | {"adapters.safetensors": path.read_bytes()})
        assert "AD026" in {f.code for f in report.findings}  # sound, but no LoRA


class _Calls:
    """Unpickling it would call ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


_PICKLED = {
    "a command": _Calls(os.system, "true"),
    "an expression": _Calls(eval, "1"),
    "inside of weights": {"model": {"w": [1.0, _Calls(exec, "1")]}, "step": 1},
    "by getattr": _Calls(getattr, "", "join"),
    "in a list": [1, _Calls(__import__, "os")],
    "harmless": {"w": [1.0] * 5},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("what", _PICKLED)
def test_a_pickle_is_refused_whatever_it_is_called(what: str, protocol: int) -> None:
    raw = pickle.dumps(_PICKLED[what], protocol)
    for name in ("adapter_model.bin", "notes.txt", "weights.dat", "LICENSE"):
        assert "EX001" in _codes(lora_files() | {name: raw}, name)


def test_a_packed_pickle_is_refused() -> None:
    raw = pickle.dumps(_PICKLED["a command"])
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
    assert "EX001" in _codes(lora_files() | {"a.dat": zipped.getvalue()}, "a.dat")
    for packed in (gzip.compress(raw), bz2.compress(raw), lzma.compress(raw)):
        assert "EX008" in _codes(lora_files() | {"a.dat": packed}, "a.dat")


#: Programs for the unpickler that pickle itself would not write; each calls ``len``.
_BY_HAND = {
    "something before": b"N0cbuiltins\nlen\n(S'a'\ntR.",
    "protocol 1": b"\x80\x01cbuiltins\nlen\n(S'a'\ntR.",
    "protocol 0, again and again": b"\x80\0\x80\1\x80\2cbuiltins\nlen\n(S'a'\ntR.",
    "a comment that is a string": b"Vread me first\n0cbuiltins\nlen\n(S'a'\ntR.",
    "the mark first": b"((S'a'\nibuiltins\nlen\n.",
    "by names on the stack": b"(N0\x8c\x08builtins\x8c\x03len\x93(S'a'\ntR.",
}


@pytest.mark.parametrize("what", _BY_HAND)
@pytest.mark.parametrize("after", [b"", b"\n", b"anything else" * 1000])
def test_a_pickle_made_by_hand_is_refused(what: str, after: bytes) -> None:
    assert pickle.loads(_BY_HAND[what]) == 1
    assert "EX001" in _codes(lora_files() | {"notes.txt": _BY_HAND[what] + after}, "notes.txt")


@pytest.mark.parametrize("text", [
    "Note\n", "could\nshould\nmust.\n", "Version 1\ncap\nin.\n", "(see below)\nRR.\n",
    "import os\nos.system('true')\n",
])  # fmt: skip
def test_a_text_is_no_pickle(text: str) -> None:
    assert "EX001" not in _codes(lora_files() | {"notes.txt": text.encode()}, "notes.txt")
