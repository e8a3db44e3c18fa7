"""Mixtures of experts.

The experts' fate under the newest PEFT (``rewriting``) follows ``_MODEL_TO_CONVERSION_PATTERN`` of
transformers' conversion_mapping.py and its use in PEFT's transformers_weight_conversion.py; that
qwen2_moe, which gives the pattern its name, is not itself in that table is no slip of ours.
"""

from __future__ import annotations

from weighbridge.domain.architecture_table.shapes import (
    ATTENTION,
    BARE_WEIGHT,
    HEADS,
    INDEXER,
    KV_B_SPLIT,
    LATENT,
    LAYER,
    MLP,
    SHARED,
    SHIFTED_NORMS,
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
    Impossible,
    Kept,
    Rename,
    RouteForm,
    Standing,
    Stored,
)

_PROVED = Standing.CONVERTIBLE
_QWEN = RouteForm.QWEN2_MOE
_QWEN_EXPERTS = experts("mlp")
_MLP_GATE = router(r"mlp\.gate")
_DENSE = linears(ATTENTION, MLP)
#: Blocks of Mixtral's that transformers 5 calls ``mlp``.
_BLOCK = Rename(r"\.block_sparse_moe(?=\.)", ".mlp", ".block_sparse_moe")
_GPT_OSS = (
    "is an expert of GPT-OSS, where transformers interleaves the rows of gate and up and keeps both"
    " transposed; train other modules, or publish the fused model in MLX format"
)
_DBRX = (
    "is an expert of DBRX, which are blocks of rows of one matrix in transformers, some of them"
    " transposed; train other modules, or publish the fused model in MLX format"
)

MIXTURES = (
    Architecture(
        "afmoe",
        _PROVED,
        rules=(
            linears(ATTENTION, r"self_attn\.gate_proj", MLP, SHARED, r"mlp\.router\.gate"),
            *experts("mlp", stack="experts"),
            HEADS,
        ),
        rewriting=_QWEN,
    ),
    Architecture(
        "dbrx",
        _PROVED,
        rules=(
            same(r"transformer\.blocks\.\d+\.norm_attn_norm\.attn\.(Wqkv|out_proj)"),
            same(r"transformer\.blocks\.\d+\.ffn\.router\.layer"),
            never(r"transformer\.blocks\.\d+\.ffn\.experts\.\d+\.(w1|v1|w2)", _DBRX),
            same(r"transformer\.wte|lm_head"),
        ),
        kept=(Kept(r".*\.ffn\.experts\.\d+\.(w1|v1|w2)\.weight", Impossible(_DBRX)),),
        embeddings=("transformer.wte",),
    ),
    Architecture(
        "deepseek_v2",
        _PROVED,
        rules=(linears(LATENT, MLP, SHARED), *_QWEN_EXPERTS, HEADS),
        rewriting=_QWEN,
    ),
    *(
        Architecture(
            name,
            _PROVED,
            rules=(linears(LATENT, MLP, SHARED, INDEXER), *_QWEN_EXPERTS, HEADS),
            kept=KV_B_SPLIT,
            rewriting=_QWEN,
        )
        for name in ("deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa")
    ),
    Architecture(
        "dots1",
        _PROVED,
        rules=(_DENSE, linears(SHARED), *experts("mlp", stack="experts"), HEADS),
        rewriting=_QWEN,
    ),
    Architecture(
        "ernie4_5_moe",
        _PROVED,
        rules=(_DENSE, linears(SHARED), _MLP_GATE, *_QWEN_EXPERTS, HEADS),
        rewriting=_QWEN,
        dropped="the routers' e_score_correction_bias",
    ),
    Architecture(
        "exaone_moe",
        _PROVED,
        rules=(_DENSE, linears(SHARED), *_QWEN_EXPERTS, HEADS),
        kept=(
            Kept(
                r"(.*\.mlp)\.gate\.e_score_correction_bias",
                Stored(r"\1.e_score_correction_bias"),
            ),
        ),
        rewriting=_QWEN,
    ),
    *(
        Architecture(
            name,
            _PROVED,
            rules=(_DENSE, linears(SHARED), *_QWEN_EXPERTS, HEADS),
            rewriting=_QWEN,
        )
        for name in ("glm4_moe", "solar_open")
    ),
    Architecture(
        "gpt_oss",
        _PROVED,
        rules=(
            linears(ATTENTION),
            router(r"mlp\.router"),
            never(r"model\.layers\.\d+\.mlp\.experts\.(gate|up|down)_proj", _GPT_OSS),
            HEADS,
        ),
        kept=(Kept(r".*\.mlp\.experts\..*", Impossible(_GPT_OSS)),),
    ),
    Architecture(
        "granitemoe",
        _PROVED,
        rules=(
            linears(ATTENTION),
            router(r"block_sparse_moe\.router\.layer"),
            *experts("block_sparse_moe", each=None),
            HEADS,
        ),
        renames=(Rename(r"\.router\.layer", ".router", ".router.layer"),),
        kept=stacks("switch_mlp", "input_linear.weight", "output_linear.weight"),
        lost_on_load=r".*\.router\.layer",
    ),
    Architecture(
        "laguna",
        _PROVED,
        rules=(
            linears(ATTENTION, r"self_attn\.g_proj", MLP),
            linears(r"mlp\.shared_expert\.(gate|up|down)_proj"),
            router(r"mlp\.gate\.proj"),
            *_QWEN_EXPERTS,
            HEADS,
        ),
        renames=(
            Rename(r"\.mlp\.gate\.proj", ".mlp.gate", ".mlp.gate"),
            # PEFT on transformers 5.23 finds these LoRAs under the checkpoint's name only: the
            # pattern ``mlp.shared_expert.`` matches the new name as well, and spoils it.
            Rename(r"\.mlp\.shared_expert\.", ".mlp.shared_experts.", ".mlp.shared_expert."),
        ),
        spoilt=r".*\.mlp\.shared_experts\..*",
        kept=(
            Kept(
                r"(.*\.mlp)\.gate\.e_score_correction_bias",
                Stored(r"\1.experts.e_score_correction_bias"),
            ),
        ),
    ),
    Architecture(
        "lfm2_moe",
        _PROVED,
        rules=(
            linears(
                r"self_attn\.([qkv]|out)_proj",
                r"conv\.(in|out)_proj",
                r"feed_forward\.(gate|up|down)_proj",
            ),
            router(r"feed_forward\.gate"),
            *experts("feed_forward", each=W123),
            HEADS,
        ),
        renames=(
            Rename(r"\.feed_forward\.gate_proj", ".feed_forward.w1", ".feed_forward.w1"),
            Rename(r"\.feed_forward\.up_proj", ".feed_forward.w3", ".feed_forward.w3"),
            Rename(r"\.feed_forward\.down_proj", ".feed_forward.w2", ".feed_forward.w2"),
        ),
        kept=(convolution(r"\.conv\.conv"),),
    ),
    Architecture(
        "longcat_flash",
        _PROVED,
        rules=(
            linears(
                r"self_attn\.[01]\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)",
                r"mlps\.[01]\.(gate|up|down)_proj",
            ),
            never(rf"{LAYER}\.mlp\.router\.classifier", BARE_WEIGHT),
            *_QWEN_EXPERTS,
            HEADS,
        ),
        kept=KV_B_SPLIT,
        rewriting=_QWEN,
        dropped="the layers that predict several tokens at once",
    ),
    *(
        Architecture(
            name,
            _PROVED,
            rules=(linears(ATTENTION, MLP), _MLP_GATE, *_QWEN_EXPERTS, HEADS),
            rewriting=_QWEN,
        )
        for name in ("mellum", "olmoe", "qwen3_moe")
    ),
    Architecture(
        "mistral4",
        _PROVED,
        rules=(
            linears(LATENT, MLP, SHARED),
            _MLP_GATE,
            *experts("mlp", each=None),
            HEADS,
        ),
        kept=(*KV_B_SPLIT, *stacks("switch_mlp", "experts.gate_up_proj", "experts.down_proj")),
    ),
    Architecture("mimo_v2_flash", _PROVED, rules=(_DENSE, *_QWEN_EXPERTS, HEADS)),
    *(
        Architecture(
            name,
            _PROVED,
            rules=(
                linears(ATTENTION),
                router(r"block_sparse_moe\.gate"),
                *experts("block_sparse_moe", each=W123),
                HEADS,
            ),
            renames=(_BLOCK,),
            rewriting=RouteForm.MIXTRAL,
        )
        for name in ("minimax_m2", "mixtral")
    ),
    Architecture(
        "phimoe",
        _PROVED,
        rules=(
            linears(ATTENTION),
            router(r"block_sparse_moe\.gate"),
            *experts("block_sparse_moe", each=W123),
            HEADS,
        ),
        renames=(
            Rename(r"\.block_sparse_moe\.gate$", ".mlp.router", ".block_sparse_moe.gate"),
            _BLOCK,
        ),
        lost_on_load=r".*\.block_sparse_moe\.gate",
    ),
    Architecture(
        "qwen2_moe",
        _PROVED,
        rules=(
            linears(ATTENTION, MLP, r"mlp\.shared_expert\.(gate|up|down)_proj"),
            linears(r"mlp\.shared_expert_gate"),
            _MLP_GATE,
            *_QWEN_EXPERTS,
            HEADS,
        ),
    ),
    Architecture(
        "qwen3_next",
        _PROVED,
        rules=(
            linears(ATTENTION, MLP, r"linear_attn\.(in_proj_qkvz|in_proj_ba|out_proj)"),
            linears(r"mlp\.shared_expert\.(gate|up|down)_proj", r"mlp\.shared_expert_gate"),
            _MLP_GATE,
            *_QWEN_EXPERTS,
            HEADS,
        ),
        kept=(SHIFTED_NORMS, convolution("conv1d")),
        rewriting=_QWEN,
    ),
)
