"""How a tensor is packed: what the config says must fit the shapes."""

from __future__ import annotations

from typing import Any

import pytest

from weighbridge.domain.checkpoints.packing import (
    Mode,
    Packed,
    Packing,
    other_method,
    packing_of,
    quantisation_of,
)
from weighbridge.domain.tensors import TensorSpec

FOUR = {"bits": 4, "group_size": 64}


def packed(
    weight: tuple[int, ...] = (8, 16),
    scales: tuple[int, ...] = (8, 2),
    dtype: str = "BF16",
    biases: tuple[int, ...] | None = (8, 2),
    biases_dtype: str | None = None,
    whole: TensorSpec | None = None,
) -> Packed:
    bias = None if biases is None else TensorSpec("m.biases", biases_dtype or dtype, biases)
    return Packed(
        "m",
        TensorSpec("m.weight", "U32", weight),
        TensorSpec("m.scales", dtype, scales),
        bias,
        whole,
    )


def small(weight: tuple[int, ...], scales: tuple[int, ...], **more: Any) -> Packed:
    return packed(weight, scales, "U8", None, **more)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (FOUR, Packing(Mode.AFFINE, 4, 64)),
        (FOUR | {"mode": "affine"}, Packing(Mode.AFFINE, 4, 64)),
        ({"bits": 8, "group_size": 32}, Packing(Mode.AFFINE, 8, 32)),
        ({"bits": 2, "group_size": 32, "m": FOUR}, Packing(Mode.AFFINE, 4, 64)),
        (FOUR | {"m": True}, Packing(Mode.AFFINE, 4, 64)),
        ({"bits": 2, "group_size": 32, "m": {"bits": 4}}, Packing(Mode.AFFINE, 4, 64)),
        (
            {"bits": 2, "group_size": 32, "m": {"bits": None, "group_size": None}},
            Packing(Mode.AFFINE, 4, 64),
        ),
        (FOUR | {"other": False}, Packing(Mode.AFFINE, 4, 64)),
    ],
)
def test_affine_as_the_config_says(config: dict[str, Any], expected: Packing) -> None:
    assert packing_of(packed(), config) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (small((8, 4), (8, 1)), Packing(Mode.MXFP4, 4, 32)),
        (small((8, 8), (8, 1)), Packing(Mode.MXFP8, 8, 32)),
        (small((8, 4), (8, 2)), Packing(Mode.NVFP4, 4, 16)),
        (small((3, 8, 4), (3, 8, 2)), Packing(Mode.NVFP4, 4, 16)),
    ],
)
@pytest.mark.parametrize("config", [None, FOUR, {"m": {}}])
def test_small_floats_have_but_one_form(
    found: Packed, expected: Packing, config: dict[str, Any] | None
) -> None:
    assert packing_of(found, config) == expected


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_a_global_scale(shape: tuple[int, ...]) -> None:
    whole = TensorSpec("m.global_scale", "F32", shape)
    assert packing_of(small((3, 8, 4), (3, 8, 2), whole=whole), FOUR) == Packing(Mode.NVFP4, 4, 16)


WHOLE = TensorSpec("m.global_scale", "F32", ())


@pytest.mark.parametrize(
    ("found", "config", "word"),
    [
        (packed(), None, "has no 'quantization'"),
        (packed(), FOUR | {"m": False}, "says that it is not quantised"),
        (packed(), {"bits": 8, "group_size": 64}, "does not fit a weight of [8, 16]"),
        (packed(), {"bits": 4, "group_size": 32}, "does not fit"),
        (packed(), {"bits": 7, "group_size": 64}, "which MLX does not have"),
        (packed(), {"bits": 4, "group_size": 16}, "which MLX does not have"),
        (packed(), {"bits": 4}, "which MLX does not have"),
        (packed(), FOUR | {"m": {"group_size": 32}}, "does not fit"),
        (packed(), FOUR | {"mode": "mxfp4"}, "scales are BF16, not U8"),
        (packed(biases=None), FOUR, "has no biases"),
        (packed(biases=(8, 1)), FOUR, "scales are [8, 2], biases [8, 1]"),
        (packed(biases_dtype="F16"), FOUR, "scales are BF16 and biases F16"),
        (packed(scales=(7, 2), biases=(7, 2)), FOUR, "weight is [8, 16], scales [7, 2]"),
        (packed((16,), (2,), biases=(2,)), FOUR, "weight is [16]"),
        (packed(scales=(8, 0), biases=(8, 0)), FOUR, "does not fit"),
        (packed(whole=WHOLE), FOUR, "global_scale is F32 [], in mode affine"),
        (packed(dtype="U8"), FOUR, "also the biases"),
        (small((8, 4), (8, 1)), {"mode": "nvfp4"}, "says mode nvfp4"),
        (small((8, 4), (8, 4)), FOUR, "shapes of none of"),
        (small((8, 4), (8, 1), whole=WHOLE), FOUR, "in mode mxfp4"),
        (
            small((8, 4), (8, 2), whole=TensorSpec("g", "F32", (2,))),
            FOUR,
            "global_scale is F32 [2]",
        ),
    ],
)
def test_contradictions(found: Packed, config: dict[str, Any] | None, word: str) -> None:
    refused = packing_of(found, config)
    assert isinstance(refused, str) and word in refused


def test_where_the_config_says_it() -> None:
    assert quantisation_of({"quantization": FOUR}) == FOUR
    assert quantisation_of({"quantization_config": FOUR}) == FOUR
    assert quantisation_of({"quantization_config": {"quant_method": "awq"}}) is None
    assert quantisation_of({"quantization": None}) is None
    assert other_method({"quantization_config": {"quant_method": "awq"}}) == "awq"
    assert other_method({"text_config": {"quantization_config": {"quant_method": "x"}}}) == "x"
    assert other_method({"quantization": FOUR, "quantization_config": FOUR}) is None
