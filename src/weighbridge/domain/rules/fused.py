"""QT: quantisation of fused models, as far as files and headers tell."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind


def _fused(subject: Subject) -> FusedModel:
    assert isinstance(subject.model, FusedModel)
    return subject.model


def _without_scales(subject: Subject) -> Iterator[Observation]:
    """The config says that the weights are packed, but they are not; loaders misread one of the
    two."""
    model = _fused(subject)
    if isinstance(model.config.get("quantization"), dict) and not model.quantised:
        yield Observation(Location("config.json", "quantization"))


def _without_config(subject: Subject) -> Iterator[Observation]:
    """Packed weights cannot be read without the bits and the group size."""
    model = _fused(subject)
    config = model.config
    if model.quantised and not (config.get("quantization") or config.get("quantization_config")):
        yield Observation(Location("config.json"))


_FUSED = frozenset({Kind.FUSED})
RULES = (
    Rule("QT001", "quantization-without-scales", Severity.ERROR,
         "is set, but no tensor is quantised", "delete the key, or quantise again",
         _without_scales, Need.MODEL, _FUSED),
    Rule("QT002", "scales-without-quantization", Severity.ERROR,
         "names no quantization, but tensors are quantised",
         "copy config.json that mlx-lm wrote with the weights", _without_config, Need.MODEL,
         _FUSED),
)  # fmt: skip
