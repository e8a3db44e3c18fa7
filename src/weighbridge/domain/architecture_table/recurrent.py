"""State space models and their hybrids.

PEFT refuses ``out_proj`` and ``conv1d`` of five of them (``_check_lora_target_modules_mamba``).
Where transformers reads a module's weight without calling the module, a LoRA there would do nothing
until it is merged, so it is not converted either.
"""

from __future__ import annotations

from weighbridge.domain.architecture_table.shapes import (
    ATTENTION,
    BARE_WEIGHT,
    FUSE,
    HEADS,
    KV_B_SPLIT,
    LATENT,
    LAYER,
    MLP,
    SHARED,
    W123,
    convolution,
    experts,
    linears,
    never,
    router,
    same,
    stacks,
)
from weighbridge.domain.placement import (
    Architecture,
    Kept,
    Layout,
    Plain,
    Rename,
    Rows,
    Rule,
    Standing,
    Stored,
)

_PROVED = Standing.CONVERTIBLE
_MIXER = r"backbone\.layers\.\d+\.mixer"
_JOINED, _OUTPUT = r"\1.shared_mlp.input_linear", r"\1.shared_mlp.output_linear"
_OUT_PROJ = (
    "is one that PEFT refuses on Mamba models, whose kernels read its weight past the LoRA; train"
    f" with other keys, or {FUSE}"
)
_NEMOTRON_EXPERT = (
    "is an expert without a gate, for which PEFT has no form that older and newer versions read"
    f" alike; train with other keys, or {FUSE}"
)

RECURRENT = (
    Architecture(
        "bailing_moe_v3",
        _PROVED,
        rules=(
            linears(
                r"attention\.(([qkvobfg]|q_a|q_b|kv_b)_proj|kv_a_proj_with_mqa|dense)", MLP, SHARED
            ),
            *experts("mlp"),
            same(r"lm_head|model\.word_embeddings"),
        ),
        renames=(
            Rename(r"^model\.word_embeddings", "model.embed_tokens", "model.word_embeddings"),
            Rename(r"\.attention\.f_proj", ".self_attn.forget_gate.f_proj", ".attention.f_proj"),
            Rename(r"\.attention\.dense", ".self_attn.o_proj", ".attention.dense"),
            Rename(r"\.attention\.", ".self_attn.", ".attention."),
        ),
        kept=(*KV_B_SPLIT, convolution("[qkv]_conv1d")),
        embeddings=("model.word_embeddings",),
        dropped="the layers that predict several tokens at once",
    ),
    *(
        Architecture(
            name,
            _PROVED,
            rules=(
                linears("in_proj", "x_proj", layer=_MIXER),
                never(rf"{_MIXER}\.out_proj", _OUT_PROJ),
                never(rf"{_MIXER}\.dt_proj", BARE_WEIGHT),
                same(r"backbone\.embeddings|lm_head"),
            ),
            kept=(convolution("conv1d"),),
            embeddings=("backbone.embeddings",),
        )
        for name in ("falcon_mamba", "mamba", "mamba2")
    ),
    Architecture(
        "granitemoehybrid",
        _PROVED,
        rules=(
            linears(ATTENTION, r"mamba\.(in|out)_proj", r"shared_mlp\.(input|output)_linear"),
            router(r"block_sparse_moe\.router\.layer"),
            *experts("block_sparse_moe", each=None),
            # Without experts MLX splits what transformers keeps as one matrix.
            Rule(rf"({LAYER})\.mlp\.gate_proj", Rows(_JOINED, _JOINED, 0, 2)),
            Rule(rf"({LAYER})\.mlp\.up_proj", Rows(_JOINED, _JOINED, 1, 2)),
            Rule(rf"({LAYER})\.mlp\.down_proj", Plain(_OUTPUT, _OUTPUT)),
            HEADS,
        ),
        renames=(Rename(r"\.router\.layer", ".router", ".router.layer"),),
        kept=(
            *stacks("switch_mlp", "input_linear.weight", "output_linear.weight"),
            convolution("conv1d"),
        ),
        lost_on_load=r".*\.router\.layer",
    ),
    Architecture(
        "jamba",
        _PROVED,
        rules=(
            linears(
                ATTENTION, r"feed_forward\.(gate|up|down)_proj", r"mamba\.(in_proj|x_proj|out_proj)"
            ),
            never(rf"{LAYER}\.mamba\.dt_proj", BARE_WEIGHT),
            router(r"feed_forward\.router"),
            *experts("feed_forward"),
            HEADS,
        ),
        kept=(convolution("conv1d"),),
    ),
    Architecture(
        "kimi_linear",
        _PROVED,
        rules=(
            linears(LATENT, r"self_attn\.([kvb]_proj|[fg]_[ab]_proj)", MLP, SHARED),
            router(r"mlp\.gate"),
            *experts("mlp", each=W123),
            HEADS,
        ),
        renames=(
            Rename(r"\.(f_[ab]_proj)", r".forget_gate.\1", r".\1"),
            Rename(
                r"\.mlp\.(gate|experts|shared_experts)(?=\.|$)", r".mlp.\1", r".block_sparse_moe.\1"
            ),
        ),
        kept=(
            *KV_B_SPLIT,
            Kept(
                r"(.*)\.([qkv])_conv\.conv\.weight",
                Stored(r"\1.\2_conv1d.weight", Layout.CONVOLUTION),
            ),
            Kept(
                r"(.*\.mlp)\.e_score_correction_bias",
                Stored(r"\1.gate.e_score_correction_bias"),
            ),
        ),
    ),
    Architecture(
        "nemotron_h",
        _PROVED,
        rules=(
            linears(
                "in_proj",
                "[qkvo]_proj",
                r"(shared_experts\.)?(up|down)_proj",
                "fc[12]_latent_proj",
                layer=_MIXER,
            ),
            never(rf"{_MIXER}\.out_proj", _OUT_PROJ),
            never(rf"{_MIXER}\.switch_mlp\.fc[12]", _NEMOTRON_EXPERT),
            same(r"backbone\.embeddings|lm_head"),
        ),
        renames=(Rename(r"^backbone\.", "model.", "backbone."),),
        kept=(
            convolution("conv1d"),
            Kept(r"(.*)\.switch_mlp\.fc1\.weight", Stored(r"\1.experts.{}.up_proj.weight")),
            Kept(r"(.*)\.switch_mlp\.fc2\.weight", Stored(r"\1.experts.{}.down_proj.weight")),
        ),
        embeddings=("backbone.embeddings",),
        dropped="the layers that predict several tokens at once",
    ),
    Architecture(
        "olmo_hybrid",
        _PROVED,
        rules=(linears(ATTENTION, MLP, r"linear_attn\.[qkvoabg]_proj"), HEADS),
        kept=(convolution("conv1d"),),
    ),
    Architecture(
        "recurrent_gemma",
        _PROVED,
        rules=(
            linears(
                r"temporal_block\.([qkvo]_proj|linear_(x|y|out))",
                r"mlp_block\.(gate|up|down)_proj",
            ),
            HEADS,
        ),
        kept=(convolution("conv_1d"),),
    ),
)
