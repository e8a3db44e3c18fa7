"""CF023, CF025 and on: tensors of a whole model that are none of the model's weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.packing import packed_elsewhere
from weighbridge.domain.companies import TRUNK_WORDS, WORDS
from weighbridge.domain.decoder_layers import BIAS_FLAGS, DECODERS, LayerModules, layer_modules
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import FusedModel, Kind, LoraModel, PeftModel
from weighbridge.domain.peft.selection import KEY_PREFIX
from weighbridge.domain.placement import Standing
from weighbridge.domain.rules.completeness import OF_A_LORA
from weighbridge.domain.rules.whole_model import generates, places, text_fields
from weighbridge.domain.tensors import TensorSpec
from weighbridge.domain.transformers_fields import forms_of

#: What trainers wrap a model in and keep beside it, by a part of the names that it leaves behind.
_WRAPPERS = (
    (re.compile(r"(.*\.)?_orig_mod\..*"), "torch.compile"),
    (re.compile(r"(.*\.)?(_fsdp_wrapped_module|_flat_param|_checkpoint_wrapped_module)(\..*)?"),
     "FSDP, or checkpointing of activations,"),
    (re.compile(r"(_forward_)?module\..*"), "DistributedDataParallel or DeepSpeed"),
    (re.compile(r"base_model\.model\..*"), "PEFT"),
    (re.compile(r"(model_)?state_dict\..*"), "a checkpoint of the training"),
    (re.compile(r"(optimi[sz]er|lr_scheduler|scheduler|ema|ema_model|rng_state)(_states?)?\..*"
                r"|.*\.(exp_avg|exp_avg_sq|momentum_buffer|weight\.[mv])"), "the optimizer"),
)  # fmt: skip
_INTEGERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
_LAYER = re.compile(r"layers\.\d+\.(?P<module>.+)\.(?P<leaf>[A-Za-z_]+)")
_NUMBERED = re.compile(r"\.\d+$")
_LEAVES = frozenset({"weight", "bias", "scales", "biases", "global_scale", "inv_freq"})
_TRUNK = re.compile(r"(embed_tokens|norm|final_layernorm|rotary_emb)\.[a-z_]+")
#: What stands before the layers and the embedding; the longer ones first.
_TRUNKS = (*sorted(DECODERS, key=len, reverse=True), "backbone.", "transformer.", "gpt_neox.")
_STACKS = frozenset({"layers", "h", "blocks"})
_HEAD = re.compile(r"(language_model\.|model\.)?lm_head\.[a-z_]+")


def _integers(subject: Subject) -> Iterator[Observation]:
    """Weights are floats. What loaders make of integers is noise at best: some refuse them, others
    cast them, and a scale that would tell what they stood for is not there."""
    model = subject.fused
    if packed_elsewhere(model):
        return
    names = {spec.name for spec in model.tensors}
    for group in model.alike:
        first = group[0]
        vector = first.name.endswith(".bias") and len(first.shape) == 1  # GPT-2 has masks as bias
        weight = first.name.endswith(".weight") and first.dtype != "U32"  # QT003 speaks of that
        if first.dtype not in _INTEGERS or not (vector or weight):
            continue
        paths = places(subject)
        for spec in group:
            module = spec.name.rpartition(".")[0]
            if not {f"{module}.scales", f"{module}.weight_scale"} & names:
                where = Location(paths.get(spec.name, ""), spec.name)
                yield Observation(where, {"dtype": spec.dtype})


def _wrapper(name: str) -> str | None:
    return next((what for form, what in _WRAPPERS if form.fullmatch(name)), None)


def _wrapped(subject: Subject) -> Iterator[Observation]:
    """No loader looks for a weight under such a name: mlx-lm refuses it, transformers and PEFT
    leave the tensor out, and go on with random weights or without the LoRA."""
    found: dict[str, list[str]] = {}
    for names in _names(subject):
        if (what := _wrapper(names[0])) is not None:
            found.setdefault(what, []).extend(names)
    for what, names in found.items():
        facts: dict[str, Fact] = {"what": what, "count": len(names)}
        yield Observation(Location(_file(subject, names[0]), names[0]), facts)


def _names(subject: Subject) -> Iterator[list[str]]:
    """The tensors' names, those together that differ in digits only; a PEFT adapter has PEFT's
    prefix by right."""
    match subject.model:
        case FusedModel() as model:
            yield from ([spec.name for spec in group] for group in model.alike)
        case PeftModel() as model:
            yield from ([spec.name.removeprefix(KEY_PREFIX)] for spec in model.tensors)
        case LoraModel() as model:
            yield from ([target.module + "."] for target in model.targets)
            yield from ([spec.name] for spec in model.others)


def _file(subject: Subject, name: str) -> str:
    model = subject.model
    assert model is not None
    return places(subject).get(name, "") if isinstance(model, FusedModel) else model.weights_path


def _stray(subject: Subject) -> Iterator[Observation]:
    """mlx-lm refuses a model with a parameter that its module has not; transformers leaves it out
    with a warning. Then what it holds was not published, or somebody else's was."""
    model = subject.fused
    known, entry = layer_modules(model.config), architecture_for(model.config)
    if packed_elsewhere(model) or not generates(model.config):
        return
    # Embedding models come without the head, and without the prefix of what is beside it.
    if not any(group[0].name.startswith(_TRUNKS) for group in model.alike):
        return
    if known is None and entry.standing is not Standing.CONVERTIBLE:
        return
    fields, names = text_fields(model.config), []
    towers = bool(entry.inside) or "text_config" in model.config
    for group in model.alike:
        first = group[0].name
        if _wrapper(first) is not None or OF_A_LORA.fullmatch(first):
            continue  # other rules speak of them
        if known is None:
            names += _foreign(group, fields, towers=towers)
        elif _is_stray(first, known, model):
            names += [spec.name for spec in group]
    if names:
        facts: dict[str, Fact] = {"type": str(model.config.get("model_type")), "count": len(names)}
        yield Observation(Location(places(subject).get(names[0], ""), names[0]), facts)


def _is_stray(name: str, known: LayerModules, model: FusedModel) -> bool:
    if _HEAD.fullmatch(name):
        return False
    trunk = next((t for t in _TRUNKS if name.startswith(t) and t in DECODERS), "")
    rest = name.removeprefix(trunk)
    if trunk and (layer := _LAYER.fullmatch(rest)):
        module = _NUMBERED.sub("", layer["module"])
        ours = module in known.every or module in known.some or module.endswith("rotary_emb")
        odd = layer["leaf"] not in _LEAVES and "scale" not in layer["leaf"]
        bias = layer["leaf"] == "bias" and "norm" not in module and known.unbiased
        return not ours or bias or (odd and module not in known.some)
    towers = architecture_for(model.config).inside
    return not (towers or (trunk == "model." and _TRUNK.fullmatch(rest)))


def _foreign(group: Sequence[TensorSpec], config: Mapping[str, Any], *, towers: bool) -> list[str]:
    """Those whose name is none that any architecture has there, which is all that can be said where
    layers are not alike; the names of the group differ in digits only."""
    name = group[0].name
    trunk = next((t for t in _TRUNKS if name.startswith(t)), "")
    first, *rest = name.removeprefix(trunk).split(".")
    if not (trunk and first in _STACKS and len(rest) > 1 and rest[0].isdecimal()):
        usual = towers or first in TRUNK_WORDS or first == "mtp"
        return [] if usual else [spec.name for spec in group]
    odd = {word for word in rest[1:] if not word.isdecimal()} - WORDS - _LEAVES
    module, _, leaf = ".".join(rest[1:]).rpartition(".")
    denied = (form for flag, form in BIAS_FLAGS.items() if _denies(config, flag))
    bias = leaf == "bias" and any(form.fullmatch(module) for form in denied)
    # Behind the last layer are those that predict several tokens.
    layers, begin = positive(config, "num_hidden_layers") or 0, len(f"{trunk}{first}.")
    numbers = (spec.name[begin : spec.name.find(".", begin)] for spec in group if odd or bias)
    return [s.name for s, n in zip(group, numbers, strict=False) if len(n) < 6 and int(n) < layers]


def _denies(config: Mapping[str, Any], flag: str) -> bool:
    """True if the flag is false, and one that the type reads."""
    reads = flag == "attention_bias" or forms_of(str(config.get("model_type")), flag)
    return config.get(flag) is False and bool(reads)


_E, _FUSED = Severity.ERROR, frozenset({Kind.FUSED})
RULES = (
    Rule("CF023", "weight-not-float", _E, "is {dtype}, where a float belongs",
         "save the weights again in bfloat16, or quantise them with mlx_lm.convert", _integers,
         Need.MODEL, _FUSED),
    Rule("CF025", "name-wrapped", _E, "is named as by {what}, and so are {count} tensors in all",
         "save the model that is inside, without what trains it", _wrapped, Need.MODEL,
         frozenset(Kind)),
    Rule("CF026", "stray-tensor", _E, "is no tensor that a model of type {type} has; there are "
         "{count} in all", "leave it out, or write the model_type that has it", _stray, Need.MODEL,
         _FUSED),
)  # fmt: skip
