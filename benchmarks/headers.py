"""Validating without weights: 10,000 tensors in shards, above what a few take."""

from __future__ import annotations

import json
import math
import struct
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.common import BIN, Contender, Settings, measure

_TENSORS, _FEW, _SHARDS = 10_000, 30, 10
_MOST_SECONDS = 0.1
_LEAST_RUNS = 11
_HIDDEN = 16
_CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": _HIDDEN,
    "intermediate_size": 2 * _HIDDEN, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}  # fmt: skip
_LAYER = {
    "self_attn.q_proj": [_HIDDEN, _HIDDEN], "self_attn.k_proj": [_HIDDEN // 2, _HIDDEN],
    "self_attn.v_proj": [_HIDDEN // 2, _HIDDEN], "self_attn.o_proj": [_HIDDEN, _HIDDEN],
    "mlp.gate_proj": [2 * _HIDDEN, _HIDDEN], "mlp.up_proj": [2 * _HIDDEN, _HIDDEN],
    "mlp.down_proj": [_HIDDEN, 2 * _HIDDEN],
    "input_layernorm": [_HIDDEN], "post_attention_layernorm": [_HIDDEN],
}  # fmt: skip


def run(settings: Settings) -> bool:
    """True if the aim is met: what many tensors take above few is within a tenth of a second."""
    with tempfile.TemporaryDirectory(dir=settings.directory) as scratch:
        few, many = (write_sharded(Path(scratch, str(n)), n) for n in (_FEW, _TENSORS))
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
    layers = max(1, tensors // len(_LAYER))
    shapes = {f"model.layers.{n}.{name}.weight": shape
              for n in range(layers) for name, shape in _LAYER.items()}  # fmt: skip
    shapes["model.embed_tokens.weight"] = [64, _HIDDEN]
    weight_map, total, names = {}, 0, list(shapes)
    for number in range(shards):
        path = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        header, at = {}, 0
        for name in names[number::shards]:
            end = at + 2 * math.prod(shapes[name])
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [at, end]}
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        (root / path).write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
        weight_map |= dict.fromkeys(header, path)
        total += at
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "config.json").write_text(json.dumps(_CONFIG | {"num_hidden_layers": layers}))
    return root
