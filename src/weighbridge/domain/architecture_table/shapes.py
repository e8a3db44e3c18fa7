"""Rules that many entries of the table share. Names are MLX's; ``{}`` stands for the expert."""

from __future__ import annotations

from weighbridge.domain.placement import (
    Experts,
    Impossible,
    Kept,
    Layout,
    Part,
    Plain,
    Rename,
    Rule,
    Stored,
)

SAME = r"\g<0>"
LAYER = r"model\.layers\.\d+"
ATTENTION = r"self_attn\.[qkvo]_proj"
MLP = r"mlp\.(gate|up|down)_proj"
SHARED = r"mlp\.shared_experts\.(gate|up|down)_proj"
#: Latent attention. The newer mlx-lm models split kv_b_proj into parts that carry no LoRA; older
#: files have one, which is at the same place.
LATENT = r"self_attn\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)"
INDEXER = r"self_attn\.indexer\.(wq_b|wk|weights_proj)"


def same(pattern: str) -> Rule:
    """Modules whose MLX path is the path everywhere."""
    return Rule(pattern, Plain(SAME, SAME))


def linears(*leaves: str, layer: str = LAYER) -> Rule:
    """Linear modules below a layer, under the same path everywhere."""
    return same(rf"{layer}\.({'|'.join(leaves)})")


def router(leaf: str, layer: str = LAYER) -> Rule:
    """A router, whose weight transformers 5 holds as a parameter of a module of its own."""
    return Rule(rf"{layer}\.{leaf}", Plain(SAME, SAME, parameter=True))


#: The way out of what PEFT has no form for, where the whole model has one.
FUSE = "weighbridge fuse RUN --base DIR -o OUT makes a whole model of it"
BARE_WEIGHT = (
    f"is read as a bare weight by transformers, past any LoRA; train with other keys, or {FUSE}"
)


def never(pattern: str, reason: str) -> Rule:
    """Modules that can carry a LoRA in MLX and cannot in PEFT."""
    return Rule(pattern, Impossible(reason))


LFM2 = linears(r"self_attn\.([qkv]|out)_proj", r"conv\.(in|out)_proj", r"feed_forward\.w[123]")
HEADS = same(r"lm_head|model\.embed_tokens")
LLAMA_TREE = (linears(ATTENTION, MLP), HEADS)

W123 = ("w1", "w3", "w2")
_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def experts(
    owner: str,
    stack: str = "switch_mlp",
    each: tuple[str, str, str] | None = _PROJECTIONS,
    layer: str = LAYER,
) -> tuple[Rule, ...]:
    """The three stacks ``<owner>.<stack>.gate_proj`` and so on of MLX.

    ``each`` are the names of gate, up and down below ``<owner>.experts.{}`` in checkpoints; None
    if none keeps experts apart.
    """
    parts = zip(Part, _PROJECTIONS, each or _PROJECTIONS, strict=True)
    return tuple(
        Rule(
            rf"({layer}\.{owner})\.{stack}\.{mlx}",
            Experts(r"\1.experts", rf"\1.experts.{{}}.{name}" if each else "", part),
        )
        for part, mlx, name in parts
    )


def experts_apart(
    owner: str, stack: str = "switch_mlp", each: tuple[str, str, str] = _PROJECTIONS
) -> tuple[Rule, ...]:
    """Stacks of MLX whose experts are modules of their own in transformers as well."""
    return tuple(
        Rule(
            rf"({LAYER}\.{owner})\.{stack}\.{mlx}",
            Experts("", rf"\1.experts.{{}}.{name}", part),
        )
        for part, mlx, name in zip(Part, _PROJECTIONS, each, strict=True)
    )


def stacks(stack: str, gate_up: str, down: str, layout: Layout = Layout.SAME) -> tuple[Kept, ...]:
    """Whole expert tensors ``<...>.<stack>.gate_proj.weight`` of checkpoints that stack them."""
    return (
        Kept(rf"(.*)\.{stack}\.gate_proj\.weight", Stored(rf"\1.{gate_up}", layout, 0, 2)),
        Kept(rf"(.*)\.{stack}\.up_proj\.weight", Stored(rf"\1.{gate_up}", layout, 1, 2)),
        Kept(rf"(.*)\.{stack}\.down_proj\.weight", Stored(rf"\1.{down}", layout)),
    )


_QUANTISED_LATENT = (
    "is a quantised part of latent attention's kv_b_proj, which mlx-lm's dequantisation passes by;"
    " fuse into a base that is not quantised"
)
#: ``sanitize`` of mlx-lm splits kv_b_proj by head.
KV_B_SPLIT = (
    Kept(r".*\.(embed_q|unembed_out)\.(scales|biases)", Impossible(_QUANTISED_LATENT)),
    Kept(r"(.*)\.embed_q\.weight", Stored(r"\1.kv_b_proj.weight", Layout.LATENT, 0, 2)),
    Kept(r"(.*)\.unembed_out\.weight", Stored(r"\1.kv_b_proj.weight", Layout.LATENT, 1, 2)),
)
#: ``sanitize`` of qwen3_next and qwen3_5 adds 1 to these and to no others (``norm_keys``).
SHIFTED_NORMS = Kept(
    r"(.*\.)?((input|post_attention)_layernorm|model\.norm|[qk]_norm)\.weight",
    Stored(SAME, Layout.MINUS_ONE),
)


def convolution(name: str) -> Kept:
    """A convolution's weight, of which mlx-lm moves the last axis."""
    return Kept(rf".*{name}\.weight", Stored(SAME, Layout.CONVOLUTION))


#: The whole model's names for the text model's, in four fashions.
INSIDE = "language_model."
LIKE_LLAVA = (
    Rename(r"^model\.", "model.language_model.", "language_model.model."),
    Rename(r"^lm_head", "lm_head", "language_model.lm_head"),
)
LIKE_QWEN2_VL = (Rename(r"^model\.", "model.language_model.", "model."),)
LIKE_QWEN3_VL = (Rename(r"^model\.", "model.language_model.", "model.language_model."),)
LIKE_LLAMA4 = (Rename("^", "language_model.", "language_model."),)
