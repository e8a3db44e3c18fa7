"""AD017 and on: LoRA as mlx-lm writes it against the base's config.json."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import Kind, LoraModel, LoraTarget
from weighbridge.domain.placement import Experts, Impossible, Plain, Standing

_LORA = frozenset({Kind.LORA})
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def _lora(subject: Subject) -> LoraModel:
    assert isinstance(subject.model, LoraModel)
    return subject.model


def _base(subject: Subject) -> BaseModel:
    return BaseModel(subject.base_config or {})


def _layer(target: LoraTarget) -> int | None:
    parts = target.module.split(".")
    where = next((parts.index(n) + 1 for n in ("layers", "h", "blocks") if n in parts), len(parts))
    return int(parts[where]) if where < len(parts) and parts[where].isdecimal() else None


def _shapes(subject: Subject) -> Iterator[Observation]:
    """A LoRA of another base does not fit; PEFT raises at load, others ignore the module."""
    model, base = _lora(subject), _base(subject)
    if not base.architecture.uniform:
        return
    for target in model.targets:
        expected = _expected(target, base)
        actual = (target.out_features, target.in_features)
        if expected is not None and expected != actual and target.experts is None:
            facts = {"actual": f"{actual[1]} -> {actual[0]}",
                     "expected": f"{expected[1]} -> {expected[0]}"}  # fmt: skip
            yield Observation(Location(model.weights_path, target.module), facts)


def _expected(target: LoraTarget, base: BaseModel) -> tuple[int, int] | None:
    """(out, in) as the base's config implies it. An embedding maps its words to the width."""
    if target.module in base.architecture.embeddings:
        width, words = (positive(base.text_config, n) for n in ("hidden_size", "vocab_size"))
        return (width, words) if width and words else None
    if isinstance(base.architecture.place(target.module), Plain):
        return base.llama_shape(target.module.rpartition(".")[2])
    return None


def _layers(subject: Subject) -> Iterator[Observation]:
    """A layer that the base does not have cannot be adapted."""
    model, layers = _lora(subject), _base(subject).layers
    for target in model.targets:
        layer = _layer(target)
        if layers is not None and layer is not None and layer >= layers:
            yield Observation(Location(model.weights_path, target.module), {"layers": layers})


def _experts(subject: Subject) -> Iterator[Observation]:
    """A stack holds the LoRA of every expert by its number; another count is another base's."""
    model, base = _lora(subject), _base(subject)
    count = next((n for key in _EXPERTS if (n := positive(base.text_config, key))), None)
    for target in model.targets:
        if count is not None and target.experts not in (None, count):
            facts = {"experts": int(target.experts or 0), "count": count}
            yield Observation(Location(model.weights_path, target.module), facts)


def _misplaced(subject: Subject) -> Iterator[Observation]:
    """What has no exact place in the model that transformers builds cannot be converted, and the
    conversion refuses it."""
    model, architecture = _lora(subject), _base(subject).architecture
    if not isinstance((subject.base_config or {}).get("model_type"), str):
        return  # any tree might be right
    if architecture.standing is Standing.REFUSED:
        reason = f"is for {architecture.model_type}, which {architecture.reason}"
        yield Observation(Location(model.weights_path), {"reason": reason})
        return
    for target in model.targets:
        place = architecture.place(target.module)
        where = Location(model.weights_path, target.module)
        if isinstance(place, Impossible):
            yield Observation(where, {"reason": place.reason})
        elif isinstance(place, Experts) != (target.experts is not None):
            shape = list(target.b.shape)
            reason = f"is a stack of experts on one side only: lora_b is {shape}"
            yield Observation(where, {"reason": reason})


_E = Severity.ERROR
_CHECK = "check the base model"
RULES = (
    Rule("AD017", "base-shape-mismatch", _E, "maps {actual}, but the base's module {expected}",
         _CHECK, _shapes, Need.BASE, _LORA),
    Rule("AD018", "base-layer-missing", _E, "the base has only {layers} layers", _CHECK, _layers,
         Need.BASE, _LORA),
    Rule("AD020", "expert-count-mismatch", _E, "has {experts} experts, the base {count}", _CHECK,
         _experts, Need.BASE, _LORA),
    Rule("AD021", "no-place-in-base", _E, "{reason}",
         "check the base model; if it is the right one, train other modules, or fuse and publish "
         "the whole model", _misplaced, Need.BASE, _LORA),
)  # fmt: skip
