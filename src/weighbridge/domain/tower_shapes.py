"""Sizes of what is in a tower for images, from ``vision_config``.

Towers name their modules in few ways, whatever the model is. A test holds this against what
transformers and mlx-lm build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from weighbridge.domain.llama_shapes import positive

#: As in ``layer_shapes``: None for what is not told.
Shape: TypeAlias = tuple[int | None, ...]

#: What stands before a layer's number in a tower.
LAYERS = (
    r"(?:model\.)?(?:visual|vision_tower|vision_model)\.(?:[a-z_]+\.)*?(?:layers|blocks)\.\d+\."
)
_IN_LAYER = re.compile(
    rf"{LAYERS}(?:"
    r"(?P<norm>(?:[a-z_]*(?:layer_?norm|norm)|layer_norm|norm)[12]?)"
    r"|(?:self_attn|attention|attn)\.(?:(?P<reads>[qkv]_proj)|(?P<writes>o_proj|out_proj|proj)"
    r"|(?P<joined>qkv))"
    r"|(?:mlp|feed_forward)\.(?:(?P<up>fc1|linear_fc1|gate_proj|up_proj)"
    r"|(?P<down>fc2|linear_fc2|down_proj))"
    r")(?:\.linear)?\.weight"
)
#: In the towers of Kimi fc1 is the second of its network, after fc0.
_OTHERWISE = re.compile(r"\.blocks\.\d+\.mlp\.fc\d\.")


def tower_shape(vision: Mapping[str, object], name: str) -> Shape | None:
    """(out, in) of a linear module of a tower's layer, or a norm's size, as ``vision`` tells it."""
    found = _IN_LAYER.fullmatch(name)
    width = positive(vision, "embed_dim") or positive(vision, "hidden_size")
    if found is None or width is None or _OTHERWISE.search(name):
        return None
    inner, handed = (positive(vision, key) for key in ("intermediate_size", "out_hidden_size"))
    if handed is not None and handed != inner:  # by which GLM's layers are, and others' are not
        inner = None
    shapes: dict[str, Shape] = {
        "norm": (width,),
        "reads": (None, width),
        "writes": (width, None),
        "joined": (None if "num_key_value_heads" in vision else 3 * width, width),
        "up": (inner, width),
        "down": (width, inner),
    }
    return shapes[str(found.lastgroup)]
