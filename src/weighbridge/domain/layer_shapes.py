"""Sizes of the modules in layers that are not like Llama's, from the figures in config.json.

Mixtures, latent attention and recurrences are built alike in many types: each is written here once,
with the types that have it. Of all others the width of the model is known, and no more. A test
holds this against what transformers and mlx-lm build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import chain
from typing import TypeAlias

from weighbridge.domain.attention import PLAIN
from weighbridge.domain.layer_figures import adjusted_inner, figure
from weighbridge.domain.llama_shapes import expected_width, key_value_heads, positive

#: (out, in); None for what is not told.
Shape: TypeAlias = tuple[int | None, ...]
#: By the last two names of a module: out and in, as sums of products of figures.
_Modules: TypeAlias = Mapping[str, tuple[str, str]]

_ATTENTION = {"q_proj": ("heads*head", "width"), "k_proj": ("kv*head", "width"),
              "v_proj": ("kv*head", "width"), "o_proj": ("width", "heads*head"),
              "out_proj": ("width", "heads*head"),
              "qkv_proj": ("heads*head+2*kv*head", "width")}  # fmt: skip
_NOPE, _ROPE = "qk_nope_head_dim", "qk_rope_head_dim"
_LATENT = {
    "q_a_proj": ("q_lora_rank", "width"),
    "q_b_proj": (f"heads*{_NOPE}+heads*{_ROPE}", "q_lora_rank"),
    "kv_a_proj_with_mqa": (f"kv_lora_rank+{_ROPE}", "width"),
    "kv_b_proj": (f"heads*{_NOPE}+heads*v_head_dim", "kv_lora_rank"),
}
_KEYS, _VALUES = "linear_num_key_heads*linear_key_head_dim", "linear_num_value_heads"
_OF_VALUES = f"{_VALUES}*linear_value_head_dim"
_DELTA = {
    "in_proj_qkvz": (f"2*{_KEYS}+2*{_OF_VALUES}", "width"),
    "in_proj_ba": (f"2*{_VALUES}", "width"),
    "in_proj_qkv": (f"2*{_KEYS}+{_OF_VALUES}", "width"),
    "in_proj_z": (_OF_VALUES, "width"),
    "in_proj_a": (_VALUES, "width"),
    "in_proj_b": (_VALUES, "width"),
    "out_proj": ("width", _OF_VALUES),
}


def _below(parent: str, modules: _Modules) -> _Modules:
    return {f"{parent}.{name}": sizes for name, sizes in modules.items()}


def _gated(parent: str, inner: str) -> _Modules:
    """A feed-forward network, by each set of names that it has."""
    reads, writes = (inner, "width"), ("width", inner)
    joined = ("+".join(f"2*{term}" for term in inner.split("+")), "width")
    names = {
        **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3", "fc1", "c_fc"), reads),
        **dict.fromkeys(("down_proj", "w2", "fc2"), writes),
        **dict.fromkeys(("gate_up_proj", "input_linear"), joined),
        "output_linear": writes,
    }
    return _below(parent, names)


def _experts(inner: str) -> _Modules:
    return {k: v for parent in ("experts", "switch_mlp", "switch_glu")
            for k, v in _gated(parent, inner).items()}  # fmt: skip


def _mamba(parent: str, inner: str, rank: str, state: str) -> _Modules:
    return _below(
        parent,
        {
            "in_proj": (f"2*{inner}", "width"),
            "out_proj": ("width", inner),
            "x_proj": (f"{rank}+2*{state}", inner),
            "dt_proj": (inner, rank),
        },
    )


def _mamba2(parent: str, heads: str, head: str, groups: str, state: str) -> _Modules:
    inner = f"{heads}*{head}"
    return _below(
        parent,
        {
            "in_proj": (f"2*{inner}+2*{groups}*{state}+{heads}", "width"),
            "out_proj": ("width", inner),
        },
    )


_GROUPED = _below("self_attn", _ATTENTION)
_TWICE = {**_GROUPED, "self_attn.q_proj": ("2*heads*head", "width")}
_SPLIT = _below("self_attn", {**_LATENT, "o_proj": ("width", "heads*v_head_dim")})
_DENSE = _gated("mlp", "intermediate_size")
_FEED = _gated("feed_forward", "intermediate_size")
_OWN, _SAME = _experts("moe_intermediate_size"), _experts("intermediate_size")
_SHARED = _gated("shared_expert", "shared_expert_intermediate_size")
_ROUTED = _gated("shared_experts", "n_shared_experts*moe_intermediate_size")
_COUNTED = _gated("shared_experts", "num_shared_experts*moe_intermediate_size")
_LINEAR = _below("linear_attn", _DELTA)
_GRANITE = {**_GROUPED, **_gated("block_sparse_moe", "intermediate_size"), **_SAME,
            **_gated("shared_mlp", "shared_intermediate_size")}  # fmt: skip
_HYBRID_HEADS = ("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state")
_TREES: tuple[tuple[str, tuple[_Modules, ...]], ...] = (
    ("apertus smollm3 starcoder2 phi phi3 olmo_hybrid", (_GROUPED, _DENSE)),
    ("qwen3_moe qwen3_vl_moe mellum", (_GROUPED, _DENSE, _OWN)),
    ("qwen2_moe", (_GROUPED, _DENSE, _OWN, _SHARED)),
    ("qwen3_next qwen3_5 qwen3_5_moe", (_TWICE, _DENSE, _OWN, _SHARED, _LINEAR)),
    ("mixtral phimoe olmoe gpt_oss minimax_m2", (_GROUPED, _SAME)),
    ("dots1 glm4_moe solar_open", (_GROUPED, _DENSE, _OWN, _ROUTED)),
    ("afmoe exaone_moe", (_GROUPED, _DENSE, _OWN, _COUNTED)),
    ("ernie4_5_moe", (_GROUPED, _DENSE, _OWN,
                      _gated("shared_experts", "moe_num_shared_experts*moe_intermediate_size"))),
    ("deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 glm4_moe_lite glm_moe_dsa mistral4 minicpm3",
     (_SPLIT, _DENSE, _OWN, _ROUTED)),
    ("kimi_linear", (_below("self_attn", _LATENT), _DENSE, _OWN, _COUNTED)),
    ("longcat_flash", (_SPLIT, _gated("mlps", "ffn_hidden_size"),
                       _experts("expert_ffn_hidden_size"))),
    ("laguna", (_DENSE, _OWN, _SHARED)),
    ("mimo_v2_flash", (_DENSE, _OWN)),
    ("llama4", (_GROUPED, _gated("feed_forward", "intermediate_size_mlp"), _SAME,
                _gated("shared_expert", "intermediate_size"))),
    ("lfm2", (_GROUPED, _gated("feed_forward", "adjusted"))),
    ("lfm2_moe", (_GROUPED, _FEED, _OWN)),
    ("granitemoe", (_GRANITE,)),
    ("granitemoehybrid", (_GRANITE, _mamba2("mamba", *_HYBRID_HEADS))),
    ("falcon_h1", (_GROUPED, _FEED, _mamba2("mamba", *_HYBRID_HEADS))),
    ("jamba", (_GROUPED, _FEED, _SAME,
               _mamba("mamba", "mamba_expand*width", "mamba_dt_rank", "mamba_d_state"))),
    ("mamba falcon_mamba", (_mamba("mixer", "intermediate_size", "time_step_rank", "state_size"),)),
    ("mamba2", (_mamba2("mixer", "num_heads", "head_dim", "n_groups", "state_size"),)),
    ("nemotron_h", (_below("mixer", {k: v for k, v in _ATTENTION.items() if k != "out_proj"}),
                    _gated("mixer", "intermediate_size"), _OWN,
                    _gated("shared_experts", "moe_shared_expert_intermediate_size"),
                    _mamba2("mixer", "mamba_num_heads", "mamba_head_dim", "n_groups",
                            "ssm_state_size"))),
)  # fmt: skip
_EXPERTS = re.compile(r"(?:.*\.)?(?:switch_mlp|switch_glu|experts)")
#: Whose modules read and write the residual stream in every type; others may in some.
_OF_WIDTH = re.compile(r"(?:self_attn|mlp|block_sparse_moe|feed_forward)[a-z0-9_.]*")
_NUMBER = re.compile(r"\.\d+(?=\.)")
#: Convolutions along the text, one channel at a time, and what configs call the kernel's length.
_CONVOLUTION = re.compile(r".*\.(?:[qkv]_)?conv(?:_?1d)?")
_KERNELS = ("linear_conv_kernel_dim", "conv_kernel", "mamba_d_conv", "conv_L_cache", "conv1d_width")


@cache
def _modules(model_type: str) -> _Modules:
    trees = (trees for types, trees in _TREES if model_type in types.split())
    return {k: v for tree in chain.from_iterable(trees) for k, v in tree.items()}


def is_written_out(model_type: str) -> bool:
    """True for a type of which more than the width is known."""
    return bool(_modules(model_type))


def text_type(fields: Mapping[str, object], model_type: str) -> str:
    """The type of the text model with these ``fields``, in a model of ``model_type``."""
    return str(fields.get("model_type") or model_type).removesuffix("_text")


def module_shape(fields: Mapping[str, object], model_type: str, path: str) -> Shape:
    """(out, in) of the module at ``path`` below a layer of a text model, as its ``fields`` tell it;
    of one in a stack of experts that of each, and of a convolution (channels, 1, length)."""
    if _CONVOLUTION.fullmatch(path):
        lengths = {n for key in _KERNELS if (n := figure(fields, model_type, key)) is not None}
        return (None, 1, lengths.pop()) if len(lengths) == 1 else (None, None)
    known = _modules(model_type)
    owner, _, leaf = _NUMBER.sub("", path).rpartition(".")
    sizes = known.get(f"{owner.rpartition('.')[2]}.{leaf}")
    if sizes is not None:
        return tuple(_sum(fields, model_type, size) for size in sizes)
    if _OF_WIDTH.fullmatch(owner) is None:
        return None, None
    # What an expert's own size is called is known of the types that are written out.
    own = _EXPERTS.fullmatch(owner) is not None and not known
    return expected_width(fields, leaf, expert=own)[::-1]


def _sum(fields: Mapping[str, object], model_type: str, size: str) -> int | None:
    terms = (
        [int(n) if n.isdecimal() else _figure(fields, model_type, n) for n in term.split("*")]
        for term in size.split("+")
    )
    total = 0
    for factors in terms:
        product = 1
        for factor in factors:
            if factor is None:
                return None
            product *= factor
        total += product
    return total


def _figure(fields: Mapping[str, object], model_type: str, name: str) -> int | None:
    match name:
        case "width":
            return positive(fields, "hidden_size")
        case "heads":
            return positive(fields, "num_attention_heads")
        case "kv" | "head":
            plain = PLAIN.get(model_type) or PLAIN.get(f"{model_type}_text")
            return _of_heads(fields, name, plain)
        case "adjusted":
            return adjusted_inner(fields)
        case _:
            return figure(fields, model_type, name)


def _of_heads(
    fields: Mapping[str, object], name: str, plain: tuple[int | None, int | None] | None
) -> int | None:
    """The size of a head, or how many there are for keys and values; what the type takes for it if
    it is left out, where that is known."""
    said = positive(fields, "head_dim") if name == "head" else key_value_heads(fields)
    heads, width = positive(fields, "num_attention_heads"), positive(fields, "hidden_size")
    if said is not None or plain is None:
        return said
    if name == "kv":
        return plain[1] or heads
    return plain[0] or (width // heads if width and heads else None)
