"""How MLX packed a tensor: mode, bits and group size, decided from config and shapes together.

Tensors are the truth: what the config says must fit their shapes, or the model is refused. Sources:
``mx.quantize``, and mlx-lm's ``infer_quant_config`` for modules that the config does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from weighbridge.domain.models import FusedModel
from weighbridge.domain.tensors import TensorSpec


class Mode(Enum):
    """The names that MLX uses."""

    AFFINE = "affine"
    MXFP4 = "mxfp4"
    MXFP8 = "mxfp8"
    NVFP4 = "nvfp4"


@frozen
class Packing:
    """``bits`` of a value, and how many values of a row share one scale."""

    mode: Mode
    bits: int
    group_size: int

    def __str__(self) -> str:
        return f"{self.mode.value}, {self.bits} bits, groups of {self.group_size}"


#: The only form that each of these modes has.
_FIXED = {
    Mode.MXFP4: Packing(Mode.MXFP4, 4, 32),
    Mode.MXFP8: Packing(Mode.MXFP8, 8, 32),
    Mode.NVFP4: Packing(Mode.NVFP4, 4, 16),
}
_AFFINE_BITS = (1, 2, 3, 4, 5, 6, 8)
_AFFINE_GROUPS = (32, 64, 128)
_FLOATS = ("F32", "F16", "BF16")
#: What MLX takes for a module whose own entry says null, as mlx-lm's mixed recipes write it, or
#: nothing. The numbers of the whole model are not a module's that has an entry.
_LEFT_OUT = {"bits": 4, "group_size": 64}
_KEYS = ("quantization", "quantization_config")
#: AWQ's and GPTQ's, compressed-tensors', bitsandbytes' and OpenAI's names for packed weights.
_OF_OTHERS = (".qweight", ".weight_packed", ".absmax", "_blocks")


@frozen
class Packed:
    """The tensors of one quantised module, as found."""

    module: str
    weight: TensorSpec
    scales: TensorSpec
    biases: TensorSpec | None = None
    global_scale: TensorSpec | None = None


def quantisation_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What MLX's config says of quantisation; None if nothing."""
    for key in _KEYS:
        if isinstance(found := config.get(key), dict) and "quant_method" not in found:
            return found
    return None


def other_method(config: Mapping[str, Any]) -> str | None:
    """The ``quant_method`` of somebody else's quantisation (awq, fp8, ...), if there is one."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        found = place.get("quantization_config")
        if isinstance(found, dict) and isinstance(method := found.get("quant_method"), str):
            return method
    return None


def packed_elsewhere(model: FusedModel) -> bool:
    """True if another tool than MLX packed the weights, by its config or by its tensors' names."""
    named = any(group[0].name.endswith(_OF_OTHERS) for group in model.alike)
    return named or other_method(model.config) is not None


def packing_of(packed: Packed, config: Mapping[str, Any] | None) -> Packing | str:
    """How that module is packed, or what contradicts what.

    ``config`` is that of ``quantisation_of``: defaults, and by module path a mapping or False.
    """
    own = None if config is None else config.get(packed.module)
    if own is False:
        return "the config says that it is not quantised, but it has scales"
    said = config
    if isinstance(own, Mapping):
        said = _LEFT_OUT | {key: value for key, value in own.items() if value is not None}
    if packed.scales.dtype == "U8":
        found = _small_float(packed, said or {})
    elif said is None:
        return "config.json has no 'quantization' that would say how it is packed"
    else:
        found = _affine(packed, said)
    return found if isinstance(found, str) else _fitting(packed, found)


def _small_float(packed: Packed, said: Mapping[str, Any]) -> Packing | str:
    if packed.biases is not None:
        return "has scales of U8 as the mx modes have, but also the biases of mode affine"
    product = _ratio(packed)
    for packing in _FIXED.values():
        if product == packing.bits * packing.group_size:
            mode = said.get("mode")
            if mode in [m.value for m in _FIXED] and mode != packing.mode.value:
                return f"the config says mode {mode}, the shapes are those of {packing.mode.value}"
            return packing
    return f"has scales of U8, but shapes of none of {', '.join(m.value for m in _FIXED)}"


def _affine(packed: Packed, said: Mapping[str, Any]) -> Packing | str:
    mode = said.get("mode", "affine")
    if mode != "affine":
        return f"the config says mode {mode}, but its scales are {packed.scales.dtype}, not U8"
    bits, group = said.get("bits"), said.get("group_size")
    if bits not in _AFFINE_BITS or group not in _AFFINE_GROUPS:
        return f"the config says {bits} bits in groups of {group}, which MLX does not have"
    biases = packed.biases
    if biases is None:
        return "is of mode affine, but has no biases"
    if packed.scales.dtype not in _FLOATS or biases.dtype != packed.scales.dtype:
        return f"scales are {packed.scales.dtype} and biases {biases.dtype}"
    if biases.shape != packed.scales.shape:
        return f"scales are {list(packed.scales.shape)}, biases {list(biases.shape)}"
    return Packing(Mode.AFFINE, int(bits), int(group))


def _ratio(packed: Packed) -> int | None:
    """Bits of a value times the group size: what the shapes alone tell. None if they disagree."""
    words, groups = packed.weight.shape[-1], packed.scales.shape[-1]
    return words * 32 // groups if groups and not words * 32 % groups else None


def _fitting(packed: Packed, packing: Packing) -> Packing | str:
    """``packing`` if all shapes fit it."""
    weight, scales = packed.weight, packed.scales
    if len(weight.shape) not in (2, 3) or weight.shape[:-1] != scales.shape[:-1]:
        return f"weight is {list(weight.shape)}, scales {list(scales.shape)}"
    if _ratio(packed) != packing.bits * packing.group_size:
        return (
            f"{packing} does not fit a weight of {list(weight.shape)} with scales of "
            f"{list(scales.shape)}"
        )
    whole = packed.global_scale
    if whole is None:
        return packing
    experts = weight.shape[:1] if len(weight.shape) == 3 else ()
    if (
        packing.mode is not Mode.NVFP4
        or whole.dtype != "F32"
        or whole.shape not in ((), (1,), experts)
    ):
        return f"global_scale is {whole.dtype} {list(whole.shape)}, in mode {packing.mode.value}"
    return packing
