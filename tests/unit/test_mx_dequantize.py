"""What numpy unpacks is what MLX itself unpacks, to the bit: ``mx.quantize`` packs, both unpack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx.core")

import mlx.core as mx

from tests.contracts.weight_maker import Room, made
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.domain.checkpoints.checkpoint import PlannedWeight
from weighbridge.domain.checkpoints.packing import Packed, Packing, packing_of
from weighbridge.domain.checkpoints.restoration import Unpacked
from weighbridge.domain.tensors import TensorSpec

DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
NAMES = {v: k for k, v in DTYPES.items()} | {mx.uint32: "U32", mx.uint8: "U8"}
AFFINE = [(bits, group) for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]


def raw(array: Any) -> bytes:
    """The bytes of an MLX array, row-major."""
    words = {2: mx.uint16, 4: mx.uint32, 1: mx.uint8}[array.dtype.size]
    return np.array(array.view(words)).tobytes()


def ours(config: dict[str, Any], **arrays: Any) -> tuple[Packing, TensorSpec, bytes]:
    """Packing, spec and bytes of what the maker gives for the tensors of one module."""
    specs = {k: TensorSpec(f"x.{k}", NAMES[v.dtype], tuple(v.shape)) for k, v in arrays.items()}
    packed = Packed("x", **specs)
    packing = packing_of(packed, config)
    assert isinstance(packing, Packing), packing
    found = Unpacked(packed, packing)
    experts = found.spec.shape[0] if len(found.spec.shape) == 3 else 1
    weight = PlannedWeight(found.spec, tuple(found.part(e, experts) for e in range(experts)))
    room = Room({f"x.{k}": raw(v) for k, v in arrays.items()})
    (data,) = made(NumpyWeightMaker(band_values=3000), [weight], room)
    return packing, found.spec, data


def random_weight(shape: tuple[int, ...], dtype: str, *, spread: float = 0.03) -> Any:
    values = np.random.default_rng(shape).standard_normal(shape, np.float32) * spread
    return mx.array(values).astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bits", "group"), AFFINE)
def test_affine(bits: int, group: int, dtype: str) -> None:
    weight, scales, biases = mx.quantize(random_weight((33, 384), dtype), group, bits)
    config = {"bits": bits, "group_size": group}
    packing, spec, data = ours(config, weight=weight, scales=scales, biases=biases)
    assert (packing.bits, packing.group_size, spec.dtype) == (bits, group, dtype)
    assert data == raw(mx.dequantize(weight, scales, biases, group, bits))


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 300.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_of_unusual_size(dtype: str, spread: float) -> None:
    weight, scales, biases = mx.quantize(random_weight((9, 256), dtype, spread=spread), 64, 4)
    config = {"bits": 4, "group_size": 64, "mode": "affine"}
    data = ours(config, weight=weight, scales=scales, biases=biases)[2]
    assert data == raw(mx.dequantize(weight, scales, biases, 64, 4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1e-30, 0.03, 1e3])
@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
def test_small_floats(mode: str, dtype: str, spread: float) -> None:
    weight, scales = mx.quantize(random_weight((33, 256), dtype, spread=spread), mode=mode)
    packing, spec, data = ours({"mode": mode}, weight=weight, scales=scales)
    assert packing.mode.value == mode and spec.dtype == "BF16"
    assert data == raw(mx.dequantize(weight, scales, mode=mode))


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4"])
def test_every_code_with_every_scale(mode: str) -> None:
    group, most = (32, 0xFE) if mode == "mxfp4" else (16, 0x7E)
    codes = np.tile(np.arange(256, dtype=np.uint8), (most, 1)).view(np.uint32)
    scales = np.tile(np.arange(most, dtype=np.uint8)[:, None], (1, 512 // group))
    if mode == "mxfp4":
        # 6 times two to the 126th and more overflows; MLX gives infinities there.
        codes, scales = codes[:-2], scales[:-2]
    packed = {"weight": mx.array(codes), "scales": mx.array(scales)}
    data = ours({"mode": mode}, **packed)[2]
    assert data == raw(mx.dequantize(packed["weight"], packed["scales"], mode=mode))


@pytest.mark.parametrize("bits", [3, 4])
def test_stacked_experts(bits: int) -> None:
    weight, scales, biases = mx.quantize(random_weight((5, 7, 128), "BF16"), 64, bits)
    config = {"bits": bits, "group_size": 64}
    data = ours(config, weight=weight, scales=scales, biases=biases)[2]
    assert data == raw(mx.dequantize(weight, scales, biases, 64, bits))


def test_a_global_scale_for_each_expert() -> None:
    """MLX takes one at a time, and gives float32; a model of bfloat16 computes with these rounded.

    ``mlx_lm fuse --dequantize`` leaves the global scale out.
    """
    whole = random_weight((3, 8, 64), "F32")
    scales_of = [mx.max(mx.abs(w)) for w in whole]
    pairs = [
        mx.quantize(w, mode="nvfp4", global_scale=g) for w, g in zip(whole, scales_of, strict=True)
    ]
    stacked = {
        "weight": mx.stack([w for w, _ in pairs]),
        "scales": mx.stack([s for _, s in pairs]),
        "global_scale": mx.stack(scales_of),
    }
    _, spec, data = ours({"mode": "nvfp4"}, **stacked)
    expected = [
        mx.dequantize(w, s, mode="nvfp4", global_scale=g).astype(mx.bfloat16)
        for (w, s), g in zip(pairs, scales_of, strict=True)
    ]
    assert spec.dtype == "BF16" and data == raw(mx.stack(expected))
