"""A tokenizer.json that loaders number, split or read back otherwise than it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import TOKENIZER, encode, fused_files
from tests.unit.examples_tokens import fused
from tests.unit.subjects import Build, of
from weighbridge.domain.findings import judge
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.tokenizer import TokenizerView


def codes(build: Build) -> set[str]:
    return {f.code for f in judge(build(), CATALOGUE).findings}


_LETTERS = "abcdefgh"
_METASPACE = {"type": "Metaspace", "replacement": "\u2581"}
_READ = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}


@pytest.mark.parametrize(
    ("added", "holes"),
    [((8, 9), ()), ((9, 8), ()), ((8, 10), ()), ((7, 8), (3,)), ((8,), (3,)), ((3, 0, 8), ())],
)
def test_added_tokens_have_the_numbers_that_the_package_gives_them(
    added: tuple[int, ...], holes: tuple[int, ...]
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: n for n, w in enumerate(_LETTERS) if n not in holes}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    listed = [{"id": n, "content": next((w for w in words if words[w] == n), f"<{n}>")} | flags
              for n in added]  # fmt: skip
    whole = {"version": "1.0", "added_tokens": listed, "model": {"type": "WordLevel",
             "vocab": words, "unk_token": "a"}}  # fmt: skip
    built = tokenizers.Tokenizer.from_str(json.dumps(whole))
    counted = {one["content"]: built.token_to_id(one["content"]) for one in listed}
    view = TokenizerView.of(whole)
    assert view is not None
    assert {token: number for token, _, number in view.renumbered()} == {
        one["content"]: counted[one["content"]]
        for one in listed
        if counted[one["content"]] != one["id"]
    }


@pytest.mark.parametrize(
    ("written", "read", "seen"),
    [
        ({"pre_tokenizer": {"type": "ByteLevel"}}, _READ, True),
        ({}, {"type": "ByteLevel"}, True),
        ({"pre_tokenizer": _METASPACE}, None, True),
        ({"pre_tokenizer": _METASPACE}, {"type": "Sequence", "decoders": [_READ]}, False),
        ({"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}},
         _READ, False),
        ({"normalizer": {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}}, None,
         False),
        ({"pre_tokenizer": {"type": "Whitespace"}}, {"type": "WordPiece"}, False),
    ],
)  # fmt: skip
def test_spaces_are_read_back_as_they_are_written(
    written: dict[str, Any], read: Any, seen: bool
) -> None:
    assert ("TK019" in codes(fused(tokenizer=TOKENIZER | written | {"decoder": read}))) is seen


def test_a_merge_that_is_none_is_told_beside_the_file_of_merges() -> None:
    model = TOKENIZER["model"] | {"merges": [None]}
    files = {"tokenizer.json": encode(TOKENIZER | {"model": model})}
    build = of(fused_files() | files, tokenizer_files={"merges.txt": b"a b\n"})
    report = judge(build(), CATALOGUE)
    assert not report.crashed and {"TK002", "TK015"} <= {f.code for f in report.findings}
