"""The functions of the pipeline that this project was born in keep their old promises."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.builders import (
    FUSED_CONFIG,
    FUSED_SPECS,
    LORA_CONFIG,
    LORA_SPECS,
    PEFT_CONFIG,
    PEFT_SPECS,
    TOKENIZER,
    TensorSpec,
    lora_files,
    write,
)
from tests.unit.examples_of_contents import CARD
from validate_model_artifacts import validate_model_artifacts
from weighbridge import convert_mlx_to_peft, detect_model_type

CHECKS = ["directory_exists", "has_model_files", "config_valid", "reasonable_size",
          "no_placeholder_files"]  # fmt: skip
SHAPES = {
    "lora": ("adapters.safetensors", LORA_SPECS, "adapter_config.json", LORA_CONFIG),
    "fused": ("model.safetensors", FUSED_SPECS, "config.json", FUSED_CONFIG),
    "peft": ("adapter_model.safetensors", PEFT_SPECS, "adapter_config.json", PEFT_CONFIG),
}


def saved(root: Path, kind: str) -> Path:
    """A small model as the reference library writes it."""
    weights, specs, config, value = SHAPES[kind]
    root.mkdir(parents=True)
    save_file({s.name: random_values(s) for s in specs}, root / weights)
    (root / config).write_text(json.dumps(value))
    if kind == "fused":
        (root / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (root / "README.md").write_bytes(CARD["README.md"])
    return root


def random_values(spec: TensorSpec) -> Any:
    seed = np.random.default_rng(len(spec.name))
    return seed.normal(size=spec.shape).astype(np.float32)


def judged(path: Any) -> dict[str, Any]:
    result = validate_model_artifacts(path)
    assert list(result) == ["overall_valid", "checks", "errors", "warnings"]
    assert list(result["checks"]) == CHECKS
    assert all(isinstance(v, bool) for v in [*result["checks"].values(), result["overall_valid"]])
    assert all(isinstance(t, str) for t in [*result["errors"], *result["warnings"]])
    assert result["overall_valid"] is (not result["errors"])
    json.dumps(result)
    return dict(result)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("spelling", [Path, str])
def test_each_kind_is_valid(tmp_path: Path, kind: str, spelling: Any) -> None:
    result = judged(spelling(saved(tmp_path / "run", kind)))
    assert result["overall_valid"] and all(result["checks"].values()), result
    assert result["warnings"] == []


def test_a_lora_below_adapters_is_valid(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "adapters", "lora")
    assert judged(tmp_path / "run")["overall_valid"]


def test_a_missing_directory(tmp_path: Path) -> None:
    result = judged(tmp_path / "missing")
    assert not any(result["checks"].values())
    assert result["errors"] == [f"Directory does not exist: {tmp_path / 'missing'}"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert not judged(tmp_path / "file")["checks"]["directory_exists"]


def test_an_empty_directory(tmp_path: Path) -> None:
    result = judged(tmp_path)
    assert result["checks"]["directory_exists"] and not result["checks"]["has_model_files"]


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_an_impossible_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not judged(path)["overall_valid"]


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 99, b"{", b"[]", b"\xff\xfe", b"mock model\n"])
@pytest.mark.parametrize("name", ["adapters.safetensors", "adapter_config.json"])
def test_garbage(tmp_path: Path, garbage: bytes, name: str) -> None:
    write(tmp_path, lora_files() | {name: garbage})
    result = judged(tmp_path)
    assert not result["overall_valid"] and result["checks"]["directory_exists"]


@pytest.mark.parametrize(
    ("name", "content", "checks"),
    [
        ("adapters.safetensors", b"placeholder", ["reasonable_size", "no_placeholder_files"]),
        ("adapters.safetensors", bytes(2000), ["reasonable_size"]),
        ("pytorch_model.bin", b"This is a mock", ["no_placeholder_files"]),
        ("mock_model.bin", b"\x01\x02", ["no_placeholder_files"]),
        (".placeholder", b"", ["no_placeholder_files"]),
        ("README.md", b"# Bot\n\nIt fills placeholder names in.\n", []),
        (".gitkeep", b"", []),
    ],
)
def test_stand_ins_for_a_model(
    tmp_path: Path, name: str, content: bytes, checks: list[str]
) -> None:
    write(tmp_path, lora_files() | {name: content})
    assert [check for check, good in judged(tmp_path)["checks"].items() if not good] == checks


def test_each_check_can_fail(tmp_path: Path) -> None:
    files = lora_files()
    write(tmp_path / "config", files | {"adapter_config.json": b"{"})
    write(tmp_path / "size", files | {"adapters.safetensors": b"\x01"})
    write(tmp_path / "mock", files | {"README.md": b"# TODO\n"})
    for folder, check in [("config", "config_valid"), ("size", "reasonable_size"),
                          ("mock", "no_placeholder_files")]:  # fmt: skip
        assert judged(tmp_path / folder)["checks"][check] is False


@pytest.mark.parametrize("kind", ["lora", "fused"])
def test_detect(tmp_path: Path, kind: str) -> None:
    assert detect_model_type(saved(tmp_path / "run", kind)) == kind


def test_detect_refuses_anything_else(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", saved(tmp_path / "peft", "peft")):
        with pytest.raises(ValueError, match=r"^Invalid model structure at"):
            detect_model_type(path)


def test_a_broken_file_does_not_change_the_type(tmp_path: Path) -> None:
    """Old pipelines detect first and judge later; both answers have to be about one model."""
    write(tmp_path / "lora" / "adapters", lora_files() | {"adapters.safetensors": b"mock"})
    write(tmp_path / "fused", {"model.safetensors": b"", "config.json": b"{"})
    assert detect_model_type(tmp_path / "lora") == "lora"
    assert convert_mlx_to_peft(tmp_path / "fused") == tmp_path / "fused"
    assert not judged(tmp_path / "fused")["overall_valid"]


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_an_impossible_path_has_no_type(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^Invalid model structure at"):
        detect_model_type(path)


def test_convert_writes_beside_the_source(tmp_path: Path) -> None:
    source = saved(tmp_path / "bot", "lora")
    before = tree(source)
    output = convert_mlx_to_peft(source)
    assert output == tmp_path / "bot_peft_converted" and tree(source) == before
    assert sorted(tree(tmp_path)) == sorted(
        [f"bot/{name}" for name in before]
        + ["bot_peft_converted/adapter_config.json", "bot_peft_converted/adapter_model.safetensors"]
    )
    made, given = load_file(output / "adapter_model.safetensors"), load_file(
        source / "adapters.safetensors"
    )  # fmt: skip
    for ours, theirs in zip(PEFT_SPECS, LORA_SPECS, strict=True):
        assert np.array_equal(made[ours.name], given[theirs.name].T)
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 80)
    assert judged(output)["overall_valid"]


def test_convert_again_replaces_its_own_output(tmp_path: Path) -> None:
    source = saved(tmp_path / "bot", "lora")
    first = tree(convert_mlx_to_peft(source))
    assert tree(convert_mlx_to_peft(source)) == first


def test_convert_replaces_nothing_else(tmp_path: Path) -> None:
    source = saved(tmp_path / "bot", "lora")
    write(tmp_path / "bot_peft_converted", {"thesis.txt": b"mine"})
    with pytest.raises(Exception, match="already exists"):
        convert_mlx_to_peft(source)
    assert tree(tmp_path / "bot_peft_converted") == {"thesis.txt": b"mine"}


def test_convert_leaves_a_fused_model_alone(tmp_path: Path) -> None:
    source = saved(tmp_path / "bot", "fused")
    before = tree(tmp_path)
    assert convert_mlx_to_peft(source) == source and tree(tmp_path) == before


def test_convert_of_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "bot", "lora")
    monkeypatch.chdir(tmp_path)
    assert convert_mlx_to_peft("bot") == Path("bot_peft_converted")
    monkeypatch.chdir(tmp_path / "bot")
    assert convert_mlx_to_peft(".").resolve() == tmp_path / "bot_peft_converted"


def test_convert_of_a_link_writes_beside_the_link(tmp_path: Path) -> None:
    """A run is often given as ``latest``, a link into another directory."""
    saved(tmp_path / "runs" / "bot", "lora")
    (tmp_path / "latest").symlink_to(tmp_path / "runs" / "bot")
    output = convert_mlx_to_peft(tmp_path / "latest")
    assert output == tmp_path / "latest_peft_converted" and judged(output)["overall_valid"]
    assert os.listdir(tmp_path / "runs") == ["bot"]


def test_convert_of_a_path_that_ends_in_dots(tmp_path: Path) -> None:
    source = saved(tmp_path / "bot", "lora")
    (source / "sub").mkdir()
    output = convert_mlx_to_peft(source / "sub" / "..")
    assert output == tmp_path / "bot_peft_converted" and judged(output)["overall_valid"]


@pytest.mark.parametrize("config", [{"model_type": "llama"},
                                    {"model_type": "llama", "hidden_size": 64}])  # fmt: skip
def test_what_the_old_checks_did_not_look_at_is_a_warning(
    config: dict[str, object], tmp_path: Path
) -> None:
    spec = TensorSpec("model.embed_tokens.weight", "F32", (32, 16))
    save_file({spec.name: random_values(spec)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = validate_model_artifacts(tmp_path)
    assert report["overall_valid"] and report["errors"] == [] and report["checks"]["config_valid"]
    assert any(text.startswith("CF035") for text in report["warnings"])
