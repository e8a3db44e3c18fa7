"""Models without a twin in transformers 5: their code comes with the checkpoint.

mlx-lm loads such a checkpoint under its own names, so where ``sanitize`` renames nothing, MLX's
paths are the checkpoint's and those of its code. What is not known here is whether each module is
a linear one there. The base's tensor headers say that: a path is right if ``<path>.weight`` is in
them with the shape that the LoRA needs.
"""

from __future__ import annotations

from typing import Any

from weighbridge.domain.architecture_table.shapes import (
    ATTENTION,
    BARE_WEIGHT,
    HEADS,
    INSIDE,
    KV_B_SPLIT,
    LATENT,
    LAYER,
    LFM2,
    LIKE_LLAMA4,
    LIKE_LLAVA,
    LLAMA_TREE,
    MLP,
    SAME,
    SHARED,
    convolution,
    experts_apart,
    linears,
    never,
    same,
)
from weighbridge.domain.placement import (
    Architecture,
    Impossible,
    Kept,
    Layout,
    Rename,
    Rule,
    Standing,
    Stored,
)

_PREDICTS_SEVERAL = "the layers that predict several tokens at once"
_TOWER = "the vision tower and its projector"
_NORMALISED = "has its rows normalised by mlx-lm when it loads, which cannot be undone"


def _entry(
    name: str,
    *rules: Rule,
    renames: tuple[Rename, ...] = (),
    kept: tuple[Kept, ...] = (),
    embeddings: tuple[str, ...] = ("model.embed_tokens",),
    inside: str = "",
    outside: tuple[Rename, ...] = (),
    dropped: str = "",
) -> Architecture:
    return Architecture(
        name,
        Standing.NEEDS_BASE,
        "has no twin in transformers, so that its paths have to be found in the base",
        rules=rules,
        renames=renames,
        kept=kept,
        embeddings=embeddings,
        inside=inside,
        outside=outside,
        dropped=dropped,
    )


def _llama_like(name: str, *more: Rule, **options: Any) -> Architecture:
    return _entry(name, *LLAMA_TREE, *more, **options)


_NORMALISED_HEAD = Kept(r"lm_head\.weight", Impossible(_NORMALISED))
_LATENT_MIXTURE = (linears(LATENT, MLP, SHARED), *experts_apart("mlp"), HEADS)
_BAILING = (
    linears(r"attention\.(query_key_value|dense|g_proj)", MLP, SHARED, r"mlp\.gate\.gate_proj"),
    *experts_apart("mlp"),
    same(r"model\.word_embeddings"),
)
_BAILING_GATE = (Rename(r"\.gate\.gate_proj", ".gate", ".gate"),)
_STEP_EXPERT = (
    "is an expert of Step 3.5, whose code keeps all of a layer's in one tensor; train other"
    " modules, or publish the fused model in MLX format"
)

UNPROVEN = (
    _llama_like("mimo", dropped=_PREDICTS_SEVERAL),
    _llama_like("minicpm"),
    _llama_like("nanbeige"),
    _llama_like("telechat3"),
    _llama_like("xverse"),
    _llama_like("iquestloopcoder"),
    _llama_like("nemotron-nas", linears(r"(self_attn|mlp)\.linear")),
    _llama_like(
        "gear",
        linears(r"local_mixer\.[qkvo]_proj"),
        kept=(convolution("(key|value)_conv"),),
    ),
    _entry(
        "Klear",
        linears(ATTENTION, MLP, SHARED, r"mlp\.(gate|coefficient)"),
        *experts_apart("mlp", stack="experts"),
        HEADS,
    ),
    _entry(
        "baichuan_m1",
        linears(r"self_attn\.(W_pack|o_proj)", MLP),
        same(r"model\.embed_tokens"),
        never("lm_head", _NORMALISED),
        kept=(_NORMALISED_HEAD,),
    ),
    *(
        _entry(
            name,
            *_BAILING,
            never("lm_head", _NORMALISED),
            renames=_BAILING_GATE,
            kept=(_NORMALISED_HEAD,),
            embeddings=("model.word_embeddings",),
        )
        for name in ("bailing_moe", "bailing_moe_linear")
    ),
    _entry(
        "bailing_hybrid",
        *_BAILING,
        linears(r"attention\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj)"),
        same("lm_head"),
        renames=_BAILING_GATE,
        kept=KV_B_SPLIT,
        embeddings=("model.word_embeddings",),
        dropped=_PREDICTS_SEVERAL,
    ),
    _entry("deepseek", linears(ATTENTION, MLP, SHARED), *experts_apart("mlp"), HEADS),
    *(
        _entry(name, *_LATENT_MIXTURE, kept=KV_B_SPLIT, dropped=_PREDICTS_SEVERAL)
        for name in ("joyai_llm_flash", "kimi_k2")
    ),
    _entry("youtu_llm", linears(LATENT, MLP), HEADS),
    _entry(
        "exaone",
        same(r"transformer\.h\.\d+\.attn\.attention\.([qkv]|out)_proj"),
        same(r"transformer\.h\.\d+\.mlp\.(c_fc_0|c_fc_1|c_proj)"),
        same(r"transformer\.wte|lm_head"),
        embeddings=("transformer.wte",),
    ),
    _entry(
        "hunyuan",
        linears(ATTENTION, MLP, r"mlp\.shared_mlp\.(gate|up|down)_proj", r"mlp\.gate\.wg"),
        *experts_apart("mlp"),
        HEADS,
    ),
    _entry(
        "internlm2",
        linears(r"attention\.(wqkv|wo)", r"feed_forward\.w[123]"),
        same(r"model\.tok_embeddings|output"),
        embeddings=("model.tok_embeddings",),
    ),
    _entry(
        "kimi_vl",
        *_LATENT_MIXTURE,
        kept=KV_B_SPLIT,
        embeddings=("language_model.model.embed_tokens",),
        inside=INSIDE,
        outside=LIKE_LLAMA4,
        dropped=_TOWER,
    ),
    _entry(
        "lfm2-vl",
        LFM2,
        HEADS,
        kept=(convolution(r"\.conv\.conv"),),
        embeddings=("language_model.model.embed_tokens",),
        inside=INSIDE,
        outside=LIKE_LLAVA,
        dropped=_TOWER,
    ),
    _entry(
        "lille-130m",
        same(r"transformer\.layers\.\d+\.attention\.(qkv_proj|out_proj)"),
        same(r"transformer\.layers\.\d+\.feed_forward\.(gate|up|down)_proj"),
        same(r"transformer\.tok_embeddings"),
        embeddings=("transformer.tok_embeddings",),
    ),
    _entry(
        "longcat_flash_ngram",
        linears(
            r"self_attn\.[01]\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)",
            r"mlps\.[01]\.(gate|up|down)_proj",
        ),
        never(rf"{LAYER}\.mlp\.router\.classifier", BARE_WEIGHT),
        *experts_apart("mlp"),
        same(r"lm_head|model\.ngram_embeddings\.word_embeddings"),
        renames=(
            Rename(r"^model\.ngram_embeddings\.word_embeddings", *["model.embed_tokens"] * 2),
        ),
        kept=KV_B_SPLIT,
        embeddings=("model.ngram_embeddings.word_embeddings",),
        dropped=_PREDICTS_SEVERAL,
    ),
    _entry(
        "openelm",
        same(r"transformer\.layers\.\d+\.attn\.(qkv_proj|out_proj)"),
        same(r"transformer\.layers\.\d+\.ffn\.proj_[12]"),
        same(r"transformer\.token_embeddings|lm_head"),
        embeddings=("transformer.token_embeddings",),
    ),
    _entry(
        "phi3small", linears(r"self_attn\.(query_key_value|dense)", r"mlp\.(up|down)_proj"), HEADS
    ),
    _entry(
        "pixtral",
        *LLAMA_TREE,
        embeddings=("language_model.model.embed_tokens",),
        inside=INSIDE,
        outside=LIKE_LLAVA,
        dropped=_TOWER,
    ),
    _entry("plamo", linears(ATTENTION, MLP, layer=r"model\.layers\.layers\.\d+"), HEADS),
    *(
        _entry(
            name,
            linears(
                r"mixer\.(qkv|o|in|bcdt|out)_proj",
                r"mlp\.(gate_up|down)_proj",
                layer=r"model\.layers\.layers\.\d+",
            ),
            HEADS,
            kept=(convolution("conv1d"),),
        )
        for name in ("plamo2", "plamo3")
    ),
    _entry(
        "qwen",
        same(r"transformer\.h\.\d+\.(attn\.(c_attn|c_proj)|mlp\.(w1|w2|c_proj))"),
        same(r"transformer\.wte|lm_head"),
        embeddings=("transformer.wte",),
    ),
    _entry(
        "spark2_5",
        linears(r"self_attn\.(q_k_v_proj|g_proj|out_proj)", MLP),
        same(r"model\.embedding|lm_head"),
        embeddings=("model.embedding",),
    ),
    _entry(
        "step3p5",
        linears(ATTENTION, r"self_attn\.g_proj", MLP, r"mlp\.share_expert\.(gate|up|down)_proj"),
        linears(r"mlp\.gate\.gate"),
        never(rf"{LAYER}\.mlp\.switch_mlp\.(gate|up|down)_proj", _STEP_EXPERT),
        HEADS,
        renames=(
            Rename(r"\.mlp\.switch_mlp\.", ".moe.", ".moe."),
            Rename(r"\.mlp\.gate\.gate", ".moe.gate", ".moe.gate"),
            Rename(r"\.mlp\.gate\.router_bias", ".moe.router_bias", ".moe.router_bias"),
            Rename(r"\.mlp\.share_expert\.", ".share_expert.", ".share_expert."),
        ),
        kept=(Kept(r".*norm.*\.weight", Stored(SAME, Layout.MINUS_ONE)),),
        dropped=_PREDICTS_SEVERAL,
    ),
    _entry(
        "talkie",
        same(r"model\.blocks\.\d+\.attn\.attn_(query|key|value|resid)"),
        same(r"model\.blocks\.\d+\.mlp\.mlp_(gate|linear|resid)"),
        same(r"model\.embed"),
        embeddings=("model.embed",),
    ),
)
