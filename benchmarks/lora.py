"""Writes a LoRA as mlx-lm does: `python -m benchmarks.lora DIRECTORY layers|single BYTES`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RANK = 64
# Llama 2 7B: input and output sizes of the seven modules of a layer.
_HIDDEN, _INNER = 4096, 11008
_MODULES = {
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_HIDDEN, _HIDDEN),
    "self_attn.v_proj": (_HIDDEN, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_HIDDEN, _INNER),
    "mlp.up_proj": (_HIDDEN, _INNER),
    "mlp.down_proj": (_INNER, _HIDDEN),
}
_ITEM = 4
_PATTERN = 4 << 20


def modules(shape: str, size: int) -> Iterator[tuple[str, int, int]]:
    """Names with input and output sizes, some ``size`` bytes in all."""
    if shape == "single":
        features = max(1, size // (2 * RANK * _ITEM))
        yield "model.layers.0.mlp.down_proj", features, features
        return
    layer = sum(a + b for a, b in _MODULES.values()) * RANK * _ITEM
    for index in range(max(1, round(size / layer))):
        for name, (inputs, outputs) in _MODULES.items():
            yield f"model.layers.{index}.{name}", inputs, outputs


def write(directory: Path, shape: str, size: int) -> None:
    """The adapter's two files; the header is what mlx writes, with its null metadata."""
    directory.mkdir(parents=True)
    header: dict[str, object] = {"__metadata__": None}
    end = 0
    for name, inputs, outputs in modules(shape, size):
        for leaf, dims in (("lora_a", [inputs, RANK]), ("lora_b", [RANK, outputs])):
            begin, end = end, end + dims[0] * dims[1] * _ITEM
            header[f"{name}.{leaf}"] = {"dtype": "F32", "shape": dims, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # Prime, so that no two tensors hold the same values.
    values = np.random.default_rng(7).standard_normal(_PATTERN + 13, np.float32) * 0.02
    pattern = values.view(np.uint8).data
    with (directory / "adapters.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        left = end
        while left:
            left -= file.write(pattern[: min(left, len(pattern))])
    config = {
        "fine_tune_type": "lora",
        "lora_parameters": {"rank": RANK, "scale": 20.0, "dropout": 0.0},
        "model": "org/base",
        "num_layers": 1 + int(header_layers(header)),
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=4))


def header_layers(header: dict[str, object]) -> int:
    """The highest layer number that the names have."""
    return max(int(name.split(".")[2]) for name in header if name != "__metadata__")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
