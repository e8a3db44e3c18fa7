"""Sizes of the linear modules of the Llama tree, from the figures in a base's config.json."""

from __future__ import annotations

from collections.abc import Mapping


def positive(config: Mapping[str, object], key: str) -> int | None:
    """The positive integer of that key, if it is one."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def expected_shape(config: Mapping[str, object], leaf: str) -> tuple[int, int] | None:
    """(in, out) of a module of the Llama tree by its last name, if the config tells."""
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    if hidden is None or heads is None:
        return None
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
