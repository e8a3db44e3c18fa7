"""AD017 and on: LoRA against the base's config.json, most of them as mlx-lm writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.experts import other_count
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.layer_shapes import text_type
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import Kind, LoraModel, LoraTarget, PeftModel
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.placement import Experts, Impossible, Standing
from weighbridge.domain.repairing.orientation import stored_pairs
from weighbridge.domain.rules.module_shapes import Tree

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
    model, base = subject.model, _base(subject)
    assert isinstance(model, LoraModel | PeftModel)
    found = _of_pairs(model, base) if isinstance(model, PeftModel) else _of_targets(model, base)
    for name, actual, expected in found:
        facts = {"actual": f"{actual[0]} -> {actual[1]}",
                 "expected": " -> ".join(str(e or "any") for e in expected)}  # fmt: skip
        yield Observation(Location(model.weights_path, name), facts)


#: A tensor's or a module's name, what it maps, and what it should, as far as that is told.
_Misfit: TypeAlias = tuple[str, tuple[int, int], tuple[int | None, ...]]


def _of_targets(model: LoraModel, base: BaseModel) -> Iterator[_Misfit]:
    tree = Tree.of(base.config)
    for target in model.targets:
        expected = _expected(target, base, tree)
        actual = (target.in_features, target.out_features)
        if any(e not in (None, a) for e, a in zip(expected, actual, strict=True)):
            yield target.module, actual, expected


def _expected(target: LoraTarget, base: BaseModel, tree: Tree) -> tuple[int | None, ...]:
    """(in, out) as far as the base's config tells. An embedding maps its words to the width."""
    fields, entry = base.text_config, base.architecture
    if target.module in entry.embeddings:
        return positive(fields, "vocab_size"), positive(fields, "hidden_size")
    if _layer(target.module) is None or isinstance(entry.place(target.module), Impossible):
        return None, None
    return (tree.shape(f"{target.module}.weight") or (None, None))[::-1]


def _of_pairs(model: PeftModel, base: BaseModel) -> Iterator[_Misfit]:
    """Of embeddings and heads people make others before they train. How factors lie is another
    rule's."""
    tree = Tree.of(base.config)
    for pair in stored_pairs(model.tensors):
        high, wide = tree.shape(f"model.{pair.module}.weight") or (None, None)
        told = _DECODER.match(pair.module) and high and wide
        if told and high and wide and pair.ranks() and not pair.ranks((wide, high)):
            rank = min(pair.ranks())
            actual = sum(pair.a.shape) - rank, sum(pair.b.shape) - rank
            if actual != (wide, high):
                yield pair.a.name, actual, (wide, high)


def _layers(subject: Subject) -> Iterator[Observation]:
    """A layer that the base does not have cannot be adapted."""
    model, layers = subject.model, _base(subject).layers
    assert isinstance(model, LoraModel | PeftModel)
    if isinstance(model, LoraModel):
        modules = [target.module for target in model.targets]
    elif model.config.get("layer_replication"):
        return  # PEFT makes more of them
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
    model, base = subject.lora, _base(subject)
    named = text_type(base.text_config, base.architecture.model_type)
    for target in model.targets:
        held = target.experts
        count = None if held is None else other_count(base.text_config, named, held)
        if held is not None and count is not None:
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
         _CHECK, _shapes, Need.BASE, frozenset({Kind.LORA, Kind.PEFT})),
    Rule("AD018", "base-layer-missing", _E, "the base has only {layers} layers", _CHECK, _layers,
         Need.BASE, frozenset({Kind.LORA, Kind.PEFT})),
    Rule("AD020", "expert-count-mismatch", _E, "has {experts} experts, the base {count}", _CHECK,
         _experts, Need.BASE, _LORA),
    Rule("AD021", "no-place-in-base", _E, "{reason}",
         "check the base model; if it is the right one, train other modules, or fuse and publish "
         "the whole model", _misplaced, Need.BASE, _LORA),
)  # fmt: skip
