"""Writes a base, a LoRA on it, and the base packed by mlx-lm: `python -m benchmarks.models
DIRECTORY BYTES` makes `base`, `run` and `packed` there, and with `fused` behind it a model of that
name alone, of so many bytes and in shards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.mlx_artifacts.bases import save_tokenizer

RANK = 16
# TinyLlama's sizes; the number of layers is what the number of bytes asks for.
_HIDDEN, _INNER, _KEYS, _VOCABULARY = 2048, 5632, 256, 320
_MODULES = {
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_KEYS, _HIDDEN),
    "self_attn.v_proj": (_KEYS, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_INNER, _HIDDEN),
    "mlp.up_proj": (_INNER, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INNER),
}
_NORMS = ("input_layernorm", "post_attention_layernorm")
_SHARD_LAYERS = 20
_PATTERN = 4 << 20

#: Bytes of the largest tensor, which the aims for memory speak of.
LARGEST_BYTES = 2 * _HIDDEN * _INNER


def layers_of(size: int) -> int:
    """So many layers make up some ``size`` bytes."""
    return max(1, round(size / (2 * sum(a * b for a, b in _MODULES.values()))))


def _config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": _VOCABULARY,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def _shapes(layer: int) -> Iterator[tuple[str, list[int]]]:
    for name, (outputs, inputs) in _MODULES.items():
        yield f"model.layers.{layer}.{name}.weight", [outputs, inputs]
    for name in _NORMS:
        yield f"model.layers.{layer}.{name}.weight", [_HIDDEN]


def _write(
    path: Path, shapes: dict[str, list[int]], item: int, values: np.ndarray, key: int | None = None
) -> None:
    """A safetensors file whose values repeat a pattern of prime length; with ``key``, each
    repetition scrambled in another way, so that no store can leave one out."""
    dtype = {2: "BF16", 4: "F32"}[item]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + item * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    words = values if item == 4 else (values.view(np.uint32) >> 16).astype(np.uint16)
    pattern = words.view(np.uint8).data
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while end:
            if key is not None:
                pattern = _scrambled(words, key + end)
            end -= file.write(pattern[: min(end, len(pattern))])


def _scrambled(words: np.ndarray, key: int) -> memoryview:
    """Other BF16 of the same signs and exponents."""
    mask = np.random.default_rng(key).integers(0, 128, len(words), np.uint16)
    return (words ^ mask).view(np.uint8).data


def write_model(base: Path, size: int, values: np.ndarray, key: int | None = None) -> None:
    """A model in shards without tokenizer."""
    layers = layers_of(size)
    base.mkdir(parents=True)
    shards = [range(f, min(layers, f + _SHARD_LAYERS)) for f in range(0, layers, _SHARD_LAYERS)]
    weight_map: dict[str, str] = {}
    for number, part in enumerate(shards, start=1):
        shapes = {name: shape for layer in part for name, shape in _shapes(layer)}
        if number == 1:
            shapes["model.embed_tokens.weight"] = [_VOCABULARY, _HIDDEN]
            shapes["model.norm.weight"] = [_HIDDEN]
        path = base / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write(path, shapes, 2, values, None if key is None else key + (number << 40))
        weight_map |= dict.fromkeys(shapes, path.name)
    index = {"metadata": {}, "weight_map": weight_map}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "config.json").write_text(json.dumps(_config(layers)))


def _values() -> np.ndarray:
    return np.random.default_rng(7).standard_normal(_PATTERN + 13, np.float32) * 0.02


def write(room: Path, size: int) -> None:
    """Base and LoRA."""
    values, layers, run = _values(), layers_of(size), room / "run"
    write_model(room / "base", size, values)
    run.mkdir()
    factors = {}
    for layer in range(layers):
        for name, (outputs, inputs) in _MODULES.items():
            factors[f"model.layers.{layer}.{name}.lora_a"] = [inputs, RANK]
            factors[f"model.layers.{layer}.{name}.lora_b"] = [RANK, outputs]
    _write(run / "adapters.safetensors", factors, 4, values)
    parameters = {"rank": RANK, "scale": 20.0, "dropout": 0.0}
    config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
    (run / "adapter_config.json").write_text(json.dumps(config, indent=4))


def _finish(room: Path) -> None:
    """What only vendors can write: the tokenizer, and the packed model."""
    from mlx_lm import convert

    save_tokenizer(room / "base")
    convert(str(room / "base"), str(room / "packed"), quantize=True, q_bits=4)


if __name__ == "__main__":
    room, size = Path(sys.argv[1]), int(sys.argv[2])
    if sys.argv[3:] == ["fused"]:
        write_model(room / "fused", size, _values(), key=7)
        save_tokenizer(room / "fused")
    else:
        write(room, size)
        _finish(room)
