"""Weights that no training leaves behind."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from .kit import FUSED, LORA, Tensor, Twin, defect, edit_tensor, map_tensors, read_tensors

_NAN, _INF = b"\xc0\x7f", b"\x80\x7f"  # BF16


def _up(d: Path, first: bytes) -> None:
    edit_tensor(d / FUSED, "up_proj", lambda tensor: tensor.first(first))


@defect(Twin.FUSED, "WT001")
def fused_nan(d: Path) -> None:
    """One weight that is NaN."""
    _up(d, _NAN)


@defect(Twin.FUSED, "WT001")
def fused_inf(d: Path) -> None:
    """One weight that is infinite."""
    _up(d, _INF)


@defect(Twin.LORA, "WT001")
def lora_nan(d: Path) -> None:
    """One weight of a LoRA that is NaN."""
    edit_tensor(d / LORA, "lora_a", lambda tensor: tensor.first(b"\0\0\xc0\x7f"))


@defect(Twin.QUANTISED, "WT001")
def quantised_nan_scale(d: Path) -> None:
    """One scale of a quantised matrix that is NaN."""
    edit_tensor(d / FUSED, "up_proj.scales", lambda tensor: tensor.first(_NAN))


@defect(Twin.LORA, "WT002")
def lora_zero_b(d: Path) -> None:
    """Every lora_b zero: nothing was trained."""
    map_tensors(d / LORA, lambda t: t.filled(b"\0") if t.name.endswith("lora_b") else t)


@defect(Twin.LORA, "WT008")
def lora_zero_b_once(d: Path) -> None:
    """One lora_b zero."""
    edit_tensor(d / LORA, "lora_b", lambda tensor: tensor.filled(b"\0"))


@defect(Twin.FUSED, "WT003")
def fused_zero_matrix(d: Path) -> None:
    """A matrix of zeros."""
    edit_tensor(d / FUSED, "up_proj", lambda tensor: tensor.filled(b"\0"))


@defect(Twin.FUSED, "WT004")
def fused_constant_matrix(d: Path) -> None:
    """A matrix of one number."""
    edit_tensor(d / FUSED, "up_proj", lambda tensor: tensor.filled(b"\x80\x3c"))


@defect(Twin.FUSED, "WT005")
def fused_huge_weight(d: Path) -> None:
    """One weight of a million."""
    _up(d, b"\x74\x49")


@defect(Twin.FUSED, "WT006")
def fused_denormal_matrix(d: Path) -> None:
    """A matrix of numbers below the smallest normal one."""

    def flooded(tensor: Tensor) -> Tensor:
        return evolve(tensor, data=bytes(n % 7 + 1 if n % 2 == 0 else 0
                                         for n in range(len(tensor.data))))  # fmt: skip

    edit_tensor(d / FUSED, "up_proj", flooded)


@defect(Twin.FUSED, "WT006")
def fused_denormal_half(d: Path) -> None:
    """The same for half of a matrix."""

    def flooded(tensor: Tensor) -> Tensor:
        half = len(tensor.data) // 4 * 2
        return evolve(tensor, data=b"\5\0" * (half // 2) + tensor.data[half:])

    edit_tensor(d / FUSED, "up_proj", flooded)


@defect(Twin.FUSED, "WT007")
def fused_same_matrix(d: Path) -> None:
    """The same bytes for two matrices."""
    first = next(t for t in read_tensors(d / FUSED) if "layers.0.mlp.up_proj" in t.name)
    edit_tensor(d / FUSED, "layers.1.mlp.up_proj", lambda t: evolve(t, data=first.data))


@defect(Twin.FUSED, "WT009")
def fused_dead_layer(d: Path) -> None:
    """A layer that writes nothing back."""
    back = ("layers.0.self_attn.o_proj", "layers.0.mlp.down_proj")
    map_tensors(d / FUSED, lambda t: t.filled(b"\0") if any(b in t.name for b in back) else t)


@defect(Twin.FUSED, "WT020")
def fused_zero_end(d: Path) -> None:
    """A file of the right size whose last third never came."""
    held = (d / FUSED).read_bytes()
    came = len(held) * 2 // 3
    (d / FUSED).write_bytes(held[:came] + bytes(len(held) - came))


@defect(Twin.FUSED, "WT020")
def fused_cut_within(d: Path) -> None:
    """The same, but all that did not come is a part of the last matrix."""
    _, *_, last = (t for t in read_tensors(d / FUSED) if len(t.shape) == 2)
    edit_tensor(d / FUSED, last.name, lambda t: evolve(
        t, data=t.data[: len(t.data) * 7 // 8 - 22].ljust(len(t.data), b"\0")))  # fmt: skip
    behind = [t.name for t in read_tensors(d / FUSED)]
    behind = behind[behind.index(last.name) + 1 :]
    map_tensors(d / FUSED, lambda t: t.filled(b"\0") if t.name in behind else t)


@defect(Twin.FUSED, "WT021")
def fused_other_float(d: Path) -> None:
    """The bytes of bfloat16 under the name of float16."""
    map_tensors(d / FUSED, lambda t: evolve(t, dtype="F16"))


@defect(Twin.QUANTISED, "WT022")
def quantised_biases_zero(d: Path) -> None:
    """Biases of a quantised matrix that are all zero."""
    edit_tensor(d / FUSED, "up_proj.biases", lambda t: t.filled(b"\0"))


@defect(Twin.QUANTISED, "WT003", "WT022")
def quantised_words_zero(d: Path) -> None:
    """Packed words that are all zero, between scales that are not."""
    edit_tensor(d / FUSED, "up_proj.weight", lambda t: t.filled(b"\0"))


@defect(Twin.QUANTISED, "WT022")
def quantised_scales_swapped(d: Path) -> None:
    """Scales and biases of a quantised matrix, each in the other's place."""
    held = {t.name: t.data for t in read_tensors(d / FUSED)}
    scales = next(name for name in held if name.endswith("up_proj.scales"))
    biases = scales.replace("scales", "biases")
    other = {scales: held[biases], biases: held[scales]}
    map_tensors(d / FUSED, lambda t: evolve(t, data=other.get(t.name, t.data)))


@defect(Twin.QUANTISED, "WT022")
def quantised_signs_turned(d: Path) -> None:
    """Biases of a quantised matrix, each with the other sign."""
    edit_tensor(d / FUSED, "up_proj.biases", lambda t: evolve(t, data=bytes(
        byte ^ 0x80 if at % 2 else byte for at, byte in enumerate(t.data))))  # fmt: skip


@defect(Twin.FUSED, "WT010")
def fused_norms_shifted(d: Path) -> None:
    """Norms from which one was taken off, as Gemma's checkpoints have them."""
    map_tensors(d / FUSED, lambda t: t.filled(b"\x83\x3a") if len(t.shape) == 1 else t)


@defect(Twin.FUSED, "WT014")
def fused_vanishing(d: Path) -> None:
    """A matrix of numbers that are next to nothing, as of a scale that was applied twice."""
    edit_tensor(d / FUSED, "up_proj", lambda t: t.filled(b"\x00\x20\x00\xa0"))


@defect(Twin.FUSED, "WT015")
def fused_half_written(d: Path) -> None:
    """A matrix of which the second half was never written."""
    edit_tensor(d / FUSED, "up_proj", lambda t: evolve(
        t, data=t.data[: len(t.data) // 2].ljust(len(t.data), b"\0")))  # fmt: skip
