"""Names of LoRA tensors, taken apart: as PEFT writes them, as MLX does, and as scripts mix them.

PEFT's own form is ``base_model.model.<module path>.lora_A.weight``; MLX's is
``<module path>.lora_a``. Whatever else a script may have made of the two, the module's path from
its first telling part on (``layers.0.self_attn.q_proj``) survives, and is the tensor's identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from weighbridge.domain.peft.selection import KEY_PREFIX
from weighbridge.domain.placement import Architecture, Plain

#: Containers that differ between the trees of MLX, transformers and a careless script.
_CONTAINERS = ("base_model", "model", "language_model")
_NAME = re.compile(
    r"(?P<wrappers>(?:base_model\.model\.)*)(?P<module>.+)\."
    r"(?P<leaf>lora_[ABab]|lora_embedding_[ABab]|lora_magnitude_vector|m(?=$))"
    r"(?:\.(?P<adapter>(?!(?:weight|bias)(?:\.|$))[^.]+))?(?P<weight>\.weight)?"
)


class Part(Enum):
    """Which tensor of a LoRA; the value is MLX's leaf."""

    A = "lora_a"
    B = "lora_b"
    MAGNITUDE = "m"


_PARTS = {
    "lora_a": Part.A,
    "lora_b": Part.B,
    "lora_embedding_a": Part.A,
    "lora_embedding_b": Part.B,
    "lora_magnitude_vector": Part.MAGNITUDE,
    "m": Part.MAGNITUDE,
}


@frozen
class LoraName:
    """One LoRA tensor's name. ``module`` is the path after all ``wrappers`` of PEFT; ``adapter``
    is the name that PEFT gives an adapter in memory and strips when it saves."""

    text: str
    wrappers: int
    module: str
    leaf: str
    adapter: str | None
    weight: bool

    @property
    def part(self) -> Part:
        """Which tensor of the LoRA it is, however it is spelt."""
        return _PARTS[self.leaf.lower()]

    @property
    def embedding(self) -> bool:
        """True for PEFT's form of a LoRA on an embedding."""
        return self.leaf.lower().startswith("lora_embedding")

    @property
    def core(self) -> str:
        """The module's path without containers: the same in every tree."""
        return core(self.module)

    @property
    def key(self) -> tuple[str, Part]:
        """The tensor's identity, the same for every spelling of its name."""
        return self.core, self.part

    @property
    def proper_leaf(self) -> str:
        """How PEFT ends the name of such a tensor in a file."""
        if self.part is Part.MAGNITUDE:
            return "lora_magnitude_vector"
        if self.embedding:
            return f"lora_embedding_{self.leaf[-1].upper()}"
        return f"lora_{self.leaf[-1].upper()}.weight"

    @property
    def leaf_is_proper(self) -> bool:
        """True if the name ends as PEFT's do, but for the adapter's name."""
        return self.leaf + (".weight" if self.weight else "") == self.proper_leaf

    @property
    def is_peft_style(self) -> bool:
        """True if no MLX trainer would write it: PEFT's wrapper or PEFT's capitals are in it."""
        return self.text.startswith("base_model.") or self.leaf != self.leaf.lower()


def parse_name(text: str) -> LoraName | None:
    """The parts of a LoRA tensor's name; None if it is no such name."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    wrappers = found["wrappers"].count(KEY_PREFIX)
    return LoraName(
        text, wrappers, found["module"], found["leaf"], found["adapter"], bool(found["weight"])
    )


def core(module: str) -> str:
    """``module`` without the containers that it begins with."""
    parts = module.split(".")
    while len(parts) > 1 and parts[0] in _CONTAINERS:
        parts.pop(0)
    return ".".join(parts)


def mlx_paths(module: str) -> Iterator[str]:
    """What MLX may call the module whose path is, or was meant to be, ``module``."""
    rest = core(module)
    for container in ("model.", "", "language_model.model.", "language_model.",
                      "model.language_model."):  # fmt: skip
        yield container + rest


def placed(module: str, architecture: Architecture) -> dict[str, Plain]:
    """By MLX path: where the architecture has a module of that core, if as one module."""
    return {
        path: place
        for path in mlx_paths(module)
        if isinstance(place := architecture.place(path), Plain)
    }
