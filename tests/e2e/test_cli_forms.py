"""The other forms of a run through the command line: numbered checkpoints, npz, a base to check."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import (
    LORA_SPECS,
    encode,
    fused_files,
    lora_files,
    npz,
    tensors,
    write as write_files,
)
from weighbridge.domain.tensors import TensorSpec
from weighbridge.entrypoints.cli import main

OTHER_RANK = "0000200_adapters.safetensors"
CONFIG = lora_files()["adapter_config.json"]


Answer = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Runs the command line; the exit code and the document."""

    def ask(*arguments: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as exit_code:
            main([*arguments, "--format", "json"])
        return int(exit_code.value.code or 0), json.loads(capsys.readouterr().out)

    return ask


def codes(document: dict[str, Any]) -> set[str]:
    return {f["code"] for f in document["findings"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Final weights that are sound, checkpoint 100 that is too, and 200 with another rank."""
    other = [TensorSpec(s.name, "F32", tuple(8 if n == 4 else n for n in s.shape))
             for s in LORA_SPECS]  # fmt: skip
    return write_files(
        tmp_path / "run",
        lora_files()
        | {"0000100_adapters.safetensors": tensors(LORA_SPECS), OTHER_RANK: tensors(other)},
    )


def test_the_checkpoint_that_is_asked_for_is_judged(run: Path, answer: Answer) -> None:
    code, document = answer("validate", str(run), "--checkpoint", "200")
    assert code == 1 and "AD003" in codes(document)
    assert {f["path"] for f in document["findings"] if f["code"] == "AD003"} == {OTHER_RANK}
    for chosen in (["--checkpoint", "100"], []):
        code, document = answer("validate", str(run), *chosen)
        assert code == 0 and "AD003" not in codes(document)


def test_a_checkpoint_that_is_not_there_names_those_that_are(run: Path, answer: Answer) -> None:
    code, document = answer("validate", str(run), "--checkpoint", "300")
    assert code == 3 and "100, 200" in json.dumps(document)


def test_a_checkpoint_is_inspected(run: Path, answer: Answer) -> None:
    code, document = answer("inspect", str(run), "--checkpoint", "200")
    assert code == 0 and document["rank"] == [8] and document["checkpoints"] == [100, 200]


def test_an_npz_is_judged_by_its_weights_too(tmp_path: Path, answer: Answer) -> None:
    run = write_files(
        tmp_path / "run", {"adapters.npz": npz(LORA_SPECS), "adapter_config.json": CONFIG}
    )
    code, document = answer("validate", str(run))
    assert (code, codes(document)) == (0, {"CD001"})
    code, document = answer("inspect", str(run))
    assert code == 0 and document["dialect"].startswith("npz") and document["tensors"] == 2


def test_a_compressed_npz_is_a_finding_and_no_crash(tmp_path: Path, answer: Answer) -> None:
    run = write_files(tmp_path / "run", {"adapter_config.json": CONFIG})
    plain = tmp_path / "plain.npz"
    plain.write_bytes(npz(LORA_SPECS))
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(run / "adapters.npz", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    code, document = answer("validate", str(run))
    (found,) = [f for f in document["findings"] if f["code"] == "NZ001"]
    assert code == 1 and "is compressed" in found["message"] and found["path"] == "adapters.npz"


def test_a_base_that_the_stacks_read_differently_is_found_before_training(
    tmp_path: Path, answer: Answer
) -> None:
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    base = write_files(tmp_path / "base", fused_files(rope_parameters=rope))
    code, document = answer("validate", str(base))
    (found,) = [f for f in document["findings"] if f["code"] == "CF030"]
    assert code == 1 and found["facts"]["line"] == '"rope_theta": 500000'
    config = json.loads((base / "config.json").read_text())
    line = json.loads("{" + found["facts"]["line"] + "}")
    (base / "config.json").write_text(json.dumps(config | line))
    assert "CF030" not in codes(answer("validate", str(base))[1])


def test_a_scale_that_is_said_lifts_the_finding(tmp_path: Path, answer: Answer) -> None:
    run = write_files(
        tmp_path / "run",
        lora_files()
        | {"adapter_config.json": encode({"model": "acme/base", "rank": 4, "alpha": 8})},
    )
    assert "AD019" in codes(answer("validate", str(run))[1])
    assert "AD019" not in codes(answer("validate", str(run), "--scale", "2")[1])
