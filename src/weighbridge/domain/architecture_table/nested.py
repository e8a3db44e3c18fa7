"""Models of text and images, of which mlx-lm keeps the text model.

A base of these types can be loaded by the class named in its config.json, which has the towers, or
by the one for text alone. ``path`` is for the former; ``Architecture.text_only`` gives the latter.
"""

from __future__ import annotations

from weighbridge.domain.architecture_table.dense import (
    GEMMA4_EMBEDDINGS,
    GEMMA4_KEPT,
    GEMMA4_RENAMES,
    GEMMA4_RULES,
)
from weighbridge.domain.architecture_table.shapes import (
    ATTENTION,
    FUSE,
    HEADS,
    INSIDE,
    KV_B_SPLIT,
    LATENT,
    LAYER,
    LIKE_LLAMA4,
    LIKE_LLAVA,
    LIKE_QWEN2_VL,
    LIKE_QWEN3_VL,
    LLAMA_TREE,
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
    Kept,
    Layout,
    Rename,
    Rows,
    Rule,
    Standing,
)

_TOWER = "the vision tower and its projector"
_EMBEDDINGS = ("language_model.model.embed_tokens",)
_LLAMA4 = (
    "is an expert of Llama 4, which transformers keeps transposed as (expert, in, out), where PEFT"
    f" exchanges the two factors; train other modules, or {FUSE}"
)
_LOST = {
    LIKE_LLAVA: r"language_model\.lm_head",
    LIKE_QWEN2_VL: r"language_model\.model\..*",
}
_LINEAR_ATTENTION = r"linear_attn\.(in_proj_(qkv|z|b|a)|out_proj)"


def _wrapper(
    name: str,
    rules: tuple[Rule, ...],
    outside: tuple[Rename, ...],
    *,
    kept: tuple[Kept, ...] = (),
    renames: tuple[Rename, ...] = (),
    embeddings: tuple[str, ...] = _EMBEDDINGS,
) -> Architecture:
    return Architecture(
        name,
        Standing.CONVERTIBLE,
        rules=rules,
        renames=renames,
        kept=kept,
        embeddings=embeddings,
        inside=INSIDE,
        outside=outside,
        dropped=_TOWER,
        lost_on_load=_LOST.get(outside, ""),
        uniform=rules is LLAMA_TREE,
    )


_GEMMA3N = "model.language_model"
_GEMMA3N_RULES = (
    linears(
        ATTENTION,
        MLP,
        r"laurel\.linear_(left|right)",
        r"altup\.(correction_coefs|prediction_coefs|modality_router)",
        "per_layer_input_gate",
        "per_layer_projection",
        layer=r"model\.language_model\.layers\.\d+",
    ),
    same(r"model\.language_model\.(per_layer_model_projection|altup(_unembed)?_projections\.\d+)"),
    same(r"model\.language_model\.embed_tokens(_per_layer)?"),
)
_M3_OWNER = rf"({LAYER}\.(mlp|block_sparse_moe\.shared_experts))"


def _m3_half(index: int, name: str) -> Rule:
    """Half of what transformers 5 joins and checkpoints do not."""
    fused, own = r"\1.gate_up_proj", rf"\1.{name}"
    return Rule(rf"{_M3_OWNER}\.{name}", Rows(fused, own, index, 2, apart=True))


NESTED = (
    _wrapper("gemma3", LLAMA_TREE, LIKE_LLAVA),
    Architecture(
        "gemma3n",
        Standing.NEEDS_BASE,
        "shares the keys and values of its last layers, for which transformers has no k_proj and no"
        " v_proj, so that a LoRA on those has no place",
        rules=_GEMMA3N_RULES,
        renames=(Rename(r"^model\.language_model\.", "model.", "model."),),
        embeddings=tuple(
            f"{_GEMMA3N}.{name}" for name in ("embed_tokens", "embed_tokens_per_layer")
        ),
        outside=LIKE_QWEN3_VL,
        dropped="the vision and audio towers",
    ),
    *(
        _wrapper(
            name,
            GEMMA4_RULES,
            LIKE_QWEN3_VL,
            renames=GEMMA4_RENAMES,
            kept=GEMMA4_KEPT,
            embeddings=tuple(INSIDE + name for name in GEMMA4_EMBEDDINGS),
        )
        for name in ("gemma4", "gemma4_unified")
    ),
    _wrapper(
        "kimi_k25",
        (linears(LATENT, MLP, SHARED), *experts("mlp"), HEADS),
        LIKE_LLAVA,
        kept=KV_B_SPLIT,
    ),
    _wrapper(
        "llama4",
        (
            linears(ATTENTION, r"feed_forward\.(shared_expert\.)?(gate|up|down)_proj"),
            router(r"feed_forward\.router"),
            never(r"model\.layers\.\d+\.feed_forward\.experts\.(gate|up|down)_proj", _LLAMA4),
            HEADS,
        ),
        LIKE_LLAMA4,
        kept=stacks("experts", "experts.gate_up_proj", "experts.down_proj", Layout.TRANSPOSED),
    ),
    _wrapper("llava", LLAMA_TREE, LIKE_LLAVA),
    _wrapper(
        "minimax_m3_vl",
        (
            linears(ATTENTION, r"self_attn\.index_[qk]_proj"),
            router(r"block_sparse_moe\.gate"),
            *experts("block_sparse_moe", each=W123),
            _m3_half(0, "gate_proj"),
            _m3_half(1, "up_proj"),
            linears(r"(mlp|block_sparse_moe\.shared_experts)\.down_proj"),
            HEADS,
        ),
        LIKE_LLAVA,
        renames=(
            Rename(r"\.self_attn\.index_", ".self_attn.indexer.", ".self_attn.index_"),
            Rename(r"\.block_sparse_moe(?=\.)", ".mlp", ".block_sparse_moe"),
        ),
    ),
    _wrapper("mistral3", LLAMA_TREE, LIKE_LLAVA),
    Architecture(
        "muse_glimmer",
        Standing.CONVERTIBLE,
        rules=(linears(ATTENTION, r"self_attn\.gate_proj", MLP), HEADS),
        outside=LIKE_QWEN3_VL,
        dropped=_TOWER,
    ),
    _wrapper("qwen2_vl", LLAMA_TREE, LIKE_QWEN2_VL),
    _wrapper("qwen2_5_vl", LLAMA_TREE, LIKE_QWEN2_VL),
    _wrapper(
        "qwen3_5",
        (linears(ATTENTION, MLP, _LINEAR_ATTENTION), HEADS),
        LIKE_QWEN3_VL,
        kept=(SHIFTED_NORMS, convolution("conv1d")),
    ),
    _wrapper(
        "qwen3_5_moe",
        (
            linears(ATTENTION, MLP, _LINEAR_ATTENTION),
            linears(r"mlp\.shared_expert\.(gate|up|down)_proj", r"mlp\.shared_expert_gate"),
            router(r"mlp\.gate"),
            *experts("mlp", each=None),
            HEADS,
        ),
        LIKE_QWEN3_VL,
        kept=(
            SHIFTED_NORMS,
            convolution("conv1d"),
            *stacks("switch_mlp", "experts.gate_up_proj", "experts.down_proj"),
        ),
    ),
    _wrapper("qwen3_vl", LLAMA_TREE, LIKE_QWEN3_VL),
    _wrapper(
        "qwen3_vl_moe",
        (linears(ATTENTION, MLP), router(r"mlp\.gate"), *experts("mlp", each=None), HEADS),
        LIKE_QWEN3_VL,
        kept=stacks("switch_mlp", "experts.gate_up_proj", "experts.down_proj", Layout.TRANSPOSED),
    ),
)
