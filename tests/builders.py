"""Small models as bytes, for tests that need a directory and not a trainer."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.domain.tensors import TensorSpec, encode_header

LORA_CONFIG: dict[str, Any] = {
    "fine_tune_type": "lora",
    "model": "acme/base",
    "num_layers": 1,
    "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0},
}
PEFT_CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "acme/base",
    "r": 4,
    "lora_alpha": 80,
    "target_modules": ["q_proj"],
    "revision": "0123456789abcdef0123456789abcdef01234567",
}
FUSED_CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16,
    "intermediate_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 8,
    "tie_word_embeddings": True, "rms_norm_eps": 1e-05, "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
TOKENIZER: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "added_tokens": [
        {
            "id": 3,
            "content": "</s>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ],
}
Q = "model.layers.0.self_attn.q_proj"
LORA_SPECS = (
    TensorSpec(f"{Q}.lora_a", "F32", (16, 4)),
    TensorSpec(f"{Q}.lora_b", "F32", (4, 16)),
)
PEFT_SPECS = (
    TensorSpec(f"base_model.model.{Q}.lora_A.weight", "F32", (4, 16)),
    TensorSpec(f"base_model.model.{Q}.lora_B.weight", "F32", (16, 4)),
)
FUSED_SPECS = (
    TensorSpec("model.embed_tokens.weight", "F32", (8, 16)),
    TensorSpec("model.norm.weight", "F32", (16,)),
)


def encode(table: Mapping[str, Any]) -> bytes:
    return json.dumps(table).encode()


def tensors(specs: Iterable[TensorSpec]) -> bytes:
    """A safetensors file of a chequered pattern of 0.01 and -0.01 (as far as they are F32): a
    matrix is that of its transpose, and its bytes are not."""
    listed = tuple(specs)
    return encode_header(listed) + b"".join(map(_chequered, listed))


def _chequered(spec: TensorSpec) -> bytes:
    width = max((1, *spec.shape[-1:]))
    row = struct.pack("<2f", 0.01, -0.01) * (width // 2 + 1)
    two = row[: 4 * width] + row[4 : 4 * width + 4]
    return (two * (spec.nbytes // len(two) + 1))[: spec.nbytes // 4 * 4]


def raw_tensors(header: bytes, data: bytes = b"") -> bytes:
    """A file with exactly this header text."""
    return struct.pack("<Q", len(header)) + header + data


def npz(specs: Iterable[TensorSpec]) -> bytes:
    """An archive as mlx-lm wrote it until 0.5, by numpy itself; all values differ."""
    target = io.BytesIO()
    dice = np.random.default_rng(0)
    np.savez(target, **{s.name: dice.normal(0, 0.01, s.shape).astype(np.float32) for s in specs})
    return target.getvalue()


def lora_files(directory: str = "", **config: Any) -> dict[str, bytes]:
    prefix = f"{directory}/" if directory else ""
    return {
        f"{prefix}adapters.safetensors": tensors(LORA_SPECS),
        f"{prefix}adapter_config.json": encode(LORA_CONFIG | config),
    }


def peft_files(**config: Any) -> dict[str, bytes]:
    return {
        "adapter_model.safetensors": tensors(PEFT_SPECS),
        "adapter_config.json": encode(PEFT_CONFIG | config),
    }


def fused_files(**config: Any) -> dict[str, bytes]:
    """A model; a field that is ``...`` is left out of its config."""
    fields = {key: value for key, value in (FUSED_CONFIG | config).items() if value is not ...}
    return {
        "model.safetensors": tensors(FUSED_SPECS),
        "config.json": encode(fields),
        "tokenizer.json": encode(TOKENIZER),
    }


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def sharded_files() -> dict[str, bytes]:
    weight_map = {spec.name: shard for spec, shard in zip(FUSED_SPECS, SHARDS, strict=True)}
    return {
        "config.json": encode(FUSED_CONFIG),
        "tokenizer.json": encode(TOKENIZER),
        "model.safetensors.index.json": encode({"metadata": {}, "weight_map": weight_map}),
        **{s: tensors([spec]) for spec, s in zip(FUSED_SPECS, SHARDS, strict=True)},
    }


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """``files`` below ``root``, on disk."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def old_tar(name: str, content: bytes) -> bytes:
    """A tar archive that does not name its format, as before POSIX: a checksum is all it has."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    bare = header[:148] + b" " * 8 + header[156:257] + bytes(255)
    header = bare[:148] + b"%06o\0 " % sum(bare) + bare[156:]
    return (header + content).ljust(10240, b"\0")
