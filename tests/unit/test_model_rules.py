"""Spellings and shapes that the rules on a whole model tell apart, beyond one example each."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.builders import FUSED_SPECS, encode, fused_files, lora_files, sharded_files, tensors
from tests.unit.examples_model import HEADS, Q, matrix, model
from tests.unit.subjects import Build, of
from weighbridge.domain.findings import judge
from weighbridge.domain.regular import backtracks
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.rules.index import escapes


def codes(build: Build) -> set[str]:
    report = judge(build(), CATALOGUE)
    assert report.crashed == ()
    return {f.code for f in report.findings}


@pytest.mark.parametrize(
    "shard",
    ["../x", "..", ".", "", "a/b", "/etc/passwd", "a\\b", "C:x", "c:\\x", "~", "~root", "a\0b",
     "%2e%2e%2fx", "..%2Fx", "%252e%252e%252f", "\uff0e\uff0e\uff0fx", "a\u2044b\uff0fc",
     "a\u202eb", "x\n"],
)  # fmt: skip
def test_every_spelling_of_a_way_out_is_one(shard: str) -> None:
    assert escapes(shard)
    index = {"weight_map": {spec.name: shard for spec in FUSED_SPECS}}
    files = fused_files() | {"model.safetensors.index.json": encode(index)}
    assert "IX003" in codes(of(files)) and "IX002" not in codes(of(files))


@pytest.mark.parametrize("shard", ["model.safetensors", "model-00001-of-00002.safetensors",
                                   "Modell-\u00e4.safetensors", "a.b-c_d"])  # fmt: skip
def test_plain_names_are_none(shard: str) -> None:
    assert not escapes(shard)


@pytest.mark.parametrize(
    "name",
    ["", "../../etc/passwd", "/abs", "~root", "a\\b", "\x1b[31mred", "a\u202eb", "x" * 501,
     "zero\u200bwidth", "line\nbreak"],
)  # fmt: skip
def test_names_that_deceive(name: str) -> None:
    assert "ST030" in codes(model(matrix(name, 1)))


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"num_hidden_layers": "1"}, "JS008"),
        ({"num_hidden_layers": 1.5}, "JS008"),
        ({"num_hidden_layers": True}, "JS008"),
        ({"rope_theta": "1e6"}, "JS008"),
        ({"tie_word_embeddings": "true"}, "JS008"),
        ({"vocab_size": 9}, "CF010"),
        ({"hidden_size": 32}, "CF010"),
        ({"eos_token_id": [7, 8]}, "CF013"),
        ({"bos_token_id": -1}, "CF013"),
        ({"quantization": {"mode": "mxfp5"}}, "QT005"),
        ({"quantization": {"mode": "mxfp4", "bits": 8, "group_size": 32}}, "QT005"),
        ({"quantization": {"bits": 4, "group_size": 64, "a": {"bits": 9}}}, "QT005"),
    ],
)
def test_a_config_that_contradicts(config: dict[str, Any], code: str) -> None:
    assert code in codes(of(fused_files(**config)))


HEAD = [("k_proj", (8, 16)), ("v_proj", (8, 16)), ("o_proj", (16, 16)), ("q_proj", (16, 16))]


@pytest.mark.parametrize(("leaf", "shape"), HEAD)
def test_attention_has_the_shape_of_its_heads(leaf: str, shape: tuple[int, int]) -> None:
    name = Q.format(0).replace("q_proj", leaf)
    config = HEADS | {"num_key_value_heads": 2}
    assert "CF010" not in codes(model(matrix(name, *shape), **config))
    assert "CF010" in codes(model(matrix(name, shape[0] + 4, shape[1]), **config))
    assert "CF010" in codes(model(matrix(name, *shape, 1), **config))


def test_a_hole_between_layers_is_a_wrong_count() -> None:
    specs = [matrix(Q.format(n), 16, 16) for n in (0, 2)]
    assert "CF011" in codes(model(*specs, num_hidden_layers=3))
    assert "CF011" in codes(model(*specs, num_hidden_layers=2))


def test_layers_of_prediction_may_follow() -> None:
    specs = [matrix(Q.format(n), 16, 16) for n in (0, 1)]
    assert "CF011" not in codes(model(*specs, num_hidden_layers=1, num_nextn_predict_layers=1))


def test_other_tools_may_write_lists() -> None:
    assert codes(of(fused_files() | {"data_config.json": b"[]"})) == set()
    assert "JS006" in codes(of(fused_files() | {"generation_config.json": b"[]"}))


def test_a_shard_of_another_count_is_seen() -> None:
    files = sharded_files()
    other = files.pop("model-00002-of-00002.safetensors")
    files["model-00002-of-00003.safetensors"] = other
    index = {
        FUSED_SPECS[0].name: "model-00001-of-00002.safetensors",
        FUSED_SPECS[1].name: "model-00002-of-00003.safetensors",
    }
    files["model.safetensors.index.json"] = encode({"weight_map": index})
    assert codes(of(files)) == {"IX010"}


def test_a_tensor_of_a_lora_may_be_of_any_dtype_that_mlx_has() -> None:
    specs = [evolve(FUSED_SPECS[0], name="x", dtype=d) for d in ("F64", "F8_E5M2", "F4")]
    for spec in specs:
        files = lora_files() | {"adapters.safetensors": tensors([spec])}
        assert "ST031" in codes(of(files))


@pytest.mark.parametrize(
    ("pattern", "runs_away"),
    [
        (r"(a+)+$", True), (r"(a*)*", True), (r"((a+)b?)*", True), (r"(a|a)*", True),
        (r"([a-z]+)*", True), (r"(.*a){20}", True), (r".*.*.*.*.*.*.*.*b", True), ("(", True),
        ("a" * 3000, True), (r"(\(+)+", True), (r"(?:a+){2,}", True),
        (r".*\.(q|v)_proj", False), ("all-linear", False), (r"(?:model\.)?layers\.\d+\.x", False),
        (r"^(?!.*lm_head).*\.(q_proj|k_proj)$", False), (r"[(+]+[)+]+", False), 
        (r"(a{2}){3}", False), (r"\(a+\)+", False),
    ],
)  # fmt: skip
def test_expressions_that_run_away(pattern: str, runs_away: bool) -> None:
    assert backtracks(pattern) is runs_away
