"""The exchanges of rows and columns that llama.cpp makes in weights, and so in a LoRA on them.

An order says for each row (or column) of the result which one of the source it is. Written from
``LlamaModel.permute``, ``GPTNeoXModel.modify_tensors`` and ``_LinearAttentionVReorderBase`` of
llama.cpp's ``conversion``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import frozen

from weighbridge.domain.gguf.names import Order

Indices: TypeAlias = tuple[int, ...]


class NoOrder(ValueError):
    """The order cannot be told; the text says why."""


@frozen
class Exchange:
    """Order of a weight's rows (outputs, so of ``lora_B``) and of its columns (``lora_A``)."""

    rows: Indices | None = None
    columns: Indices | None = None


@functools.lru_cache(maxsize=32)
def rotary_pairs(rows: int, head_dim: int) -> Indices:
    """Rows of q or k: of each head, row i of the first half before row i of the second."""
    half = head_dim // 2
    return tuple(
        head + part * half + row
        for head in range(0, rows, head_dim)
        for row in range(half)
        for part in (0, 1)
    )


@functools.lru_cache(maxsize=32)
def fused_qkv(rows: int, heads: int) -> Indices:
    """Rows of a fused projection with q, k and v of each head in turn: all q, all k, all v."""
    width = rows // heads // 3
    return tuple(
        (head * 3 + part) * width + row
        for part in range(3)
        for head in range(heads)
        for row in range(width)
    )


@functools.lru_cache(maxsize=32)
def value_heads(first: int, key_heads: int, value_heads: int, width: int) -> Indices:
    """``first`` rows as they are, then ``value_heads`` heads of ``width`` rows dealt out in turns:
    the first of every key head's group, the second of every one, and so on."""
    group = value_heads // key_heads
    dealt = (
        first + (key * group + turn) * width + row
        for turn in range(group)
        for key in range(key_heads)
        for row in range(width)
    )
    return (*range(first), *dealt)


def exchange_of(
    order: Order, module: str, parameters: Mapping[str, Any], rows: int, columns: int
) -> Exchange:
    """What happens to a weight of (rows, columns) of that module. Raises NoOrder."""
    leaf = module.rpartition(".")[2]
    match order:
        case Order.ROTARY_PAIRS if leaf in ("q_proj", "k_proj"):
            return Exchange(rows=_rotary(leaf, parameters, rows))
        case Order.FUSED_QKV if leaf == "query_key_value":
            heads = _count(parameters, "num_attention_heads")
            _require(
                rows == 3 * _count(parameters, "hidden_size") and rows % (3 * heads) == 0, rows
            )
            return Exchange(rows=fused_qkv(rows, heads))
        case Order.VALUE_HEADS if ".linear_attn." in module:
            return _linear_attention(leaf, parameters, rows, columns)
        case _:
            return Exchange()


def _rotary(leaf: str, parameters: Mapping[str, Any], rows: int) -> Indices:
    heads = _count(parameters, "num_attention_heads")
    given = parameters.get("head_dim")
    head_dim = (
        _count(parameters, "head_dim")
        if given is not None
        else _count(parameters, "hidden_size") // heads
    )
    # Older configs of Llama leave the number of key heads out; then the rows tell it.
    named = "num_attention_heads" if leaf == "q_proj" else "num_key_value_heads"
    known = parameters.get(named)
    _require(head_dim > 0 and head_dim % 2 == 0 and rows % head_dim == 0, rows)
    _require(known is None or rows == _count(parameters, named) * head_dim, rows)
    return rotary_pairs(rows, head_dim)


def _linear_attention(
    leaf: str, parameters: Mapping[str, Any], rows: int, columns: int
) -> Exchange:
    keys = _count(parameters, "linear_num_key_heads")
    values = _count(parameters, "linear_num_value_heads")
    key_width = _count(parameters, "linear_key_head_dim")
    width = _count(parameters, "linear_value_head_dim")
    _require(values % keys == 0, values)
    if keys == values:
        return Exchange()
    match leaf:
        case "in_proj_qkv":
            order = value_heads(2 * keys * key_width, keys, values, width)
        case "in_proj_z":
            order = value_heads(0, keys, values, width)
        case "in_proj_a" | "in_proj_b":
            order = value_heads(0, keys, values, 1)
        case "out_proj":
            order = value_heads(0, keys, values, width)
            _require(len(order) == columns, columns)
            return Exchange(columns=order)
        case _:
            raise NoOrder("is a part of linear attention that is not known")
    _require(len(order) == rows, rows)
    return Exchange(rows=order)


def _require(condition: bool, found: int) -> None:
    if not condition:
        raise NoOrder(f"has {found} rows or columns, which the base's config.json does not explain")


def _count(parameters: Mapping[str, Any], key: str) -> int:
    value = parameters.get(key)
    if type(value) is not int or value < 1:
        raise NoOrder(f"needs {key} of the base's config.json, which is {value!r}")
    return value
