"""Targets: exactly what is held, in the form that most consumers read."""

from __future__ import annotations

from hypothesis import given, strategies as st

from weighbridge.domain.peft.selection import peft_selects
from weighbridge.domain.peft.target_selection import neighbours, select

_LAYER = "model.layers.{}.{}"
_NAMES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.shared_expert.gate_proj")
_ALL = [_LAYER.format(i, n) for i in range(4) for n in _NAMES] + ["lm_head", "model.embed_tokens"]


def test_suffixes_where_they_do() -> None:
    held = [m for m in _ALL if m.endswith("q_proj")]
    assert select(held, _ALL).modules == ("q_proj",)


def test_longer_suffixes_where_a_name_is_elsewhere_too() -> None:
    held = [m for m in _ALL if m.endswith("mlp.gate_proj")]
    assert select(held, _ALL).modules == ("mlp.gate_proj",)


def test_layers_where_not_every_layer_is_held() -> None:
    held = [_LAYER.format(i, "self_attn.q_proj") for i in (2, 3)]
    found = select(held, _ALL)
    assert (found.modules, found.layers, found.pattern) == (("q_proj",), (2, 3), "layers")


def test_what_is_in_no_layer_is_named_whole_beside_layers() -> None:
    held = [_LAYER.format(3, "self_attn.q_proj"), "model.embed_tokens"]
    found = select(held, _ALL)
    assert found.modules == ("model.embed_tokens", "q_proj") and found.layers == (3,)


def test_whole_paths_where_nothing_shorter_does() -> None:
    held = [_LAYER.format(0, "self_attn.q_proj"), _LAYER.format(1, "self_attn.v_proj")]
    assert select(held, _ALL).modules == tuple(sorted(held))


@given(st.sets(st.sampled_from(_ALL), min_size=1), st.booleans())
def test_peft_selects_what_is_held_and_nothing_else(held: set[str], layers_first: bool) -> None:
    found = select(held, _ALL, prefer_layers=layers_first)
    config = {
        "target_modules": list(found.modules),
        "layers_to_transform": None if found.layers is None else list(found.layers),
        "layers_pattern": found.pattern,
    }
    assert {m for m in _ALL if peft_selects(m, config)} == held


def test_neighbours_are_the_same_modules_of_other_layers() -> None:
    assert neighbours(["model.layers.1.x", "lm_head"], 3) == {
        "model.layers.0.x", "model.layers.1.x", "model.layers.2.x", "lm_head",
    }  # fmt: skip
