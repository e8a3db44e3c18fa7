"""CF015: of which kind each layer is, by config.json and by what is in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.detection import CONFIG
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.layer_shapes import text_type
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import text_fields

#: What each kind of layer has below it, in the types that list their layers' kinds.
_LISTED = re.compile("qwen3_next|qwen3_5(_moe)?|lfm2(_moe)?|granitemoehybrid|olmo_hybrid")
_MODULES = {"linear_attention": "linear_attn", "conv": "conv", "mamba": "mamba",
            "attention": "self_attn", "full_attention": "self_attn"}  # fmt: skip
#: Types whose first layers are dense, by the field that counts these.
_FIRST_DENSE = {
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "glm4_moe",
                     "glm4_moe_lite", "glm_moe_dsa", "kimi_k2"), "first_k_dense_replace"),
    **dict.fromkeys(("afmoe", "lfm2_moe"), "num_dense_layers"),
}  # fmt: skip
_BY_STEP = frozenset({"qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_vl_moe"})
_IN_LAYER = re.compile(
    r"(?P<trunk>(?:language_model\.model|model\.language_model|model)\.layers\.)\d+\."
    r"(?P<part>[a-z_]+)(?P<router>\.(?:gate|router)(?:\.gate)?\.weight)?"
)


def _kinds(subject: Subject) -> Iterator[Observation]:
    """transformers makes up what a layer of the other kind would have, and says so in a log only;
    mlx-lm refuses the model."""
    model = subject.fused
    fields = text_fields(model.config)
    named = text_type(fields, architecture_for(model.config).model_type)
    count = positive(fields, "num_hidden_layers")
    told = _FIRST_DENSE.keys() | _BY_STEP | {"jamba"}
    if count is None or not (_LISTED.fullmatch(named) or named in told):
        return
    held, routed = _layers_by_part(model)
    periods = _by_period(fields, held, routed) if named == "jamba" else ()
    listed, mixtures = _by_list(fields, named, held), _mixtures(fields, named, routed)
    for key, said, found in (*listed, *periods, *mixtures):
        wrong = [n for n in range(count) if (n in said) is not (n in found)]
        if found and wrong:
            facts: dict[str, Fact] = {"layer": wrong[0], "count": len(wrong)}
            yield Observation(Location(CONFIG, key), facts)


def _layers_by_part(model: FusedModel) -> tuple[dict[str, set[int]], set[int]]:
    """Which layers have each part, and which choose among experts."""
    held: dict[str, set[int]] = {}
    routed: set[int] = set()
    for group in model.alike:
        found = _IN_LAYER.match(group[0].name)
        if found is None or ".experts." in group[0].name:
            continue
        begin = len(found["trunk"])
        numbers = {spec.name[begin : spec.name.find(".", begin)] for spec in group}
        layers = {int(n) for n in numbers if n.isdecimal() and len(n) < 6}
        held.setdefault(found["part"], set()).update(layers)
        if found["router"] and found.end() == len(group[0].name):
            routed |= layers
    return held, routed


def _by_list(
    fields: Mapping[str, Any], named: str, held: Mapping[str, Collection[int]]
) -> Iterator[tuple[str, Collection[int], Collection[int]]]:
    """The key, the layers that it says to be of a kind, and those that are."""
    kinds, layers = fields.get("layer_types"), range(positive(fields, "num_hidden_layers") or 0)
    if kinds is None and named == "lfm2":
        listed = fields.get("full_attn_idxs")
        attends = {n for n in layers if not isinstance(listed, list) or n in listed}
        yield "layer_types", attends, held.get("self_attn", ())
    if not _LISTED.fullmatch(named) or not isinstance(kinds, list):
        return
    modules = [_MODULES.get(str(kind)) for kind in kinds]
    if None not in modules and len(set(modules)) > 1:
        first = modules[0]
        said = {n for n, module in enumerate(modules) if module == first}
        yield "layer_types", said, held.get(str(first), ())


def _by_period(
    fields: Mapping[str, Any], held: Mapping[str, Collection[int]], routed: Collection[int]
) -> Iterator[tuple[str, Collection[int], Collection[int]]]:
    """Jamba's: every so many layers one with attention, and one with a mixture."""
    for key, found in (("attn_layer", held.get("self_attn", ())), ("expert_layer", routed)):
        every, first = fields.get(f"{key}_period"), fields.get(f"{key}_offset")
        if isinstance(every, int) and isinstance(first, int):
            layers = range(positive(fields, "num_hidden_layers") or 0)
            said = {n for n in layers if every and n % every == first}
            yield f"{key}_period", said, found


def _mixtures(
    fields: Mapping[str, Any], named: str, routed: Collection[int]
) -> Iterator[tuple[str, Collection[int], Collection[int]]]:
    layers = range(positive(fields, "num_hidden_layers") or 0)
    key = _FIRST_DENSE.get(named, "")
    first, every = fields.get(key), positive(fields, "moe_layer_freq") or 1
    if isinstance(first, int):
        yield key, {n for n in layers if n >= first and n % every == 0}, routed
    listed = fields.get("mlp_layer_types")
    if isinstance(listed, list):
        yield "mlp_layer_types", {n for n, kind in enumerate(listed) if kind == "sparse"}, routed
    step, dense = fields.get("decoder_sparse_step"), fields.get("mlp_only_layers")
    if named in _BY_STEP and isinstance(step, int) and step > 0 and isinstance(dense, Sequence):
        sparse = {n for n in layers if n not in dense and (n + 1) % step == 0}
        yield "decoder_sparse_step" if step > 1 else "mlp_only_layers", sparse, routed


RULES = (
    Rule("CF015", "layer-kind-differs", Severity.ERROR, "makes layer {layer} of another kind than "
         "is stored, as {count} in all", "copy config.json that was written with these weights",
         _kinds, Need.MODEL, frozenset({Kind.FUSED})),
)  # fmt: skip
