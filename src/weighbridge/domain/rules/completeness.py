"""CF021 and on: whether a whole model has all of its tensors, and none of a LoRA.

What is missing shows beside what is there: another layer has it, or another expert, or all layers
of the type.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.packing import packed_elsewhere
from weighbridge.domain.companies import absent_companions, keeps_company
from weighbridge.domain.decoder_layers import BIAS_FLAGS, DECODERS, layer_modules
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import places, text_fields
from weighbridge.domain.tensors import TensorSpec
from weighbridge.domain.transformers_fields import forms_of

_MOST_SHOWN = 8
OF_A_LORA = re.compile(
    r".*\.(lora_[abAB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer)(\..*)?"
)

_DIGIT = re.compile(r"\d")
_DECODERS = tuple(DECODERS)
_TRUNK = (
    r"((language_model\.)?model\.|model\.language_model\.|transformer\.|backbone\.|gpt_neox\.)?"
)
_ANY_LAYER = re.compile(rf"(?P<layer>{_TRUNK}(layers|h|blocks)\.\d+\.)(?P<part>\w+)")
#: What a layer has of each kind, as most call it, and as any does.
_PARTS = {
    "input_layernorm": re.compile(r".*norm.*|ln_[12]"),
    "self_attn": re.compile(r".*attn.*|attention|mamba|mixer|temporal_block|conv"),
    "mlp": re.compile(r"mlp.*|ff[nw]|feed_forward|block_sparse_moe|shared_mlp|mixer|.*experts"),
}
_TOWER = re.compile(r"(model\.)?(visual|vision_tower|vision_model)\.")
#: What hands a tower's answer to the text model.
_BRIDGE = re.compile(r"projector|merger|connector|adapter|embed_vision|mm_|perceiver|resampler")
#: Of attention whose keys and values come from few numbers, which has a bias just there.
_LATENT = re.compile(r"self_attn\.kv_a_proj_with_mqa")
_LAYER = re.compile(r"((language_model\.)?model|model\.language_model|backbone)\.layers\.\d+\.")
#: What is before the layers and behind them, as most call it, and as any does.
_ENDS = {
    "model.embed_tokens.weight": re.compile(
        rf"{_TRUNK}(embed_tokens|embed_in|wte|(word_|tok_)?embeddings)\.weight"),
    "model.norm.weight": re.compile(
        rf"{_TRUNK}(norm|norm_f|ln_f|(final|embedding)_(layer_?)?norm)\.weight"),
}  # fmt: skip


def _missing(subject: Subject) -> Iterator[Observation]:
    """transformers fills in random weights for it, and says so in a log only; mlx-lm refuses the
    model."""
    model = subject.fused
    # Other tools' packing gives what is in a module other names.
    alone = () if packed_elsewhere(model) else _absent(model)
    absent = list(dict(chain(alone, _of_companies(model), _by_flag(model))).items())
    for name, beside in absent[:_MOST_SHOWN]:
        yield Observation(Location(model.weights_paths[0], name), {"beside": beside})
    if len(absent) > _MOST_SHOWN:
        rest = f"nor are {len(absent) - _MOST_SHOWN} more"
        yield Observation(Location(model.weights_paths[0]), {"beside": rest})


def _by_flag(model: FusedModel) -> Iterator[tuple[str, str]]:
    """Biases that config.json says are there, of types whose layers differ as well, or whose heads
    are of parts."""
    fields = text_fields(model.config)
    named = str(fields.get("model_type") or model.config.get("model_type"))
    flags = [f for f in BIAS_FLAGS if fields.get(f) is True and forms_of(named, f)]
    held: dict[str, dict[str, str]] = {}  # by what is below the layer, in whichever layer
    for group in model.alike if flags else ():
        if layer := _LAYER.match(group[0].name):
            path, _, leaf = group[0].name[layer.end() :].rpartition(".")
            held.setdefault(path, {})[leaf] = group[0].name
    for flag in flags:
        latent = flag == "attention_bias" and any(map(_LATENT.fullmatch, held))
        form = _LATENT if latent else BIAS_FLAGS[flag]
        for path, leaves in sorted(held.items()):
            if form.fullmatch(path) and "weight" in leaves and "bias" not in leaves:
                name = leaves["weight"].removesuffix("weight") + "bias"
                yield name, f"in any layer, though {flag} is true"


def _absent(model: FusedModel) -> Iterator[tuple[str, str]]:
    """Each weight that is not there, and what tells that it should be."""
    weights = [group for group in model.alike if group[0].name.endswith((".weight", ".bias"))]
    if architecture_for(model.config).uniform:
        layers, names = _members(weights, "layers.", DECODERS), {g[0].name for g in weights}
        yield from _uneven(layers, "layers.", "though other layers have it")
        for trunk, leaves in layers.items():
            yield from _in_no_layer(trunk, leaves, model)
            yield from _of_the_trunk(trunk, leaves, names)
    experts = _members(weights, ".experts.")
    yield from _uneven(experts, ".experts.", "though other experts have it")


def _of_companies(model: FusedModel) -> Iterator[tuple[str, str]]:
    """The same of what is not known by name: layers that differ, towers, and others' packing."""
    entry, elsewhere = architecture_for(model.config), packed_elsewhere(model)
    if not keeps_company(entry.model_type):
        return
    known = layer_modules(model.config) is not None and not elsewhere
    others = (g for g in model.alike if not (known and g[0].name.startswith(_DECODERS)))
    yield from absent_companions(others, entry.model_type)
    yield from () if known or elsewhere else _whole_parts(model)
    names = [group[0].name for group in model.alike]
    if entry.inside and any(map(_TOWER.match, names)) and not any(map(_BRIDGE.search, names)):
        yield "multi_modal_projector", "though the tower for images is"


def _in_no_layer(
    trunk: str, leaves: Mapping[str, list[str]], model: FusedModel
) -> Iterator[tuple[str, str]]:
    """What all layers lack that those of the type have."""
    known = layer_modules(model.config)
    if known is None:
        return
    wanted = [f"{module}.weight" for module in sorted(known.every)]
    beside = "in any layer, though the architecture has it in each"
    for leaf in (*wanted, *(f"{module}.bias" for module in known.biased)):
        if leaf not in leaves:
            yield f"{trunk}layers.0.{leaf}", beside


#: By what stands before the numbers of layers or experts, and by the rest of the name: the numbers.
_Members: TypeAlias = Mapping[str, Mapping[str, list[str]]]


def _members(
    groups: Iterable[Sequence[TensorSpec]], mark: str, heads: frozenset[str] | None = None
) -> _Members:
    """``groups`` are tensors whose names differ in digits only, so that ``mark`` is in all at the
    same place."""
    found: dict[str, dict[str, list[str]]] = {}
    for group in groups:
        name = group[0].name
        at = name.find(mark)
        begin, end = at + len(mark), name.find(".", at + len(mark))
        number, head, leaf = name[begin:end], name[:at], name[end + 1 :]
        plain = number.isdecimal() and len(number) < 6
        if at < 0 or not plain or (heads is not None and head not in heads):
            continue
        if _DIGIT.search(head + leaf) is None:  # the same in the whole group
            numbers = found.setdefault(head, {}).setdefault(leaf, [])
            numbers.extend([spec.name[begin:end] for spec in group])
            continue
        for spec in group:
            leaves = found.setdefault(spec.name[:at], {})
            leaves.setdefault(spec.name[end + 1 :], []).append(spec.name[begin:end])
    return found


def _uneven(groups: _Members, mark: str, beside: str) -> Iterator[tuple[str, str]]:
    for head, leaves in groups.items():
        most = max(map(len, leaves.values()))
        if all(len(numbers) == most for numbers in leaves.values()):
            continue
        every = sorted(set(chain.from_iterable(leaves.values())), key=int)
        for leaf, numbers in sorted(leaves.items()):
            held = frozenset(numbers)
            yield from ((f"{head}{mark}{n}.{leaf}", beside) for n in every if n not in held)


def _of_the_trunk(
    trunk: str, leaves: Mapping[str, list[str]], names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The embedding and the last norm of the trees that are like Llama's."""
    if "self_attn.o_proj.weight" not in leaves:
        return
    if f"{trunk}embed_tokens.weight" not in names:
        yield f"{trunk}embed_tokens.weight", "though the layers are"
    if not any(f"{trunk}{norm}.weight" in names for norm in ("norm", "final_layernorm")):
        yield f"{trunk}norm.weight", "though the layers are"


def _whole_parts(model: FusedModel) -> Iterator[tuple[str, str]]:
    """The embedding and the last norm of any other tree, and what all of its layers are made of."""
    names = [group[0].name for group in model.alike]
    layers = [layer for name in names if (layer := _ANY_LAYER.match(name))]
    for end, form in _ENDS.items() if layers else ():
        if not any(form.fullmatch(name) for name in names):
            yield end, "though the layers are"
    parts = {layer["part"] for layer in layers}
    for part, form in _PARTS.items() if layers else ():
        if not any(map(form.fullmatch, parts)):
            yield f"{layers[0]['layer']}{part}.weight", "in any layer"


def _not_fused(subject: Subject) -> Iterator[Observation]:
    """Loaders leave it out: the model is the base, without what was trained."""
    alike = subject.fused.alike
    found = [t.name for group in alike if OF_A_LORA.fullmatch(group[0].name) for t in group]
    if found:
        path = places(subject).get(found[0], "")
        yield Observation(Location(path, found[0]), {"count": len(found)})


_E, _FUSED = Severity.ERROR, frozenset({Kind.FUSED})
RULES = (
    Rule("CF021", "tensor-missing", _E, "is not there, {beside}",
         "fuse or convert again, and copy all of the weights", _missing, Need.MODEL, _FUSED),
    Rule("CF022", "lora-not-fused", _E, "is of a LoRA, as are {count} tensors in all",
         "fuse the LoRA into the weights: weighbridge fuse RUN --base DIR -o OUT", _not_fused,
         Need.MODEL, _FUSED),
)  # fmt: skip
