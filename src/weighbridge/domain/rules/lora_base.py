"""AD017 and on: LoRA against the base's config.json, most of them as mlx-lm writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.domain.attention import tells_attention
from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.experts import other_count
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import expected_shape, expected_width, positive
from weighbridge.domain.models import Kind, LoraModel, LoraTarget, PeftModel
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.placement import Experts, Impossible, Standing

_LORA = frozenset({Kind.LORA})


def _base(subject: Subject) -> BaseModel:
    return BaseModel(subject.base_config or {})


def _layer(module: str) -> int | None:
    parts = module.split(".")
    where = next((parts.index(n) + 1 for n in ("layers", "h", "blocks") if n in parts), len(parts))
    number = parts[where] if where < len(parts) else ""
    return int(number) if number.isdecimal() and len(number) < 10 else None


def _shapes(subject: Subject) -> Iterator[Observation]:
    """A LoRA of another base does not fit; PEFT raises at load, others ignore the module."""
    model, base = subject.lora, _base(subject)
    for target in model.targets:
        expected = _expected(target, base)
        actual = (target.in_features, target.out_features)
        if any(e not in (None, a) for e, a in zip(expected, actual, strict=True)):
            facts = {"actual": f"{actual[0]} -> {actual[1]}",
                     "expected": " -> ".join(str(e or "any") for e in expected)}  # fmt: skip
            yield Observation(Location(model.weights_path, target.module), facts)


def _expected(target: LoraTarget, base: BaseModel) -> tuple[int | None, int | None]:
    """(in, out) as far as the base's config tells. An embedding maps its words to the width."""
    fields, entry = base.text_config, base.architecture
    owner, _, leaf = target.module.rpartition(".")
    if target.module in entry.embeddings:
        return positive(fields, "vocab_size"), positive(fields, "hidden_size")
    if _layer(target.module) is None or isinstance(entry.place(target.module), Impossible):
        return None, None
    told = entry.uniform or (owner.endswith(".self_attn") and tells_attention(fields, leaf))
    shape = expected_shape(fields, leaf) if told and target.experts is None else None
    return shape or expected_width(fields, leaf, expert=target.experts is not None)


def _layers(subject: Subject) -> Iterator[Observation]:
    """A layer that the base does not have cannot be adapted."""
    model, layers = subject.model, _base(subject).layers
    assert isinstance(model, LoraModel | PeftModel)
    if isinstance(model, LoraModel):
        modules = [target.module for target in model.targets]
    else:
        names = (parse_name(spec.name) for spec in model.tensors)
        modules = sorted({name.core for name in names if name is not None})
    for module in modules:
        # Towers count their own layers.
        layer = _layer(module) if isinstance(model, LoraModel) or _DECODER.match(module) else None
        if layers is not None and layer is not None and layer >= layers:
            yield Observation(Location(model.weights_path, module), {"layers": layers})


_DECODER = re.compile(r"(transformer\.|gpt_neox\.)?(layers|h)\.")


def _experts(subject: Subject) -> Iterator[Observation]:
    """A stack holds the LoRA of every expert by its number; another count is another base's."""
    model, fields = subject.lora, _base(subject).text_config
    for target in model.targets:
        held = target.experts
        if held is not None and (count := other_count(fields, held)) is not None:
            facts = {"experts": held, "count": count}
            yield Observation(Location(model.weights_path, target.module), facts)


def _misplaced(subject: Subject) -> Iterator[Observation]:
    """What has no exact place in the model that transformers builds cannot be converted, and the
    conversion refuses it."""
    model, architecture = subject.lora, _base(subject).architecture
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
         Need.BASE, frozenset({Kind.LORA, Kind.PEFT})),
    Rule("AD020", "expert-count-mismatch", _E, "has {experts} experts, the base {count}", _CHECK,
         _experts, Need.BASE, _LORA),
    Rule("AD021", "no-place-in-base", _E, "{reason}",
         "check the base model; if it is the right one, train other modules, or fuse and publish "
         "the whole model", _misplaced, Need.BASE, _LORA),
)  # fmt: skip
