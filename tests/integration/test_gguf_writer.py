"""The GGUF writer on the package gguf, without llama.cpp: reading back, refusals, and bounds."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weighbridge
from tests.builders import PEFT_CONFIG, encode, peft_files, write
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.gguf_writer import GgufPackageWriter
from weighbridge.application.ports import GgufRequest, GgufType
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    ArtifactUnreadable,
    MissingExtra,
    NotConvertible,
    PathMissing,
    StorageError,
)
from weighbridge.domain.tensors import TensorSpec, encode_header

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
REQUEST = GgufRequest("out", "base", name="acme/Toy-1B-Instruct")


def memory(files: Mapping[str, bytes] | None = None, base: Any = BASE) -> MemoryFiles:
    made = MemoryFiles()
    made.seed("out", peft_files() if files is None else files)
    made.seed("base", {"config.json": encode(base)})
    return made


def rendered(files: MemoryFiles, request: GgufRequest = REQUEST) -> bytes:
    return b"".join(bytes(chunk) for chunk in GgufPackageWriter(files).render(request))


def read(raw: bytes, tmp_path: Path) -> Any:
    from gguf import GGUFReader

    path = tmp_path / "read.gguf"
    path.write_bytes(raw)
    return GGUFReader(path)


def weights(values: np.ndarray[Any, Any], dtype: str = "F32") -> bytes:
    """A LoRA of rank 4 on q_proj whose factors are these words of (4, 16) and their transpose."""
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    specs = [
        TensorSpec(f"{stem}.lora_A.weight", dtype, (4, 16)),
        TensorSpec(f"{stem}.lora_B.weight", dtype, (16, 4)),
    ]
    return encode_header(specs) + values.tobytes() + np.ascontiguousarray(values.T).tobytes()


def test_what_stands_in_the_file(tmp_path: Path) -> None:
    found = read(rendered(memory()), tmp_path)
    values = {name: f.contents() for name, f in found.fields.items() if "." in name[4:]}
    assert values["general.architecture"] == "llama"
    assert (values["general.type"], values["adapter.type"]) == ("adapter", "lora")
    assert values["adapter.lora.alpha"] == PEFT_CONFIG["lora_alpha"]
    assert values["general.name"] == "Toy 1B Instruct"
    assert [t.name for t in found.tensors] == [
        "blk.0.attn_q.weight.lora_a",
        "blk.0.attn_q.weight.lora_b",
    ]


def test_the_same_request_gives_the_same_bytes() -> None:
    assert rendered(memory()) == rendered(memory())


def test_the_name_is_the_directorys_if_none_is_given(tmp_path: Path) -> None:
    found = read(rendered(memory(), GgufRequest("out", "base")), tmp_path)
    assert found.fields["general.name"].contents() == "Out"


def test_a_card_of_odd_values_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    card = b"---\nbase_model: acme/Toy\nversion: 1.5\ntags: [lora, 3]\nlanguage: en\n---\n"
    found = read(rendered(memory(peft_files() | {"README.md": card})), tmp_path)
    assert found.fields["general.base_model.0.organization"].contents() == "Acme"
    assert found.fields["general.languages"].contents() == ["en"]
    assert "general.version" not in found.fields and "general.tags" not in found.fields


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_halves_are_widened_exactly(dtype: str, tmp_path: Path) -> None:
    words = np.random.default_rng(1).integers(0, 0x7000, (4, 16), np.uint16)
    found = read(rendered(memory(peft_files() | {_WEIGHTS: weights(words, dtype)})), tmp_path)
    wide = words.view("<f2").astype("<f4") if dtype == "F16" else _widened(words)
    assert np.array_equal(np.asarray(found.tensors[0].data), wide)


def _widened(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([[struct.unpack("<f", struct.pack("<HH", 0, w))[0] for w in r] for r in words])


_WEIGHTS = "adapter_model.safetensors"


def test_a_value_beyond_float16_is_refused() -> None:
    values = np.full((4, 16), 1e5, "<f4")
    files = memory(peft_files() | {_WEIGHTS: weights(values)})
    assert rendered(files, GgufRequest("out", "base", outtype=GgufType.BF16))
    with pytest.raises(NotConvertible, match="float16"):
        rendered(files, GgufRequest("out", "base", outtype=GgufType.F16))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = GgufPackageWriter(memory())
    assert writer.obstacle() is None
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert writer.obstacle() == "needs the extra 'gguf': pip install 'weighbridge[gguf]'"
    with pytest.raises(MissingExtra) as caught:
        writer.render(REQUEST)
    assert caught.value.extra == "gguf"


def test_an_older_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf

    monkeypatch.setattr(gguf, "MODEL_ARCH_NAMES", {})
    with pytest.raises(MissingExtra, match="does not know 'llama'; upgrade it"):
        GgufPackageWriter(memory()).render(REQUEST)


@pytest.mark.parametrize(
    "files",
    [
        peft_files() | {_WEIGHTS: b"\x00" * 40},
        peft_files() | {"adapter_config.json": b"{"},
        peft_files() | {"README.md": b"---\na: [\n---\n"},
        peft_files() | {"README.md": b"---\n\xff\n---\n"},
    ],
)
def test_unreadable_files_are_named(files: dict[str, bytes]) -> None:
    with pytest.raises(ArtifactUnreadable, match=r"adapter_|README"):
        GgufPackageWriter(memory(files)).render(REQUEST)


def test_refusals_come_before_the_first_chunk() -> None:
    dora = memory(peft_files(use_dora=True))
    with pytest.raises(NotConvertible, match="DoRA"):
        GgufPackageWriter(dora).render(REQUEST)
    with pytest.raises(NotConvertible, match="BertModel"):
        GgufPackageWriter(memory(base=BASE | {"architectures": ["BertModel"]})).render(REQUEST)


@pytest.mark.parametrize("missing", ["adapter_config.json", _WEIGHTS])
def test_missing_files_are_told(missing: str) -> None:
    left = {name: content for name, content in peft_files().items() if name != missing}
    with pytest.raises(PathMissing):
        GgufPackageWriter(memory(left)).render(REQUEST)


def test_no_room_for_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(StorageError, match="/nowhere/at/all"):
        GgufPackageWriter(memory()).render(REQUEST)


def test_every_failing_call_is_a_typed_error() -> None:
    whole = memory()
    rendered(whole)
    for call in range(1, whole.calls + 1):
        files = MemoryFiles(fail_at=call)
        files.seed("out", peft_files())
        files.seed("base", {"config.json": encode(BASE)})
        with pytest.raises(StorageError, match="injected"):
            rendered(files)


def test_memory_is_one_tensor() -> None:
    layers, rank, size = 24, 16, 8192
    modules = [f"base_model.model.model.layers.{n}.mlp.up_proj" for n in range(layers)]
    specs = [
        spec
        for module in modules
        for spec in (
            TensorSpec(f"{module}.lora_A.weight", "F32", (rank, size)),
            TensorSpec(f"{module}.lora_B.weight", "F32", (size, rank)),
        )
    ]
    targets = sorted({module.rpartition(".")[2] for module in modules})
    total = sum(spec.nbytes for spec in specs)
    files = memory(
        {
            _WEIGHTS: encode_header(specs) + bytes(total),
            "adapter_config.json": encode(PEFT_CONFIG | {"r": rank, "target_modules": targets}),
        },
        BASE | {"num_hidden_layers": layers},
    )
    writer = GgufPackageWriter(files)
    written = sum(memoryview(chunk).nbytes for chunk in writer.render(REQUEST))
    tracemalloc.start()
    again = sum(memoryview(chunk).nbytes for chunk in writer.render(REQUEST))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written == again > total
    assert peak < 12 * specs[0].nbytes < total


def test_the_stage_takes_it(tmp_path: Path) -> None:
    from weighbridge.adapters.local_files import LocalFiles

    for path, content in peft_files().items():
        (tmp_path / path).write_bytes(content)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_bytes(encode(BASE))
    request = GgufRequest(str(tmp_path), str(tmp_path / "base"), name="toy")
    files = LocalFiles()
    with files.stage(str(tmp_path / "made")) as stage:
        entry = stage.write(
            ArtifactPath("toy.gguf"), GgufPackageWriter(files).render(request), digest=True
        )
        stage.commit()
    assert entry.size == (tmp_path / "made" / "toy.gguf").stat().st_size


@pytest.mark.parametrize(
    ("output", "told"),
    [("bot.gguf", "bot.gguf"), ("out", "adapter.gguf"), ("a:b.gguf", "adapter.gguf")],
)
def test_the_file_is_told_by_the_name_that_it_has(tmp_path: Path, output: str, told: str) -> None:
    source = write(tmp_path / "peft", peft_files())
    base = write(tmp_path / "base", {"config.json": encode(BASE)})
    made = weighbridge.convert(source, tmp_path / output, to="gguf", base=base)
    assert [str(entry.path) for entry in made.entries] == [told]
    there = tmp_path / output / told if output == "out" else tmp_path / output
    assert there.read_bytes()[:4] == b"GGUF"
