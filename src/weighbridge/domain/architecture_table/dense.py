"""Transformers without experts."""

from __future__ import annotations

from weighbridge.domain.architecture_table.shapes import (
    ATTENTION,
    HEADS,
    LATENT,
    LFM2,
    LLAMA_TREE,
    MLP,
    SAME,
    convolution,
    experts,
    linears,
    same,
    stacks,
)
from weighbridge.domain.placement import (
    Architecture,
    Kept,
    Layout,
    Rename,
    Standing,
    Stored,
)

_PROVED = Standing.CONVERTIBLE
_LLAMA_FAMILY = (
    "cohere",
    "cohere2",
    "ernie4_5",
    "exaone4",
    "gemma",
    "gemma2",
    "gemma3_text",
    "granite",
    "helium",
    "hunyuan_v1_dense",
    "internlm3",
    "iquestcoder",
    "llama",
    "ministral3",
    "mistral",
    "olmo2",
    "olmo3",
    "qwen2",
    "qwen3",
    "seed_oss",
    "smollm3",
    "stablelm",
)
_GATE_UP = r"mlp\.(gate_up|down)_proj"
_UP_DOWN = r"mlp\.(up|down)_proj"
_GPT_J = (Rename(r"^model\.", "transformer.", "transformer."),)

GEMMA4_RULES = (
    linears(ATTENTION, MLP, "per_layer_input_gate", "per_layer_projection", r"router\.proj"),
    *experts("experts", r"switch_glu", each=None),
    same(r"lm_head|model\.(embed_tokens|embed_tokens_per_layer|per_layer_model_projection)"),
)
#: The container is the layer's own ``experts``, and MLX has one level more.
GEMMA4_RENAMES = (Rename(r"\.experts\.experts", ".experts", ".experts"),)
GEMMA4_KEPT = stacks(r"experts\.switch_glu", "experts.gate_up_proj", "experts.down_proj")
GEMMA4_EMBEDDINGS = ("model.embed_tokens", "model.embed_tokens_per_layer")

DENSE = (
    *(Architecture(name, _PROVED, rules=LLAMA_TREE, uniform=True) for name in _LLAMA_FAMILY),
    Architecture(
        "apertus",
        _PROVED,
        uniform=True,
        rules=(linears(ATTENTION, _UP_DOWN), HEADS),
        kept=(Kept(r".*\.act_fn\.alpha_[np]", Stored(SAME, Layout.ONE)),),
    ),
    Architecture(
        "gemma4_text",
        _PROVED,
        rules=GEMMA4_RULES,
        renames=GEMMA4_RENAMES,
        kept=GEMMA4_KEPT,
        embeddings=GEMMA4_EMBEDDINGS,
    ),
    Architecture("glm", _PROVED, uniform=True, rules=(linears(ATTENTION, _GATE_UP), HEADS)),
    Architecture("glm4", _PROVED, uniform=True, rules=(linears(ATTENTION, _GATE_UP), HEADS)),
    Architecture(
        "gpt2",
        _PROVED,
        uniform=True,
        rules=(
            same(r"model\.h\.\d+\.(attn\.(c_attn|c_proj)|mlp\.(c_fc|c_proj))"),
            same(r"model\.(wte|wpe)"),
        ),
        renames=_GPT_J,
        embeddings=("model.wte", "model.wpe"),
        conv1d=True,
    ),
    Architecture(
        "gpt_bigcode",
        _PROVED,
        uniform=True,
        rules=(
            same(r"transformer\.h\.\d+\.(attn\.(c_attn|c_proj)|mlp\.(c_fc|c_proj))"),
            same(r"transformer\.(wte|wpe)|lm_head"),
        ),
        embeddings=("transformer.wte", "transformer.wpe"),
    ),
    Architecture(
        "gpt_neox",
        _PROVED,
        uniform=True,
        rules=(
            same(r"model\.h\.\d+\.attention\.(query_key_value|dense)"),
            same(r"model\.h\.\d+\.mlp\.(dense_h_to_4h|dense_4h_to_h)"),
            same(r"model\.embed_(in|out)"),
        ),
        renames=(
            Rename(r"^model\.embed_out", "lm_head", "embed_out"),
            Rename(r"^model\.h\.", "gpt_neox.layers.", "gpt_neox.layers."),
            Rename(r"^model\.", "gpt_neox.", "gpt_neox."),
        ),
        embeddings=("model.embed_in",),
        lost_on_load=r"model\.embed_out",
    ),
    Architecture(
        "gptj",
        _PROVED,
        uniform=True,
        rules=(
            same(r"model\.h\.\d+\.(attn\.([qkv]|out)_proj|mlp\.fc_(in|out))"),
            same(r"model\.wte|lm_head"),
        ),
        renames=_GPT_J,
        embeddings=("model.wte",),
    ),
    Architecture(
        "lfm2",
        _PROVED,
        rules=(
            LFM2,
            HEADS,
        ),
        kept=(convolution(r"\.conv\.conv"),),
    ),
    Architecture(
        "llama4_text",
        _PROVED,
        uniform=True,
        rules=(linears(ATTENTION, r"feed_forward\.(gate|up|down)_proj"), HEADS),
    ),
    Architecture("minicpm3", _PROVED, rules=(linears(LATENT, MLP), HEADS)),
    Architecture("nemotron", _PROVED, uniform=True, rules=(linears(ATTENTION, _UP_DOWN), HEADS)),
    Architecture(
        "phi",
        _PROVED,
        uniform=True,
        rules=(linears(r"self_attn\.([qkv]_proj|dense)", r"mlp\.fc[12]"), HEADS),
    ),
    Architecture(
        "phi3", _PROVED, uniform=True, rules=(linears(r"self_attn\.(qkv|o)_proj", _GATE_UP), HEADS)
    ),
    Architecture(
        "starcoder2", _PROVED, uniform=True, rules=(linears(ATTENTION, r"mlp\.c_(fc|proj)"), HEADS)
    ),
)
