"""Sizes of linear modules, from the figures in a base's config.json: both of the Llama tree's, and
of those that read or write the residual stream in any tree the one that is its width."""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge.domain.attention import attention_shapes

_READS = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj",
                    "gate_up_proj", "q_a_proj", "kv_a_proj_with_mqa"})  # fmt: skip
_WRITES = frozenset({"o_proj", "down_proj"})


def positive(config: Mapping[str, object], key: str) -> int | None:
    """The positive integer of that key, if it is one."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def key_value_heads(config: Mapping[str, object]) -> int | None:
    """How many heads keys and values have; None where that is left out. Null is not: it stands for
    as many as there are of the queries."""
    name = "num_key_value_heads"
    same = name in config and config[name] is None
    return positive(config, "num_attention_heads" if same else name)


def expected_shape(config: Mapping[str, object], leaf: str) -> tuple[int, int] | None:
    """(in, out) of a module of the Llama tree by its last name, if the config tells."""
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    if hidden is None:
        return None
    # A size of 0 that is written is what loaders build.
    inner = 0 if config.get("intermediate_size") == 0 else positive(config, "intermediate_size")
    vocab = positive(config, "vocab_size")
    shapes: dict[str, tuple[int | None, int | None]] = {
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
        "lm_head": (hidden, vocab),
    }
    if heads is not None:
        size, groups = positive(config, "head_dim"), key_value_heads(config)
        shapes |= attention_shapes(str(config.get("model_type")), hidden, heads, size, groups)
    before, after = shapes.get(leaf, (None, None))
    return None if before is None or after is None else (before, after)


def expected_width(
    config: Mapping[str, object], leaf: str, *, expert: bool = False
) -> tuple[int | None, int | None]:
    """(in, out) of a decoder's module in any tree, as far as it is the width of the model, or of
    an expert its own; None for what the config does not tell."""
    width = positive(config, "hidden_size")
    inner = positive(config, "moe_intermediate_size") if expert else None
    if leaf in _READS:
        return width, 2 * inner if inner and leaf == "gate_up_proj" else inner
    return (inner, width) if leaf in _WRITES else (None, None)
