"""Models of mlx-lm on which no LoRA is converted. Each reason says what to do instead."""

from __future__ import annotations

from weighbridge.domain.placement import Architecture, Standing

_MLX_FORMAT = "publish the fused model in MLX format"

_REASONS = {
    "afm7": (
        "fuses projections into modules whose LoRA has several factors each, and for which no"
        f" checkpoint of transformers exists; {_MLX_FORMAT}"
    ),
    "bitnet": f"has ternary weights that carry no LoRA in MLX; {_MLX_FORMAT}",
    "deepseek_v41": f"renames and repacks its whole checkpoint when it loads it; {_MLX_FORMAT}",
    "deepseek_v41_text": f"renames and repacks its whole checkpoint when loaded; {_MLX_FORMAT}",
    "falcon_h1": (
        "has the multipliers of its config folded into the weights by mlx-lm, so that a LoRA there"
        f" means another change in transformers, and PEFT refuses its out_proj; {_MLX_FORMAT}"
    ),
    "kimi_k3": f"joins query, key and value into one matrix when it loads them; {_MLX_FORMAT}",
    "minimax": (
        "names MiniMax's first generation, with lightning attention, where mlx-lm builds MiniMax"
        " M2; if this is M2, say MiniMaxM2ForCausalLM in the architectures of config.json"
    ),
    "muse_spark": (
        "interleaves rows of query and key and joins them with value and gate when it loads them;"
        f" {_MLX_FORMAT}"
    ),
    "nanochat": f"is a tree that mlx-lm cannot load from transformers' checkpoint; {_MLX_FORMAT}",
    "olmo": (
        "is built by mlx-lm from the checkpoints of ai2-olmo, which transformers does not load; use"
        " the base converted for transformers and train again"
    ),
    "phi-msft": f"is Phixtral to mlx-lm, whose code transformers 5 does not run; {_MLX_FORMAT}",
    "phixtral": f"has code that transformers 5 does not run; {_MLX_FORMAT}",
    "prism_hadamard_qwen35": f"has Hadamard matrices around its weights; {_MLX_FORMAT}",
    "rwkv7": f"has low-rank layers of its own and no twin in transformers; {_MLX_FORMAT}",
}

REFUSED = tuple(
    Architecture(name, Standing.REFUSED, reason) for name, reason in sorted(_REASONS.items())
)
