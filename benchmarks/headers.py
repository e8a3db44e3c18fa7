"""Validating without weights: 10,000 tensors in shards, above what a few take."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.common import BIN, Contender, Settings, measure

_TENSORS, _SHARDS = 10_000, 10
_MOST_SECONDS = 0.1
_LEAST_RUNS = 11


def run(settings: Settings) -> bool:
    """True if the aim is met: what many tensors take above few is within a tenth of a second."""
    with tempfile.TemporaryDirectory(dir=settings.directory) as scratch:
        few, many = (write_sharded(Path(scratch, str(n)), n) for n in (_SHARDS, _TENSORS))
        command = (str(BIN / "weighbridge"), "validate", "-q", "--no-weights", "--fail-on", "never")
        contenders = [Contender(path.name, (*command, str(path))) for path in (few, many)]
        samples = measure(contenders, max(settings.runs, _LEAST_RUNS))
    seconds = {name: median(sample.seconds) for name, sample in samples.items()}
    above = seconds[many.name] - seconds[few.name]
    met = above <= _MOST_SECONDS
    print(f"\nheaders alone: {few.name} tensors {seconds[few.name]:.3f} s, {many.name} "
          f"{above:.3f} s more; aim {_MOST_SECONDS}: {'met' if met else 'missed'}")  # fmt: skip
    return met


def write_sharded(root: Path, tensors: int = _TENSORS, shards: int = _SHARDS) -> Path:
    """A model of that many small tensors, with its index."""
    root.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    names = [f"model.layers.{n // 10}.mlp.part_{n % 10}.weight" for n in range(tensors)]
    for number in range(shards):
        path = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        own = names[number::shards]
        header = {
            name: {"dtype": "BF16", "shape": [4, 4], "data_offsets": [32 * at, 32 * at + 32]}
            for at, name in enumerate(own)
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        (root / path).write_bytes(struct.pack("<Q", len(text)) + text + bytes(32 * len(own)))
        weight_map |= dict.fromkeys(own, path)
    index = {"metadata": {"total_size": 32 * tensors}, "weight_map": weight_map}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return root
