"""Sizes of linear modules, from the figures in a base's config.json: both of the Llama tree's, and
of those that read or write the residual stream in any tree the one that is its width."""

from __future__ import annotations

from collections.abc import Mapping

_READS = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj",
                    "gate_up_proj", "q_a_proj", "kv_a_proj_with_mqa"})  # fmt: skip
_HEADS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
_WRITES = frozenset({"o_proj", "down_proj"})


def positive(config: Mapping[str, object], key: str) -> int | None:
    """The positive integer of that key, if it is one."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def expected_shape(config: Mapping[str, object], leaf: str) -> tuple[int, int] | None:
    """(in, out) of a module of the Llama tree by its last name, if the config tells."""
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    if hidden is None or (heads is None and leaf in _HEADS):
        return None
    heads = heads or 1  # of no matter to the others
    kv = positive(config, "num_key_value_heads") or heads
    head_dim = positive(config, "head_dim") or hidden // heads
    inner, vocab = positive(config, "intermediate_size") or 0, positive(config, "vocab_size") or 0
    shapes = {
        "q_proj": (hidden, heads * head_dim),
        "k_proj": (hidden, kv * head_dim),
        "v_proj": (hidden, kv * head_dim),
        "o_proj": (heads * head_dim, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
        "lm_head": (hidden, vocab),
    }
    found = shapes.get(leaf)
    return found if found and all(found) else None


def expected_width(
    config: Mapping[str, object], leaf: str, *, expert: bool = False
) -> tuple[int | None, int | None]:
    """(in, out) of a decoder's module in any tree, as far as it is the width of the model, or of
    an expert its own; None for what the config does not tell."""
    width = positive(config, "hidden_size")
    inner = positive(config, "moe_intermediate_size") if expert else None
    if leaf in _READS:
        return width, inner
    return (inner, width) if leaf in _WRITES else (None, None)
