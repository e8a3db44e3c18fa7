"""What ``fuse`` and ``dequantize`` write and refuse, on small models; no vendor takes part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import weighbridge
from tests.builders import Q, lora_files, peft_files, write
from tests.checkpoints import SHARDS, SPECS, base_files, packed_files, run_files
from weighbridge.domain.errors import (
    InvalidModelStructure,
    NotConvertible,
    OutputExists,
    UsageError,
)

TAKEN_OVER = {"LICENSE", "generation_config.json", "tokenizer.json", "config.json"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "base", base_files())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "run", run_files())


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write(tmp_path / "packed", packed_files())


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def tensors(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Dtype and shape of each tensor, as safetensors itself reads them."""
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (p.get_dtype(), p.get_shape()) for name, p in parts.items()}


def raw(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8 : 8 + length])[name]["data_offsets"]
    return content[8 + length :][begin:end]


class TestFuse:
    def test_one_file_with_all_that_a_model_needs(
        self, run: Path, base: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        done = weighbridge.fuse(run, out, base=base)
        assert names(out) == TAKEN_OVER | {"model.safetensors"}
        assert {e.path.text for e in done.entries} == names(out)
        assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
        found = tensors(out / "model.safetensors")
        assert found == {s.name: (s.dtype, list(s.shape)) for s in SPECS}
        for spec in SPECS:
            same = raw(out / "model.safetensors", spec.name) == raw(
                base / "model.safetensors", spec.name
            )
            assert same == (spec.name != f"{Q}.weight")
        assert done.proof.passed and done.plan.changed == (f"{Q}.weight",)

    def test_the_shards_of_the_base_and_a_right_index(self, run: Path, tmp_path: Path) -> None:
        base, out = write(tmp_path / "base", base_files(sharded=True)), tmp_path / "out"
        weighbridge.fuse(run, out, base=base)
        assert names(out) == TAKEN_OVER | {*SHARDS, "model.safetensors.index.json"}
        index = json.loads((out / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(s.nbytes for s in SPECS)
        for path in SHARDS:
            named = {n for n, p in index["weight_map"].items() if p == path}
            assert set(tensors(out / path)) == named

    def test_a_run_directory_whose_adapters_are_below(self, base: Path, tmp_path: Path) -> None:
        below = {f"adapters/{name}": data for name, data in run_files().items()}
        weighbridge.fuse(write(tmp_path / "run", below), tmp_path / "out", base=base)
        assert (tmp_path / "out" / "model.safetensors").is_file()

    def test_dora(self, base: Path, tmp_path: Path) -> None:
        run = write(tmp_path / "run", run_files(dora=True))
        assert weighbridge.fuse(run, tmp_path / "out", base=base).proof.passed

    def test_a_short_convolution_that_was_trained(self, tmp_path: Path) -> None:
        """MLX keeps it as (channels, width, 1), the checkpoint as (channels, 1, width)."""
        name, values = "model.layers.0.conv.conv.weight", np.arange(32, dtype=np.float32)
        config = json.dumps({"model_type": "lfm2"}).encode()
        stored = {name: 0 * values.reshape(8, 1, 4)}
        base = {"config.json": config, "model.safetensors": save(stored, {"format": "pt"})}
        run = {"adapters.safetensors": save({name: values.reshape(8, 4, 1)})}
        run["adapter_config.json"] = json.dumps({"fine_tune_type": "full"}).encode()
        out = tmp_path / "out"
        where = write(tmp_path / "base", base)
        assert weighbridge.fuse(write(tmp_path / "run", run), out, base=where).proof.passed
        assert raw(out / "model.safetensors", name) == values.tobytes()

    def test_an_existing_output_needs_force(self, run: Path, base: Path, tmp_path: Path) -> None:
        out = write(tmp_path / "out", {"mine": b""})
        with pytest.raises(OutputExists):
            weighbridge.fuse(run, out, base=base)
        assert names(out) == {"mine"}
        weighbridge.fuse(run, out, base=base, force=True)
        assert "mine" not in names(out) and "model.safetensors" in names(out)

    @pytest.mark.parametrize("output", ["base", "run", ".", "base/../run"])
    def test_what_is_read_is_never_replaced(self, output: str, run: Path, base: Path) -> None:
        before = names(base) | names(run)
        with pytest.raises(UsageError, match="what is read"):
            weighbridge.fuse(run, run.parent / output, base=base, force=True)
        assert names(base) | names(run) == before

    @pytest.mark.parametrize("dtype", ["F16", "BF16"])
    def test_a_refused_value_leaves_nothing(self, dtype: str, base: Path, tmp_path: Path) -> None:
        run = write(tmp_path / "run", run_files())
        with pytest.raises(NotConvertible, match=re.escape(f"{Q}.weight")) as refused:
            weighbridge.fuse(run, tmp_path / "out", base=base, scale=1e39)
        assert "not finite or too large" in str(refused.value)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "run"]

    def test_another_base(self, base: Path, tmp_path: Path) -> None:
        run = write(tmp_path / "run", run_files(outputs=24))
        with pytest.raises(NotConvertible, match="is it the base that was trained on"):
            weighbridge.fuse(run, tmp_path / "out", base=base)

    @pytest.mark.parametrize(("files", "word"), [(peft_files(), "PEFT"), (base_files(), "whole")])
    def test_what_is_no_run(
        self, files: dict[str, bytes], word: str, base: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(NotConvertible, match=word):
            weighbridge.fuse(write(tmp_path / "run", files), tmp_path / "out", base=base)

    def test_what_is_no_base(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidModelStructure):
            weighbridge.fuse(run, tmp_path / "out", base=write(tmp_path / "x", lora_files()))
        with pytest.raises(UsageError, match="--base"):
            weighbridge.fuse(run, tmp_path / "out")

    def test_a_base_of_packed_weights(self, run: Path, packed: Path, tmp_path: Path) -> None:
        with pytest.raises(NotConvertible, match="weighbridge dequantize"):
            weighbridge.fuse(run, tmp_path / "out", base=packed)


class TestDequantize:
    def test_floats_names_and_config(self, packed: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = weighbridge.dequantize(packed, out)
        assert names(out) == TAKEN_OVER | {"model.safetensors"}
        assert tensors(out / "model.safetensors") == {
            f"{Q}.weight": ("BF16", [8, 64]),
            "model.norm.weight": ("BF16", [64]),
        }
        config = json.loads((out / "config.json").read_text())
        assert "quantization" not in config and "quantization_config" not in config
        assert config["torch_dtype"] == "bfloat16"
        assert done.proof.passed and done.plan.packings[0][1] == 1

    def test_what_it_writes_is_a_base_to_fuse_into(self, packed: Path, tmp_path: Path) -> None:
        weighbridge.dequantize(packed, tmp_path / "out")
        again = weighbridge.dequantize(tmp_path / "out", tmp_path / "again")
        assert again.plan.packings == ()
        assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
            tmp_path / "out" / "model.safetensors"
        ).read_bytes()

    def test_shards(self, packed: Path, tmp_path: Path) -> None:
        done = weighbridge.dequantize(packed, tmp_path / "out", shard_bytes=1)
        paths = [s.path for s in done.plan.checkpoint.shards]
        assert paths == list(SHARDS) and set(paths) < names(tmp_path / "out")
        with pytest.raises(UsageError):
            weighbridge.dequantize(packed, tmp_path / "out", shard_bytes=0)

    def test_scales_that_are_damaged(self, tmp_path: Path) -> None:
        files = packed_files()
        damaged = files["model.safetensors"].replace(
            raw(write(tmp_path / "p", files) / "model.safetensors", f"{Q}.scales"), b"\x80\x7f" * 8
        )
        write(tmp_path / "p", {"model.safetensors": damaged})
        with pytest.raises(NotConvertible, match="dequantising gives values that are not finite"):
            weighbridge.dequantize(tmp_path / "p", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("files", [run_files(), peft_files()])
    def test_what_is_no_model(self, files: dict[str, bytes], tmp_path: Path) -> None:
        with pytest.raises(NotConvertible, match="fuse it into its base"):
            weighbridge.dequantize(write(tmp_path / "run", files), tmp_path / "out")

    def test_the_source_is_never_replaced(self, packed: Path) -> None:
        with pytest.raises(UsageError, match="what is read"):
            weighbridge.dequantize(packed, packed, force=True)


def test_progress_goes_to_the_end(packed: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    weighbridge.dequantize(packed, tmp_path / "out", progress=lambda *said: seen.append(said))
    total = 8 * 64 * 2 + 64 * 2
    assert ("dequantizing", total, total) in seen and seen[-1] == ("proving", 1, 1)
