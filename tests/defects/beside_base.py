"""What shows beside the base only: another base, another function, and weights that are its own."""

from __future__ import annotations

import array
import re
import shutil
import struct
from pathlib import Path
from typing import Any

from attrs import evolve

from .kit import (
    BASE,
    CONFIG,
    FUSED,
    LORA,
    PEFT,
    SHARDED,
    TOKENIZER,
    Tensor,
    Twin,
    defect,
    map_tensors,
    read_json,
    set_keys,
    write_json,
)


def _base(d: Path) -> Path:
    return d.parent / BASE


def _set(d: Path, **changes: Any) -> None:
    set_keys(_base(d) / CONFIG, **changes)


def _times(tensor: Tensor, factor: float) -> Tensor:
    """Of float32."""
    values = array.array("f", tensor.data)
    return evolve(tensor, data=array.array("f", (factor * v for v in values)).tobytes())


def _plus_one(tensor: Tensor) -> Tensor:
    """Of bfloat16, which is the upper half of a float32."""
    words = struct.unpack(f"<{len(tensor.data) // 2}H", tensor.data)
    values = (struct.unpack("<f", struct.pack("<I", word << 16))[0] + 1.0 for word in words)
    packed = (struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values)
    return evolve(tensor, data=b"".join(struct.pack("<H", word) for word in packed))


@defect(Twin.LORA, "WT011", beside_base=True)
def lora_out_of_reason(d: Path) -> None:
    """A change of many times the weight that it adjusts."""
    map_tensors(d / LORA, lambda t: _times(t, 1000.0) if t.name.endswith("lora_b") else t)


@defect(Twin.FUSED, "WT012", beside_base=True)
def fused_without_lora(d: Path) -> None:
    """A fuse that lost its LoRA: the base, bit for bit."""
    (d / SHARDED).unlink()
    shutil.copyfile(_base(d) / FUSED, d / FUSED)


@defect(Twin.FUSED, "WT013", beside_base=True)
def fused_norms_plus_one(d: Path) -> None:
    """Norms to which a conversion added one."""
    map_tensors(d / FUSED, lambda t: _plus_one(t) if len(t.shape) == 1 else t)


@defect(Twin.FUSED, "WT023", beside_base=True)
def fused_layers_exchanged(d: Path) -> None:
    """Two layers in each other's place."""
    other = {"layers.0.": "layers.1.", "layers.1.": "layers.0."}
    map_tensors(d / FUSED, lambda t: evolve(t, name=re.sub(
        r"layers\.[01]\.", lambda found: other[found[0]], t.name)))  # fmt: skip


@defect(Twin.FUSED, "CF039", beside_base=True)
def fused_epsilon_of_another(d: Path) -> None:
    """A number of the function that is not the base's, and that no tensor shows."""
    set_keys(d / CONFIG, rms_norm_eps=0.01)


@defect(Twin.LORA, "AD017", beside_base=True)
def lora_of_wider_base(d: Path) -> None:
    """A LoRA for modules of another size than the base's."""
    _set(d, intermediate_size=256)


@defect(Twin.LORA, "AD018", beside_base=True)
def lora_of_deeper_base(d: Path) -> None:
    """A LoRA for layers that the base has not."""
    _set(d, num_hidden_layers=1)


@defect(Twin.LORA, "AD021", beside_base=True)
def lora_of_other_architecture(d: Path) -> None:
    """A LoRA for a base of another architecture."""
    _set(d, model_type="bert")


@defect(Twin.PEFT, "CF038", beside_base=True)
def peft_rope_of_base(d: Path) -> None:
    """A base whose rotary base only transformers reads."""
    _set(d, rope_theta=None)


@defect(Twin.PEFT, "PE008", beside_base=True)
def peft_of_other_tower(d: Path) -> None:
    """Names of a model that sees, for a base that does not."""
    own, other = "base_model.model.model.", "base_model.model.model.language_model."
    map_tensors(d / PEFT, lambda t: evolve(t, name=t.name.replace(own, other)))


@defect(Twin.PEFT, "AD017", beside_base=True)
def peft_of_wider_base(d: Path) -> None:
    """An adapter of modules of another size than the base's."""
    _set(d, hidden_size=128)


@defect(Twin.PEFT, "PE028", beside_base=True)
def peft_of_older_transformers(d: Path) -> None:
    """Names as transformers 4 had them, for a base that sees."""
    _set(d, model_type="qwen2_vl", architectures=["Qwen2VLForConditionalGeneration"])


@defect(Twin.FUSED, "TK007", beside_base=True)
def fused_tokens_renumbered(d: Path) -> None:
    """A base in which two words have each other's numbers."""
    table = read_json(_base(d) / TOKENIZER)
    vocabulary = table["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    write_json(_base(d) / TOKENIZER, table)


@defect(Twin.LORA, "CD007", beside_base=True)
def lora_licence_of_base(d: Path) -> None:
    """A base whose licence binds what is made of it, and a card that names another."""
    (_base(d) / "README.md").write_text("---\nlicense: llama3.1\n---\n\n# The base\n")
