"""``restore`` is the inverse of what mlx-lm does to a checkpoint when it loads one."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import numpy as np
import pytest

from weighbridge.domain.companies import TRUNK_WORDS, WORDS, absent_companions
from weighbridge.domain.decoder_layers import DECODERS, layer_modules
from weighbridge.domain.placement import Impossible, Layout, Stored
from weighbridge.domain.rules.module_shapes import Tree, fits
from weighbridge.domain.tensors import TensorSpec

from .stacks import Array, Base, directory_of


def _undone(layout: Layout, parts: list[Array]) -> Array:
    """The checkpoint's tensor for the parts that MLX has of it, in their order."""
    if layout is Layout.LATENT:
        keys, values = parts
        heads = np.concatenate([keys.swapaxes(1, 2), values], axis=1)
        return heads.reshape(-1, heads.shape[-1])
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)
    match layout:
        case Layout.CONVOLUTION:
            return np.moveaxis(whole, 2, 1)
        case Layout.MINUS_ONE:
            return whole - np.float32(1)
        case Layout.TRANSPOSED:
            return whole.swapaxes(-1, -2)
        case Layout.ONE:
            return whole.reshape(1)
        case _:
            return whole


def _rebuilt(base: Base) -> tuple[dict[str, Array], list[str]]:
    """The checkpoint as ``restore`` has it, and the tensors that it says cannot be restored."""
    parts: defaultdict[str, dict[int, tuple[Stored, Array]]] = defaultdict(dict)
    lost = []
    for name, tensor in base.mlx.items():
        match base.architecture.restore(name):
            case Stored() as stored:
                parts[stored.name][stored.index] = (stored, tensor.value)
            case Impossible():
                lost.append(name)
    found: dict[str, Array] = {}
    for name, by_index in parts.items():
        pieces = [by_index[index] for index in sorted(by_index)]
        assert len(pieces) == pieces[0][0].count, f"{name} lacks a part"
        whole = _undone(pieces[0][0].layout, [value for _, value in pieces])
        if "{}" in name:
            found |= {name.replace("{}", str(n)): one for n, one in enumerate(whole)}
        else:
            found[name] = whole
    return found, lost


@pytest.mark.slow
def test_restored_tensors_are_the_checkpoints(base: Base) -> None:
    found, lost = _rebuilt(base)
    # GPT-2's published files have no ``transformer.``.
    unprefixed = {name: name.partition(".")[2] for name in found if name not in base.files}
    for name, value in found.items():
        np.testing.assert_allclose(
            base.files[unprefixed.get(name, name)], value, atol=1e-6, err_msg=name
        )
    left = set(base.files) - set(found) - set(unprefixed.values())
    assert not left or lost or base.architecture.dropped, f"nobody accounts for {sorted(left)}"


@pytest.mark.slow
def test_layers_have_the_modules_that_are_said_of_them(case: str, base: Base) -> None:
    known = layer_modules(json.loads((directory_of(case) / "config.json").read_text()))
    if known is None:
        return
    form = re.compile(rf"({'|'.join(DECODERS)})layers\.\d+\.(?P<module>.*)\.(?P<leaf>[a-z_]+)")
    for names in (base.files, base.mlx):
        found = [f for name in names if (f := form.fullmatch(name))]
        held = {f["module"] for f in found}
        assert known.every <= held <= known.every | known.some
        biased = {f["module"] for f in found if f["leaf"] == "bias"}
        assert set(known.biased) <= biased


@pytest.mark.slow
def test_shapes_are_those_that_the_config_tells(case: str, base: Base) -> None:
    tree = Tree.of(json.loads((directory_of(case) / "config.json").read_text()))
    told = {name: wanted for name in base.files if (wanted := tree.shape(name)) is not None}
    assert told
    assert [n for n, wanted in told.items() if not fits(n, base.files[n].shape, wanted)] == []


_TOWER = re.compile("vision_|multi_modal_")
_IN_TEXT = re.compile(
    r"(((language_)?model|transformer|backbone|gpt_neox)\.)*"
    r"((layers|h|blocks)\.\d+\.(?P<inside>.*)|(?P<trunk>\w+))\.[a-zA-Z_]+"
)


@pytest.mark.slow
def test_modules_come_together_and_under_known_names(base: Base) -> None:
    for names in (base.files, base.mlx):
        alike: defaultdict[str, list[TensorSpec]] = defaultdict(list)
        for name in names:
            alike[re.sub(r"\d", "0", name)].append(TensorSpec(name, "F32", (1,)))
        assert list(absent_companions(alike.values(), base.architecture.model_type)) == []
        found = [f for name in names if (f := _IN_TEXT.fullmatch(name))]
        words = {w for f in found for w in (f["inside"] or "").split(".") if w and not w.isdigit()}
        assert words <= WORDS
        trunk = {f["trunk"] for f in found if f["trunk"] and not _TOWER.match(f["trunk"])}
        assert trunk <= TRUNK_WORDS
