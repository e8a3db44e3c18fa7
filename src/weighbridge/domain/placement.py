"""Where a module of MLX's tree lives in the checkpoint that transformers loads.

The vocabulary of ``architectures``: four answers to that question, and an architecture's rules
that give them. Decides nothing about tensors; what a LoRA becomes there is ``conversion``'s.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen


class Standing(Enum):
    """What can be said of a LoRA on an architecture before its tensors are seen."""

    CONVERTIBLE = "convertible"
    NEEDS_BASE = "convertible after the base's headers are known"
    REFUSED = "refused"


class Part(Enum):
    """Which expert matrix; gate and up are the halves of transformers' ``gate_up_proj``."""

    GATE = "gate"
    UP = "up"
    DOWN = "down"


@frozen
class Plain:
    """One module, one module. ``path`` is what transformers 5 calls it (without ``.weight``);
    ``checkpoint`` is its name in published checkpoints and in transformers 4. With ``parameter``
    it is no ``nn.Linear`` in transformers 5, and PEFT can only adapt the parameter ``weight``."""

    path: str
    checkpoint: str
    parameter: bool = False


@frozen
class Rows:
    """The module's output is rows of a larger module: part ``index`` of ``count`` equal parts."""

    path: str
    checkpoint: str
    index: int
    count: int


@frozen
class Experts:
    """A stack of matrices, one per expert.

    ``container`` is the module that holds the stacked parameters in transformers 5;
    ``checkpoint`` is the name of one expert's module, with ``{}`` for its number.
    """

    container: str
    checkpoint: str
    part: Part

    def each(self, expert: int) -> str:
        """The checkpoint's name of one expert's module."""
        return self.checkpoint.replace("{}", str(expert))


@frozen
class Impossible:
    """No exact form exists; ``reason`` is what follows the module's name in a sentence."""

    reason: str


Place: TypeAlias = Plain | Rows | Experts | Impossible


class Layout(Enum):
    """What mlx-lm did to a tensor's values when it loaded a checkpoint, to be undone."""

    SAME = "same"
    #: A convolution's (channels, width, 1) is (channels, 1, width) in the checkpoint.
    CONVOLUTION = "convolution"
    #: A norm's weight is stored one larger in MLX.
    MINUS_ONE = "minus one"


@frozen
class Stored:
    """The checkpoint's name of a whole tensor; with ``{}`` for the expert if MLX stacked them."""

    name: str
    layout: Layout = Layout.SAME


class RouteForm(Enum):
    """How PEFT on transformers 5 has to be told of modules whose names look like an expert's.

    For some model types it rewrites every target called gate, gate_proj, up_proj or down_proj
    into the stacked experts (``_convert_peft_config_moe`` of PEFT 0.20 and later).
    """

    #: Nothing is rewritten: there are no experts, or none that PEFT knows.
    NONE = "none"
    #: Rewritten as for Mixtral: gate, w1, w2, w3.
    MIXTRAL = "mixtral"
    #: Rewritten as for Qwen2-MoE: gate, gate_proj, up_proj, down_proj.
    QWEN2_MOE = "qwen2_moe"


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(pattern)


@frozen
class Rule:
    """Modules whose whole path matches ``pattern`` are at ``place``, a template of that match.

    Templates are those of ``re.Match.expand``; ``{}`` is left for the expert.
    """

    pattern: re.Pattern[str] = field(converter=_compiled)
    place: Place

    def apply(self, module: str) -> Place | None:
        """The place of that module, or None if the rule does not speak of it."""
        found = self.pattern.fullmatch(module)
        if found is None:
            return None
        match self.place:
            case Plain(path, checkpoint, parameter):
                return Plain(found.expand(path), found.expand(checkpoint), parameter)
            case Rows(path, checkpoint, index, count):
                return Rows(found.expand(path), found.expand(checkpoint), index, count)
            case Experts(container, checkpoint, part):
                return Experts(found.expand(container), found.expand(checkpoint), part)
            case Impossible() as impossible:
                return impossible


@frozen
class Architecture:
    """One entry of the table: the first of ``rules`` that matches a module places it.

    ``model_type`` is the base's; ``embeddings`` are MLX paths of embedding modules, whose LoRA has
    another form in PEFT; ``conv1d`` says that linear weights are stored (in, out) by transformers;
    ``renamed_on_load`` that the newest PEFT accepts the checkpoint's names too; ``uniform`` that
    every decoder layer has the same modules in the same shapes.
    """

    model_type: str
    standing: Standing
    reason: str = ""
    rules: tuple[Rule, ...] = ()
    embeddings: tuple[str, ...] = ("model.embed_tokens",)
    conv1d: bool = False
    rewriting: RouteForm = RouteForm.NONE
    renamed_on_load: bool = True
    uniform: bool = False

    def place(self, module: str) -> Place:
        """Where that MLX module path is. Impossible, with the reason, if it is nowhere."""
        if self.standing is Standing.REFUSED:
            return Impossible(f"is of the architecture {self.model_type}, which {self.reason}")
        for rule in self.rules:
            if (place := rule.apply(module)) is not None:
                return place
        return Impossible(f"is not a module of {self.model_type} that can be mapped exactly")

    def restore(self, tensor: str) -> Stored | Impossible:
        """What the checkpoint that transformers loads calls a tensor of a fused MLX model.

        ``tensor`` is a full name with its last part (``weight``, ``bias``, ``A_log``).
        """
        module, _, leaf = tensor.rpartition(".")
        match self.place(module):
            case Plain(_, checkpoint):
                return Stored(f"{checkpoint}.{leaf}")
            case Experts(_, checkpoint):
                return Stored(f"{checkpoint}.{leaf}")
            case Rows() | Impossible():
                return Impossible("has no counterpart in the checkpoint")
