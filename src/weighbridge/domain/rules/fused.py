"""QT: quantisation of fused models, as far as files and headers tell."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.checkpoints.packing import other_method, quantisation_of
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind

#: By other tools' methods: the ends of names, one of which packed weights have.
_ENDS = {
    **dict.fromkeys(("awq", "gptq"), (".qweight",)),
    "bitsandbytes": (".absmax", ".SCB"),
    "compressed-tensors": ("_packed", "_scale"),
    "fp8": ("_scale_inv", "_scale"),
}
#: What only packed weights have, whatever the method.
_PACKED = (".qweight", ".weight_packed", ".weight_scale_inv", "_proj_blocks", ".absmax")
_BLOCKS = ("quantization_config", "compression_config")
#: Where AutoGPTQ and AutoAWQ said it once.
_BESIDE = frozenset({"quantize_config.json", "quant_config.json"})


def _without_scales(subject: Subject) -> Iterator[Observation]:
    """The config says that the weights are packed, but they are not; loaders misread one of the
    two."""
    model = subject.fused
    ends = _ENDS.get(other_method(model.config) or "")
    if ends and not any(group[0].name.endswith(ends) for group in model.alike):
        yield Observation(Location("config.json", "quantization_config"))
    said = quantisation_of(model.config)
    if said is not None and not model.quantised:
        key = "quantization" if said is model.config.get("quantization") else "quantization_config"
        yield Observation(Location("config.json", key))


def _without_config(subject: Subject) -> Iterator[Observation]:
    """Packed weights cannot be read without the bits and the group size. mlx-lm takes them from
    quantization; in quantization_config alone it looks for the method of another tool."""
    model = subject.fused
    if model.quantised and not isinstance(model.config.get("quantization"), dict):
        other = " (quantization_config alone)" if quantisation_of(model.config) else ""
        yield Observation(Location("config.json"), {"other": other})
    names = (group[0].name for group in model.alike)
    told = other_method(model.config) or any(
        isinstance(model.config.get(key), dict) for key in _BLOCKS
    ) or _BESIDE & set(subject.artifact.paths)  # fmt: skip
    if not told and not model.quantised and any(name.endswith(_PACKED) for name in names):
        yield Observation(Location("config.json"), {"other": ""})


_FUSED = frozenset({Kind.FUSED})
RULES = (
    Rule("QT001", "quantization-without-scales", Severity.ERROR,
         "is set, but no tensor is quantised", "delete the key, or quantise again",
         _without_scales, Need.MODEL, _FUSED),
    Rule("QT002", "scales-without-quantization", Severity.ERROR,
         "names no quantization{other}, but tensors are quantised",
         "copy config.json that mlx-lm wrote with the weights", _without_config, Need.MODEL,
         _FUSED),
)  # fmt: skip
