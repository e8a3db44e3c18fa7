"""Our GGUF against llama.cpp itself: its converter's bytes, and the answers of its runtime."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.witnesses import run
from tests.witnesses.families import FAMILIES, WRAPPED
from tests.witnesses.outcomes import PROMPTS, by_token, largest_difference, toys
from weighbridge.adapters.gguf_writer import GgufPackageWriter
from weighbridge.adapters.local_files import LocalFiles
from weighbridge.application.ports import GgufRequest, GgufType
from weighbridge.domain.gguf.names import GGUF_ARCHITECTURES

pytestmark = pytest.mark.slow

# Of what the LoRA does to log-probabilities. llama.cpp takes GELU from a table of half precision:
# 3e-3 in the deepest toy with it, 7e-6 in all without. A LoRA that is wrong, or not applied, on
# any one kind of module is off by more than a tenth.
_SHARE = 0.01


@functools.cache
def _outcomes() -> Any:
    return json.loads((toys() / "outcomes.json").read_text())


def _ours(place: Path, lora: str = "lora", outtype: GgufType = GgufType.F32) -> bytes:
    request = GgufRequest(str(place / lora), str(place / "base"), outtype=outtype)
    return b"".join(bytes(chunk) for chunk in GgufPackageWriter(LocalFiles()).render(request))


def _theirs(place: Path, job: str, name: str = "theirs.gguf") -> bytes:
    assert _outcomes()[job] == "ok"
    return (place / name).read_bytes()


def test_every_entry_of_the_table_has_a_toy() -> None:
    bases = [toys() / family / "base" / "config.json" for family in FAMILIES]
    classes = {json.loads(path.read_text())["architectures"][0] for path in bases}
    # One class by two names, the second of the first release of its checkpoints.
    assert set(GGUF_ARCHITECTURES) == classes | set(WRAPPED.values()) | {"Ernie4_5_ForCausalLM"}


@pytest.mark.parametrize("family", [*FAMILIES, *(f"{family}-wrapped" for family in WRAPPED)])
def test_the_converters_bytes(family: str) -> None:
    assert _ours(toys() / family) == _theirs(toys() / family, family)


@pytest.mark.parametrize("outtype", [GgufType.F16, GgufType.BF16])
def test_the_converters_bytes_of_another_type(outtype: GgufType) -> None:
    place = toys() / "mixtral"
    theirs = _theirs(place, outtype.value, f"theirs-{outtype.value}.gguf")
    assert _ours(place, outtype=outtype) == theirs


def test_the_converters_bytes_of_a_lora_in_bfloat16() -> None:
    place = toys() / "mixtral"
    assert _ours(place, "half") == _theirs(place, "half", "theirs-half.gguf")


def test_the_converters_bytes_with_a_card() -> None:
    place = toys() / "llama"
    theirs = _theirs(place, "card", "theirs-card.gguf")
    assert _ours(place, "card/lora") == theirs
    assert b"general.base_model.0.repo_url" in theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_answers_as_transformers(family: str, tmp_path: Path) -> None:
    place, written = toys() / family, tmp_path / "ours.gguf"
    written.write_bytes(_ours(place))
    assert _outcomes()[f"{family} base"] == "ok"
    expected = json.loads((place / "transformers.json").read_text())
    limit = _SHARE * largest_difference(by_token(expected["lora"]), expected["base"])
    assert limit > 0.001
    plain = run.complete(place / "base.gguf", None, PROMPTS)
    assert largest_difference(plain, expected["base"]) < limit
    adapted = run.complete(place / "base.gguf", written, PROMPTS)
    assert largest_difference(adapted, expected["lora"]) < limit
