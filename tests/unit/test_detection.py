"""What a directory is: complete kinds, halves with their remedy, and both at once."""

from __future__ import annotations

import pytest

from tests.builders import (
    SHARDS,
    encode,
    fused_files,
    lora_files,
    peft_files,
    sharded_files,
)
from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.load import Loaded, load
from weighbridge.domain.errors import (
    AmbiguousModelStructure,
    ArtifactUnreadable,
    InvalidModelStructure,
)
from weighbridge.domain.models import FusedModel, Kind, LoraModel


def found(content: dict[str, bytes], wanted: Kind | None = None) -> Loaded:
    files = MemoryFiles()
    files.seed("run", content)
    return load(files, "run", wanted)


def refusal(content: dict[str, bytes], wanted: Kind | None = None) -> InvalidModelStructure:
    with pytest.raises(InvalidModelStructure) as caught:
        found(content, wanted)
    return caught.value


@pytest.mark.parametrize("directory", ["", "adapters"])
def test_lora(directory: str) -> None:
    loaded = found(lora_files(directory))
    assert (loaded.detected.kind, loaded.detected.directory) == (Kind.LORA, directory)
    assert isinstance(loaded.model, LoraModel) and loaded.model.targets[0].rank == 4
    assert loaded.model.base_model == "acme/base" and loaded.model.others == ()


def test_lora_with_training_leftovers_is_still_lora() -> None:
    more = {"0000100_adapters.safetensors": b"", "data/train.jsonl": b"{}", "README.md": b"hi"}
    assert found(lora_files() | more).detected.kind is Kind.LORA


def test_fused_single() -> None:
    loaded = found(fused_files())
    assert loaded.detected.kind is Kind.FUSED
    assert isinstance(loaded.model, FusedModel)
    assert loaded.model.weights_paths == ("model.safetensors",) and not loaded.model.quantised


def test_fused_sharded() -> None:
    loaded = found(sharded_files())
    assert isinstance(loaded.model, FusedModel)
    assert loaded.model.weights_paths == SHARDS and len(loaded.model.tensors) == 2


def test_peft() -> None:
    loaded = found(peft_files())
    assert loaded.detected.kind is Kind.PEFT and loaded.model.base_model == "acme/base"


@pytest.mark.parametrize("content", [{}, {"notes.txt": b"x"}, {"config.json": b"{}"}])
def test_neither_lists_everything(content: dict[str, bytes]) -> None:
    error = refusal(content)
    text = str(error)
    assert isinstance(error, ValueError)
    assert text.startswith("Invalid model structure at run")
    assert all(name in text for name in content) and error.found == tuple(content)
    for name in ("adapters.safetensors", "adapter_config.json", "config.json",
                 "model.safetensors", "adapter_model.safetensors", "index.json"):  # fmt: skip
        assert name in text


@pytest.mark.parametrize("location", ["missing", "run/adapters.safetensors"])
def test_no_directory_at_all(location: str) -> None:
    files = MemoryFiles()
    files.seed("run", lora_files())
    with pytest.raises(InvalidModelStructure, match=r"^Invalid model structure at"):
        load(files, location)


def test_both_is_resolved_by_kind_only() -> None:
    both = lora_files("adapters") | fused_files()
    with pytest.raises(AmbiguousModelStructure) as caught:
        found(both)
    assert set(caught.value.kinds) == {"lora", "fused"}
    assert "--as lora|fused" in str(caught.value)
    assert found(both, Kind.LORA).detected.kind is Kind.LORA
    assert found(both, Kind.FUSED).detected.kind is Kind.FUSED


def test_two_loras_ask_for_the_path() -> None:
    with pytest.raises(AmbiguousModelStructure, match="give the path"):
        found(lora_files() | lora_files("adapters"), Kind.LORA)


def test_the_kind_that_was_asked_for_is_not_there() -> None:
    assert "not a fused model; what is complete here: lora" in str(
        refusal(lora_files(), Kind.FUSED)
    )


def without(content: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {k: v for k, v in content.items() if k not in names}


HALVES = [
    (without(lora_files(), "adapter_config.json"), "without adapter_config.json; copy"),
    (without(lora_files("adapters"), "adapters/adapter_config.json"),
     "adapters/adapters.safetensors without adapters/adapter_config.json"),
    (without(lora_files(), "adapters.safetensors"), "training did not finish"),
    (without(peft_files(), "adapter_config.json"),
     "adapter_model.safetensors without adapter_config.json"),
    (without(lora_files(), "adapters.safetensors") | {"0000100_adapters.safetensors": b"x"},
     "only checkpoints (0000100_adapters.safetensors) and no adapters.safetensors; say"),
    (without(sharded_files(), SHARDS[1]), f"names {SHARDS[1]}, missing here; copy"),
    (without(sharded_files(), "model.safetensors.index.json"), "2 shard(s) without"),
    (without(fused_files(), "config.json"), "weights without config.json; copy"),
    (without(fused_files(), "model.safetensors"), "config.json without model.safetensors; copy"),
    (sharded_files() | {"model.safetensors.index.json": b"{"}, "cannot be read as an index; fuse"),
    (sharded_files() | {"model.safetensors.index.json": encode({"weight_map": []})},
     "cannot be read as an index"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), HALVES)
def test_a_half_is_named_with_its_remedy(content: dict[str, bytes], words: str) -> None:
    assert words in str(refusal(content))


@pytest.mark.parametrize(
    ("content", "name"),
    [(lora_files(), "adapters.safetensors"), (lora_files(), "adapter_config.json"),
     (peft_files(), "adapter_model.safetensors"), (fused_files(), "model.safetensors"),
     (fused_files(), "config.json"), (sharded_files(), SHARDS[0])],
)  # fmt: skip
def test_a_broken_file_makes_it_unreadable_and_is_named(
    content: dict[str, bytes], name: str
) -> None:
    with pytest.raises(ArtifactUnreadable, match=name):
        found(content | {name: b"junk"})
