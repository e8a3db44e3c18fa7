"""Small whole models as bytes: a base that a run can be fused into, and an MLX model of 4 bits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

from tests.builders import LORA_CONFIG, TOKENIZER, Q, encode
from tests.contracts.weight_maker import bits, floats, noise
from weighbridge.domain.tensors import TensorSpec, encode_header

CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "rms_norm_eps": 1e-05,
    "architectures": ["LlamaForCausalLM"],
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
DOCUMENTS = {
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "generation_config.json": b"{}",
    "LICENSE": b"terms",
    "README.md": b"# The base\n",
    "modeling_base.py": b"import os\n",
}
SPECS = (
    TensorSpec("model.embed_tokens.weight", "BF16", (8, 16)),
    TensorSpec(f"{Q}.weight", "BF16", (16, 16)),
    TensorSpec("model.norm.weight", "BF16", (16,)),
    TensorSpec("lm_head.weight", "BF16", (8, 16)),
)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def stored(specs: Iterable[TensorSpec]) -> bytes:
    """A safetensors file with noise in it."""
    listed = tuple(specs)
    return encode_header(listed) + b"".join(noise(spec) for spec in listed)


def base_files(*, sharded: bool = False, **config: Any) -> dict[str, bytes]:
    """A base of the Llama family, with documents that are taken over and others that are not."""
    files = {"config.json": encode(CONFIG | config), **DOCUMENTS}
    if not sharded:
        return files | {"model.safetensors": stored(SPECS)}
    parts = dict(zip(SHARDS, (SPECS[:2], SPECS[2:]), strict=True))
    weight_map = {s.name: path for path, specs in parts.items() for s in specs}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    weights = {path: stored(specs) for path, specs in parts.items()}
    return files | weights | {"model.safetensors.index.json": encode(index)}


def run_files(*, dora: bool = False, outputs: int = 16, **config: Any) -> dict[str, bytes]:
    """A run on that base: rank 4 on one module."""
    specs = [
        TensorSpec(f"{Q}.lora_a", "F32", (16, 4)),
        TensorSpec(f"{Q}.lora_b", "F32", (4, outputs)),
    ]
    specs += [TensorSpec(f"{Q}.m", "F32", (outputs,))] if dora else []
    return {
        "adapters.safetensors": stored(specs),
        "adapter_config.json": encode(LORA_CONFIG | config),
    }


def packed_files(**config: Any) -> dict[str, bytes]:
    """A model as ``mlx_lm.convert -q`` writes it; no tensor of it is a multiple of a page."""
    groups, generator = (8, 1), random.Random(5)
    scales = TensorSpec(f"{Q}.scales", "BF16", groups)
    parts = [
        (TensorSpec(f"{Q}.weight", "U32", (8, 8)), bits(TensorSpec(Q, "U32", (8, 8)))),
        (scales, floats(scales, [generator.uniform(0.01, 0.1) for _ in range(8)])),
        (TensorSpec(f"{Q}.biases", "BF16", groups), noise(TensorSpec("b", "BF16", groups))),
        (TensorSpec("model.norm.weight", "BF16", (64,)), noise(TensorSpec("n", "BF16", (64,)))),
    ]
    quantisation = {"bits": 4, "group_size": 64, "mode": "affine"}
    said = {"quantization": quantisation, "quantization_config": quantisation}
    header = encode_header([s for s, _ in parts], {"format": "mlx"})
    weights = header + b"".join(data for _, data in parts)
    return {
        "config.json": json.dumps(CONFIG | said | config).encode(),
        "model.safetensors": weights,
        **DOCUMENTS,
    }
