"""The makers in ``tests/mlx_artifacts`` make what users have: files, headers, configs, and models
that both stacks load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx_lm")
pytest.importorskip("transformers")

from tests.mlx_artifacts import (
    FAMILIES,
    ROPE_THETA,
    cached,
    fuse,
    make_base,
    quantise,
    smollm2_base,
    tiny_base,
    tiny_lora,
    train_lora,
)


def header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file."""
    with path.open("rb") as stream:
        value: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return value


def config_of(directory: Path, name: str = "config.json") -> dict[str, Any]:
    value: dict[str, Any] = json.loads((directory / name).read_text())
    return value


def load(directory: Path) -> Any:
    from mlx_lm import load as mlx_load

    return mlx_load(str(directory))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_base_loads_in_mlx_and_has_a_tokenizer_with_a_chat_template(family: str) -> None:
    base = tiny_base(family)
    model, tokenizer = load(base)
    config = config_of(base)
    assert config["model_type"] == family
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == ROPE_THETA
    assert len(model.layers) == 2
    assert header(base / "model.safetensors")["__metadata__"] == {"format": "pt"}
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "weigh"}])
    assert ids and max(ids) < config["vocab_size"]


def test_the_same_seed_gives_the_same_base_and_another_seed_another(tmp_path: Path) -> None:
    weights = [
        (make_base(tmp_path / name, "llama", seed=seed) / "model.safetensors").read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert weights[0] == weights[1] != weights[2]


def test_without_the_agreement_config_json_is_as_transformers_wrote_it(tmp_path: Path) -> None:
    config = config_of(make_base(tmp_path, "llama", agreeing_rope=False))
    assert "rope_theta" not in config
    assert config["rope_parameters"]["rope_theta"] == ROPE_THETA


def test_a_sharded_bfloat16_base_has_an_index_of_its_shards(tmp_path: Path) -> None:
    base = make_base(tmp_path, "qwen2", dtype="bfloat16", max_shard_size="100KB")
    shards = set(config_of(base, "model.safetensors.index.json")["weight_map"].values())
    assert len(shards) > 1
    first = header(base / sorted(shards)[0])
    assert {first[name]["dtype"] for name in first if name != "__metadata__"} == {"BF16"}
    load(base)


@pytest.mark.parametrize(("tied", "has_head"), [(True, False), (False, True)])
def test_a_base_may_tie_its_embeddings(tmp_path: Path, tied: bool, has_head: bool) -> None:
    base = make_base(tmp_path, "llama", tied=tied)
    assert ("lm_head.weight" in header(base / "model.safetensors")) is has_head
    load(base)


def test_an_untied_gemma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ties the embeddings"):
        make_base(tmp_path, "gemma", tied=False)


def test_training_leaves_what_mlx_lm_leaves() -> None:
    adapters = tiny_lora(tiny_base("llama"))
    assert sorted(path.name for path in adapters.iterdir()) == [
        "0000005_adapters.safetensors",
        "adapter_config.json",
        "adapters.safetensors",
    ]
    tensors = header(adapters / "adapters.safetensors")
    # mlx-lm passes no metadata, and MLX writes that as null: several peers crash on it.
    assert tensors.pop("__metadata__") is None
    assert tensors["model.layers.0.self_attn.q_proj.lora_a"]["shape"] == [64, 8]
    assert tensors["model.layers.0.self_attn.q_proj.lora_b"]["shape"] == [8, 64]
    assert len(tensors) == 2 * 2 * 7
    config = config_of(adapters, "adapter_config.json")
    assert config["fine_tune_type"] == "lora"
    assert config["lora_parameters"] == {"rank": 8, "dropout": 0.0, "scale": 20.0}
    assert list(config) == sorted(config)


def test_training_takes_mlx_lms_options(tmp_path: Path) -> None:
    adapters = train_lora(
        tiny_base("llama"),
        tmp_path,
        rank=4,
        num_layers=1,
        keys=["self_attn.q_proj"],
        fine_tune_type="dora",
        model_name="acme/Base-1B",
        iters=2,
    )
    tensors = header(adapters / "adapters.safetensors")
    path = "model.layers.1.self_attn.q_proj"
    assert set(tensors) - {"__metadata__"} == {
        f"{path}.{leaf}" for leaf in ("lora_a", "lora_b", "m")
    }
    assert config_of(adapters, "adapter_config.json")["model"] == "acme/Base-1B"


def test_a_lora_attaches_to_its_base_and_changes_it() -> None:
    import mlx.core as mx
    from mlx_lm import load as mlx_load

    base = tiny_base("llama")
    adapters = tiny_lora(base)
    tokens = mx.array([[5, 6, 7]])
    plain = mlx_load(str(base))[0](tokens)
    tuned = mlx_load(str(base), adapter_path=str(adapters))[0](tokens)
    assert bool(mx.abs(plain - tuned).max() > 0.1)


def test_fusing_and_quantising_write_mlx_checkpoints(tmp_path: Path) -> None:
    base = tiny_base("llama")
    fused = fuse(base, tiny_lora(base), tmp_path / "fused")
    quantised = quantise(base, tmp_path / "quantised", bits=4)
    assert header(fused / "model.safetensors")["__metadata__"] == {"format": "mlx"}
    assert config_of(quantised)["quantization"]["bits"] == 4
    assert "model.layers.0.mlp.up_proj.scales" in header(quantised / "model.safetensors")
    for made in (fused, quantised):
        load(made)


def test_a_failing_fuse_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mlx_lm fuse"):
        fuse(tmp_path / "absent", tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_smollm2_is_a_whole_model_that_mlx_loads() -> None:
    base = cached("smollm2", smollm2_base)
    config = config_of(base)
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100_000.0
    model, tokenizer = load(base)
    assert len(model.layers) == 30
    assert tokenizer.decode(tokenizer.encode("weights are checked")) == "weights are checked"


def test_the_cache_makes_once_and_keeps_nothing_of_a_failure(tmp_path: Path) -> None:
    made: list[Path] = []

    def maker(directory: Path) -> None:
        made.append(directory)
        (directory / "file").write_text("made")
        if len(made) == 1:
            raise OSError("interrupted")

    with pytest.raises(OSError, match="interrupted"):
        cached("thing", maker, root=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    first, second = (cached("thing", maker, root=tmp_path) for _ in range(2))
    assert first == second and len(made) == 2
    assert (first / "file").read_text() == "made"
    assert (tmp_path / ".gitignore").read_text() == "*\n"
