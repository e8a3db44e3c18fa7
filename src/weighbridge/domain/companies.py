"""Modules that come together below one path, whatever the architecture is.

Architectures differ in how they arrange attention, mixtures and recurrences, and hardly in what
each of these is made of. So a part that is not there shows beside the others, in layers that are
not alike and in towers too. A test holds this against what transformers and mlx-lm build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from attrs import frozen

from weighbridge.domain.architectures import ARCHITECTURES
from weighbridge.domain.tensors import TensorSpec


@frozen
class _Company:
    """``members`` are names of modules, several of one if architectures differ in it. If so many as
    ``least`` are there, all are; ``unless`` others are that stand in for some, or the type is one
    of those ``apart``, or not one of those that ``alone`` have it. They are ``below`` such a
    path."""

    members: tuple[str, ...]
    least: int
    unless: str = "(?!)"
    apart: str = "(?!)"
    alone: str = ".*"
    below: str = ".*"


_KV = "kv_a_proj_with_mqa"
_COMPANIES = (
    # Layers of Gemma 3n and 4 may take the keys and values of an earlier one.
    _Company(("q_proj", "k_proj", "v_proj", "o_proj|out_proj|dense|w?o|proj"), 2, f"{_KV}|qkv_proj",
             "gemma3n.*|gemma4.*"),
    _Company((_KV, "kv_a_layernorm", "kv_b_proj|embed_q", "q_proj|q_b_proj", "o_proj|dense"), 3),
    _Company(("q_proj", "sinks"), 1, alone="gpt_oss"),
    _Company(("qkv", "proj"), 1, "q_proj|o_proj|out_proj|dense|projection|wo", below=r".*attn"),
    _Company(("q_a_proj", "q_a_layernorm", "q_b_proj"), 1),
    _Company(("embed_q", "unembed_out"), 1),
    _Company(("q_norm", "k_norm"), 1, "wk", "gemma3n.*|gemma4.*"),
    _Company(("q_layernorm", "k_layernorm"), 1),
    _Company(("gate_proj", "up_proj", "down_proj"), 2, apart="nemotron.*|apertus|phi3small"),
    _Company(("up_proj|gate_up_proj", "down_proj"), 1),
    _Company(("w1", "w2", "w3"), 2, "v1", "qwen"),
    _Company(("w1", "v1", "w2"), 2, "w3", "qwen"),
    _Company(("fc1", "fc2"), 1, "fc0"),
    _Company(("experts|switch_mlp", "gate|router"), 1, "input_linear", "afmoe|step3p5"),
    _Company(("input_linear", "output_linear"), 1),
    _Company(("input_linear", "output_linear", "router"), 2, below=r".*block_sparse_moe"),
    _Company(("gate_up_proj_blocks", "gate_up_proj_scales", "down_proj_blocks",
              "down_proj_scales"), 1),
    _Company(("shared_expert", "shared_expert_gate"), 1, apart="laguna|llama4.*"),
    # Mamba's, and those of gated delta rules.
    _Company(("A_log", "D", "in_proj", "out_proj", "conv1d"), 4),
    _Company(("A_log", "D", "in_proj", "out_proj", "conv1d", "dt_bias"), 5, "x_proj"),
    _Company(("A_log", "in_proj", "norm"), 2, alone="mamba2|granitemoehybrid|nemotron_h"),
    _Company(("A_log", "dt_bias", "conv1d", "norm", "out_proj", "in_proj_qkvz?"), 5, "in_proj"),
    _Company(("x_proj", "dt_proj"), 1, apart="plamo2"),
    _Company(("in_proj_qkvz", "in_proj_ba"), 1),
    _Company(("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b"), 1),
    _Company(("conv", "in_proj", "out_proj"), 2, "A_log|conv1d"),
    _Company(("q_conv(1d)?", "k_conv(1d)?", "v_conv(1d)?"), 1),
    _Company(("b_layernorm", "c_layernorm", "dt_layernorm"), 1),
    _Company(("linear_x", "linear_y", "linear_out"), 1),
    _Company(("pre_feedforward_layernorm", "post_feedforward_layernorm"), 1,
             apart="olmo.*|exaone4"),
    _Company(("input_layernorm", "post_attention_layernorm|pre_ff_layernorm"), 1,
             apart="cohere.*|phi|olmo.*|exaone4|stablelm"),
    _Company(("operator_norm|attention_norm", "ffn_norm"), 1),
    _Company(("layer_norm1", "layer_norm2"), 1),
    _Company(("norm1", "norm2"), 1, "norm0"),
)  # fmt: skip
_IN_LAYERS = """
A_log D Wqkv a_proj act_fn alpha_n alpha_p attention attention_layernorm attention_sink_bias attn
b_layernorm b_proj beta block_sparse_moe c_attn c_fc c_layernorm c_proj channel_pre_norm classifier
conv conv1d conv_1d dense dense_4h_to_h dense_h_to_4h down_proj down_proj_bias down_proj_blocks
down_proj_scales dt_bias dt_layernorm dt_proj e_score_correction_bias embed_q eps expert_bias
experts f_a_proj f_b_proj f_proj fc1 fc1_latent_proj fc2 fc2_latent_proj fc_in fc_out feed_forward
feedforward_layernorm ffn ffn_norm final_layernorm forget_gate g_a_proj g_b_proj g_proj gate
gate_proj gate_up_proj gate_up_proj_bias gate_up_proj_blocks gate_up_proj_scales in_proj in_proj_a
in_proj_b in_proj_ba in_proj_qkv in_proj_qkvz in_proj_z index_k_norm index_k_proj index_q_norm
index_q_proj indexer input_gate_bias input_gate_weight input_layernorm input_linear inv_freq k_conv
k_conv1d k_layernorm k_norm k_proj key_layernorm kv_a_layernorm kv_a_proj_with_mqa kv_b_proj layer
layer_scalar linear_attn linear_out linear_x linear_y ln_1 ln_2 mamba masked_bias mixer mlp
mlp_block mlps moe_statics norm norm_1 norm_2 norm_attn_norm norms o_norm o_proj operator_norm
out_proj output_linear per_layer_input_gate per_layer_projection per_expert_scale
post_attention_layernorm post_feedforward_layernorm post_feedforward_layernorm_1
post_feedforward_layernorm_2 pre_feedforward_layernorm_2 post_mlp_layernorm
post_per_layer_input_norm post_self_attn_layernorm pre_feedforward_layernorm pre_ff_layernorm
pre_mlp_layernorm proj q_a_layernorm q_a_proj q_b_proj q_conv q_conv1d q_layernorm q_norm q_proj
qkv_proj query_key_value query_layernorm recurrent_gate_bias recurrent_gate_weight recurrent_param
rg_lru rotary_emb router scale scales self_attn shared_expert shared_expert_gate shared_experts
shared_mlp sinks switch_glu switch_mlp temporal_block temporal_pre_norm unembed_out up_proj v1
v_conv v_conv1d v_proj w1 w2 w3 weight weights_proj wk wq_b x_proj
"""
_AROUND_LAYERS = """
embed_in embed_out embed_tokens embed_tokens_per_layer embedding_norm embeddings final_layer_norm
final_layernorm final_norm lm_head ln_f ngram_embeddings norm norm_f per_layer_model_projection
per_layer_projection_norm rotary_emb word_embeddings wpe wte
"""
#: Every name of a module or a parameter in a layer of a text model, and of the trunk around them.
WORDS, TRUNK_WORDS = frozenset(_IN_LAYERS.split()), frozenset(_AROUND_LAYERS.split())
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h|block|resblocks)\.\d+\.")
_DIGITS = re.compile(r"\d+")
_NUMBERED_WORD = re.compile(r"[a-z_]\d+")
_ENDS = (".bias", ".scales", ".biases", ".global_scale", "e_score_correction_bias")

_BARE = re.compile("A_log|D|dt_bias|sinks|.*_(blocks|scales)")
#: Types that add a bias to the router's answer in every mixture, wherever they keep it.
_CORRECTED = ("deepseek_v3|deepseek_v32|kimi_.*|glm4_moe.*|glm_moe_dsa|dots1|exaone_moe|solar_open"
              "|mimo_v2_flash|minimax_m2|nemotron_h|longcat_flash|afmoe")  # fmt: skip
_ROUTER = re.compile(r"\.(gate|router)(\.(classifier|gate))?\.weight$")
_CORRECTION = re.compile(
    r"(\.(gate|router|experts|moe_statics))?\.(e_score_correction|expert)_bias$"
)
#: Types that are put together in other ways, or that nobody here has built.
_UNLIKE = frozenset(
    {"afm7", "deepseek_v41", "deepseek_v41_text", "gemma3n", "hunyuan", "kimi_k3", "lfm2-vl",
     "muse_spark", "nanochat", "nemotron-nas", "olmo", "openelm", "phixtral",
     "prism_hadamard_qwen35", "rwkv7", "spark2_5"}
)  # fmt: skip

#: Of what has the same path but for numbers: the tensors by their next name. What has further
#: modules in it is represented by those of one of them.
_Children: TypeAlias = Mapping[str, Sequence[TensorSpec]]


def keeps_company(model_type: str) -> bool:
    """True for a type of mlx-lm's whose modules were seen to come together as others' do."""
    return model_type in ARCHITECTURES and model_type not in _UNLIKE


def absent_companions(
    groups: Iterable[Sequence[TensorSpec]], model_type: str
) -> Iterator[tuple[str, str]]:
    """Each weight that is not there, and one of those that tell that it should be.

    ``groups`` are tensors whose names differ in digits only.
    """
    listed = tuple(chain.from_iterable(map(_by_word, groups)))
    companies = [
        c
        for c in _COMPANIES
        if re.fullmatch(c.alone, model_type) and not re.fullmatch(c.apart, model_type)
    ]
    for parent, children in _by_parent(listed).items():
        for company in companies:
            if company.below == ".*" or re.fullmatch(company.below, parent):
                yield from _absent(children, company)
    yield from _uneven_biases(listed)
    if re.fullmatch(_CORRECTED, model_type):
        yield from _uncorrected(listed)


def _uncorrected(groups: Iterable[Sequence[TensorSpec]]) -> Iterator[tuple[str, str]]:
    """Where a mixture chooses its experts without what was learnt to balance them."""
    routers: dict[str, str] = {}
    corrected: set[str] = set()
    for group in groups:
        if router := _ROUTER.search(group[0].name):
            routers |= {spec.name[: router.start()]: spec.name for spec in group}
        elif _CORRECTION.search(group[0].name):
            corrected |= {_CORRECTION.sub("", spec.name) for spec in group}
    for mixture in sorted(routers.keys() - corrected, key=_in_order):
        chooser = routers[mixture].removesuffix(".weight")
        yield f"{chooser}.e_score_correction_bias", "though the router is"


def _uneven_biases(groups: Iterable[Sequence[TensorSpec]]) -> Iterator[tuple[str, str]]:
    """Those that a module has in one layer and not in another."""
    found: dict[str, dict[str, list[TensorSpec]]] = {}
    for group in groups:
        path, _, leaf = group[0].name.rpartition(".")
        if leaf in ("weight", "bias") and _LAYER.search(path + "."):
            found.setdefault(_DIGITS.sub("#", path), {}).setdefault(leaf, []).extend(group)
    for leaves in found.values():
        biases, weights = leaves.get("bias", ()), leaves.get("weight", ())
        names = {spec.name for spec in biases} if len(biases) < len(weights) else set()
        for spec in weights if names else ():
            name = spec.name.removesuffix("weight") + "bias"
            if name not in names:
                yield name, "though other layers have it"


def _by_parent(groups: Iterable[Sequence[TensorSpec]]) -> Mapping[str, _Children]:
    found: dict[str, dict[str, list[TensorSpec]]] = {}
    inside: dict[tuple[str, str], str] = {}
    for group in groups:
        name = group[0].name
        layer = _LAYER.search(name)
        if layer is None or name.endswith(_ENDS):
            continue
        path = name.removesuffix(".weight").split(".")
        depth = name[: layer.end()].count(".")
        for at in range(depth, len(path)):
            parent, *rest = (_DIGITS.sub("#", ".".join(p)) for p in (path[:at], path[at + 1 :]))
            if inside.setdefault((parent, path[at]), rest[0]) == rest[0]:
                found.setdefault(parent, {}).setdefault(path[at], []).extend(group)
    return found


def _by_word(group: Sequence[TensorSpec]) -> Iterable[Sequence[TensorSpec]]:
    """Those together that differ in numbers of layers and experts only, and not in fc1 and fc2."""
    if _NUMBERED_WORD.search(group[0].name) is None:
        return [group]
    apart: dict[tuple[str, ...], list[TensorSpec]] = {}
    for spec in group:
        apart.setdefault(tuple(_NUMBERED_WORD.findall(spec.name)), []).append(spec)
    return apart.values()


def _absent(children: _Children, company: _Company) -> Iterator[tuple[str, str]]:
    held = [[name for name in children if re.fullmatch(member, name)] for member in company.members]
    counts = {sum(len(children[name]) for name in names) for names in held}
    if sum(map(bool, held)) < company.least or (len(counts) == 1 and all(held)):
        return  # none of these, or each as often as the others
    instead = _places(children, (n for n in children if re.fullmatch(company.unless, n)))
    each = [_places(children, names) for names in held]
    for place in sorted(frozenset().union(*each) - instead, key=_in_order):
        there = [place in places for places in each]
        if sum(there) >= company.least and not all(there):
            beside = next(names[0] for names, t in zip(held, there, strict=True) if t)
            for member, present in zip(company.members, there, strict=True):
                if not present:
                    name = re.split(r"[|(?]", member)[0]
                    ending = "" if _BARE.fullmatch(name) else ".weight"
                    yield f"{place}.{name}{ending}", f"though {beside} is"


def _places(children: _Children, names: Iterable[str]) -> frozenset[str]:
    """Below which layers and experts these names stand."""
    found: set[str] = set()
    for name in names:
        marks = (f".{name}.", f".{name}")
        for spec in children[name]:
            path = spec.name
            found.add(path[: path.rfind(marks[0]) if marks[0] in path else -len(marks[1])])
    return frozenset(found)


def _in_order(place: str) -> tuple[int, ...]:
    return tuple(int(n) for n in _DIGITS.findall(place) if len(n) < 10)
