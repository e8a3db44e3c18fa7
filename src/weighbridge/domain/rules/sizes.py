"""CF011, CF024: how many layers there are, and sizes that config.json leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.detection import CONFIG
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.placement import UNKNOWN_TYPE, Standing
from weighbridge.domain.rules.whole_model import embedding, text_fields
from weighbridge.domain.tower_shapes import LAYERS
from weighbridge.domain.transformers_defaults import DEFAULTS, SIZES

#: The decoder's layers, by what is before their number; other towers have layers as well.
_LAYER = re.compile(r"(?:(?:language_model\.model|model\.language_model|model|transformer|backbone"
                    r"|gpt_neox)\.)?(?:layers|h|blocks)\.(?:layers\.)?(\d{1,9})\.")  # fmt: skip
#: Those of a tower for images, under whatever is before their number.
_IN_TOWER = re.compile(LAYERS.replace(r"\d+", r"(\d{1,9})"))
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTH, _HEADS, _LAYERS = "hidden_size", "num_attention_heads", "num_hidden_layers"
_WORDS, _INNER = "vocab_size", "intermediate_size"
_USUAL = (_WIDTH, _HEADS, _LAYERS, _WORDS, _INNER)
_OF_GPT = ("n_embd", "n_head", "n_layer", _WORDS)
#: Of those that call them otherwise, or compute one from others.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gptj"), _OF_GPT),
    **dict.fromkeys(("mamba", "falcon_mamba"), (_WIDTH, _LAYERS, _WORDS, _INNER)),
    "dbrx": ("d_model", "n_heads", "n_layers", _WORDS),
    "longcat_flash": (_WIDTH, _HEADS, "num_layers", _WORDS),
    "mamba2": (_WIDTH, _LAYERS, _WORDS),
    "nemotron_h": (_WIDTH, _HEADS, _WORDS, _INNER),
    "solar_open": (_WIDTH, _HEADS, _LAYERS, _WORDS),
}


def layers_held(model: FusedModel, form: re.Pattern[str] = _LAYER) -> frozenset[int]:
    """The numbers of the decoder's layers that have a tensor."""
    numbers: set[str] = set()
    for group in model.alike:
        if found := form.match(group[0].name):
            begin, end = found.span(1)
            numbers.update([spec.name[begin:end] for spec in group])
    return frozenset(map(int, numbers))


def _layer_count(subject: Subject) -> Iterator[Observation]:
    """transformers fills layers that are missing with random weights, and says so in a log only;
    mlx-lm refuses them."""
    model = subject.fused
    fields, held = text_fields(model.config), layers_held(model)
    yield from _tower_count(model)
    said = next((n for key in _LAYER_KEYS if (n := positive(fields, key))), None)
    if said is None or not held:
        return
    # A layer that predicts one token more has this beside what every layer has.
    predicts = any(".eh_proj" in group[0].name for group in model.alike)
    extra = (positive(fields, "num_nextn_predict_layers") or 0) if predicts else 0
    gaps = max(held) + 1 - len(held)
    if max(held) + 1 < said or max(held) + 1 > said + extra or gaps:
        facts: dict[str, Fact] = {"said": said, "count": len(held), "last": max(held)}
        yield Observation(Location(CONFIG, "num_hidden_layers"), facts)


def _tower_count(model: FusedModel) -> Iterator[Observation]:
    """The same of a tower that is there; MLX leaves it out of its copies of some models."""
    vision = model.config.get("vision_config")
    if architecture_for(model.config).standing is not Standing.CONVERTIBLE or not (
        isinstance(vision, Mapping) and (held := layers_held(model, _IN_TOWER))
    ):
        return
    for key in ("depth", "num_hidden_layers"):
        said = positive(vision, key)
        if said is not None and not (len(held) == max(held) + 1 == said):
            facts: dict[str, Fact] = {"said": said, "count": len(held), "last": max(held)}
            yield Observation(Location(CONFIG, f"vision_config.{key}"), facts)


def sizes_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of sizes that transformers and mlx-lm write for that type; () if that is not
    known, or if they are nested, where transformers leaves out what is its default."""
    entry = architecture_for(config)
    nested = entry.inside or text_fields(config) is not config
    if nested or entry.model_type == UNKNOWN_TYPE:
        return ()
    known = entry.model_type in DEFAULTS or entry.uniform
    return _OTHERS.get(entry.model_type, _USUAL if known else ())


def _missing(subject: Subject) -> Iterator[Observation]:
    """transformers takes a size of its own for it: tensors do not fit, layers are random, or heads
    are cut in other places and nothing fails. mlx-lm does the same, or refuses the config."""
    model = subject.fused
    for key in sizes_of(model.config):
        if model.config.get(key) is None:
            found = _stored(model, key)
            facts: dict[str, Fact] = {"stored": f"; the tensors have {found}" if found else ""}
            yield Observation(Location(CONFIG, key), facts)
    for where, taken, found in _other_defaults(model):
        facts = {"stored": f"; the tensors have {found}, transformers takes {taken}"}
        yield Observation(Location(CONFIG, where), facts)


def _other_defaults(model: FusedModel) -> Iterator[tuple[str, int, int]]:
    """Where each size is missing in a nested text model, what is taken for it, and what is
    stored: there transformers itself leaves out what is its default."""
    config, fields = model.config, text_fields(model.config)
    named = str(fields.get("model_type"))
    sizes = SIZES.get(named) or SIZES.get(f"{named}_text")
    if not (architecture_for(config).inside or fields is not config) or sizes is None:
        return
    for key, taken in zip((_WIDTH, _LAYERS, _WORDS, _INNER), sizes, strict=True):
        found = _stored(model, key) if fields.get(key) is None else None
        if found is not None and taken is not None and found != taken:
            yield f"text_config.{key}" if fields is not config else key, taken, found


def _stored(model: FusedModel, key: str) -> int | None:
    """The size that the tensors show, if they show that one."""
    rows, width = embedding(model) or (None, None)
    match key:
        case "num_hidden_layers" | "n_layer" | "n_layers" | "num_layers":
            return len(layers_held(model))
        case "vocab_size":
            return rows
        case "hidden_size" | "n_embd" | "d_model":
            return width or _rows_in_decoder(model, "input_layernorm.weight")
        case "intermediate_size":
            return _rows_in_decoder(model, "mlp.up_proj.weight")
        case _:
            return None


def _rows_in_decoder(model: FusedModel, ending: str) -> int | None:
    """How many rows a tensor of that name has in the decoder's layers."""
    firsts = (group[0] for group in model.alike)
    held = (s for s in firsts if s.name.endswith(ending) and _LAYER.match(s.name))
    return next((spec.shape[0] for spec in held if spec.shape), None)


_E, _FUSED = Severity.ERROR, frozenset({Kind.FUSED})
_COPY = "copy config.json that was written with these weights"
RULES = (
    Rule("CF011", "layer-count-mismatch", _E, "is {said}, but {count} layers are stored, the last "
         "of number {last}", _COPY, _layer_count, Need.MODEL, _FUSED),
    Rule("CF024", "size-missing", _E, "is missing{stored}", _COPY, _missing, Need.MODEL, _FUSED),
)  # fmt: skip
