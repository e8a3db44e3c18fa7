"""CF027 and on: words in config.json by which loaders choose what to build."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from weighbridge.domain.architectures import ARCHITECTURES, architecture_for, class_name
from weighbridge.domain.config_view import ConfigView, config_view
from weighbridge.domain.detection import CONFIG
from weighbridge.domain.experts import EXPERT_COUNTS
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.mlx.reading import REMAPPED
from weighbridge.domain.models import Kind
from weighbridge.domain.transformers_defaults import UNKNOWN

#: transformers' own; a test takes them from there again.
ACTIVATIONS = frozenset(
    {"gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python",
     "gelu_python_tanh", "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear",
     "mish", "prelu", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus",
     "swish", "tanh", "xielu"}
)  # fmt: skip
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act",
                "mamba_hidden_act")  # fmt: skip
_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64", "auto", "half", "float",
                     "float8_e4m3fn", "float8_e5m2"})  # fmt: skip
#: By what rotary embeddings are scaled: the fields that neither stack has a default for.
SCALINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("default", "mrope", "proportional"), ()),
    **dict.fromkeys(("linear", "dynamic", "yarn", "deepseek_yarn", "telechat3-yarn"), ("factor",)),
    **dict.fromkeys(("longrope", "su"), ("short_factor", "long_factor")),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor",
               "high_freq_factor"),
}  # fmt: skip
#: The kinds of layers that transformers has, and its former names for some.
LAYER_KINDS = frozenset(
    {"attention", "chunked_attention", "compressed_sparse_attention", "conv",
     "deepseek_sparse_attention", "dense", "full_attention", "heavily_compressed_attention",
     "hybrid", "hybrid_sliding", "indexed_attention", "linear_attention", "mamba",
     "minimax_m3_sparse", "moe", "qwen_sparse_attention", "reference_sliding_attention",
     "sliding_attention", "sparse", "window_attention"}
)  # fmt: skip
#: Whose routers always choose groups of experts first.
_GROUPED = frozenset({"deepseek_v3", "dots1", "mistral4"})
_JOINED = frozenset({"gpt2", "gpt_bigcode", "gptj", "gpt_neox", "dbrx"})
_STEM = re.compile(r"(\w+?)(For[A-Z]\w+|LMHead\w*|Model)")


def _unknown(subject: Subject) -> Iterator[Observation]:
    """transformers, and mlx-lm where it reads the field, raise when they build the model."""
    view = config_view(subject.fused.config)
    if view is None or view.defaults == UNKNOWN:
        return  # code that comes along may know other words
    problems = (_words(view.text), _scalings(view), _layer_types(view.text), _chosen(view.text),
                _heads(view.text))  # fmt: skip
    for key, problem in chain.from_iterable(problems):
        yield Observation(Location(CONFIG, view.prefix + key), {"problem": problem})
    vision = view.whole.get("vision_config")
    for key, problem in _of_tower(vision) if isinstance(vision, Mapping) else ():
        yield Observation(Location(CONFIG, f"vision_config.{key}"), {"problem": problem})


def _words(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = {**dict.fromkeys(_ACTIVATIONS, ACTIVATIONS), "dtype": _DTYPES, "torch_dtype": _DTYPES}
    for key, words in known.items():
        value = fields.get(key)
        if isinstance(value, str) and value.removeprefix("torch.") not in words:
            yield key, f"is {value[:40]!r}, which transformers does not know"


def _of_tower(vision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _words(vision)
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "depth", "patch_size"):
        if vision.get(key, 1) is None or _is_below_one(vision.get(key)):
            yield key, f"is {json.dumps(vision[key])}, which is no size"
    yield from _divided(vision, ("embed_dim", "hidden_size"), ("num_attention_heads", "num_heads"))


def _heads(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where one matrix holds all heads, its shape does not tell their number."""
    if fields.get("model_type") in _JOINED:
        yield from _divided(fields, ("n_embd", "hidden_size"), ("n_head", "num_attention_heads"))


def _divided(
    fields: Mapping[str, Any], widths: Sequence[str], counts: Sequence[str]
) -> Iterator[tuple[str, str]]:
    width = next((n for key in widths if (n := positive(fields, key))), None)
    for key in counts:
        heads = positive(fields, key)
        if width and heads and width % heads and fields.get("head_dim") is None:
            yield key, f"is {heads}, which does not divide a width of {width}"


def _scalings(view: ConfigView) -> Iterator[tuple[str, str]]:
    for rope in (view.rope, view.local_rope):
        kind = rope.get("rope_type", rope.get("type", "default"))
        name = "rope_scaling" if view.text.get("rope_scaling") else "rope_parameters"
        if not isinstance(kind, str) or kind not in SCALINGS:
            yield name, f"is of type {str(kind)[:40]!r}, which no stack knows"
        for key in ("rope_theta", "partial_rotary_factor"):
            if rope.get(key, 1) is None:
                yield name, f"has null for {key}"
        for key in SCALINGS.get(str(kind), ()):
            if rope.get(key) is None and view.text.get(key) is None:
                yield name, f"is of type {kind} without {key}"


def _layer_types(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kinds, layers = fields.get("layer_types"), positive(fields, "num_hidden_layers")
    if not isinstance(kinds, list):
        return
    if layers is not None and len(kinds) != layers:
        yield "layer_types", f"has {len(kinds)} entries for {layers} layers"
    for other in sorted({str(kind)[:40] for kind in kinds} - LAYER_KINDS)[:1]:
        yield "layer_types", f"names {other!r}, which is no kind of layer that transformers has"
    window = fields.get("sliding_window", 1)
    if "sliding_attention" in kinds and (window is None or _is_below_one(window)):
        yield (
            "sliding_window",
            f"is {json.dumps(window)}, though layer_types name sliding_attention",
        )


def _chosen(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    counts = (positive(fields, name) for name in EXPERT_COUNTS)
    held = next((n for n in counts if n is not None), 0)
    if held < 2:  # one is no mixture
        return
    key, width = "num_experts_per_tok", "moe_intermediate_size"
    chosen = 0 if fields.get(key) == 0 else positive(fields, key) or 1
    if not 0 < chosen <= held:
        yield key, f"is {chosen}, of {held} experts"
    if fields.get(width) == 0:
        yield width, f"is 0, with {held} experts"
    named, turned = fields.get("model_type"), positive(fields, "qk_rope_head_dim")
    if named == "deepseek_v3" and turned and fields.get("head_dim", turned) != turned:
        yield "head_dim", f"is {json.dumps(fields['head_dim'])}, but qk_rope_head_dim is {turned}"
    for group in ("n_group", "topk_group"):
        nothing = fields.get(group, 1) is None and named in _GROUPED
        if nothing or _is_below_one(fields.get(group)):
            yield group, f"is {json.dumps(fields[group])}, of {held} experts"
    groups, most = positive(fields, "n_group"), positive(fields, "topk_group")
    if groups is not None and held % groups:
        yield "n_group", f"is {groups}, which does not divide {held} experts"
    elif groups is not None and most is not None and most > groups:
        yield "topk_group", f"is {most}, of {groups} groups"


def _is_below_one(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value < 1


def _other_class(subject: Subject) -> Iterator[Observation]:
    """transformers and mlx-lm build what model_type says, vLLM, SGLang and llama.cpp what the class
    says: one file, two models, or an error in one half of the programs."""
    config = subject.fused.config
    named, model_type = class_name(config), config.get("model_type")
    stem = _STEM.fullmatch(named)
    if stem is None or not isinstance(model_type, str) or model_type in REMAPPED:
        return
    own, said = _plain(architecture_for(config).model_type), stem[1].lower().replace("_", "")
    others = {_plain(name) for name in ARCHITECTURES}
    if said in others and not own.startswith(said) and not said.startswith(own):
        yield Observation(Location(CONFIG, "architectures"), {"named": named, "type": model_type})


def _plain(model_type: str) -> str:
    return model_type.replace("_", "").replace("-", "").lower()


_FUSED = frozenset({Kind.FUSED})
_COPY = "copy the value from the base model's config.json"
RULES = (
    Rule("CF027", "value-unknown", Severity.ERROR, "{problem}", _COPY, _unknown, Need.MODEL,
         _FUSED),
    Rule("CF028", "class-of-another-type", Severity.WARNING, "names {named}, which is no class of "
         "model_type {type}", _COPY, _other_class, Need.MODEL, _FUSED),
)  # fmt: skip
