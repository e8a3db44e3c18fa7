"""Where a module of MLX's tree lives in the checkpoint that transformers loads.

The vocabulary of ``architectures``: rules that give the answers of ``places``, and an architecture
made of them. Decides nothing about tensors; what a LoRA becomes there is ``conversion``'s.
"""

from __future__ import annotations

import functools
import re
from enum import Enum

from attrs import evolve, frozen

from weighbridge.domain.places import (
    Experts,
    Impossible,
    Layout,
    Part,
    Place,
    Plain,
    Rows,
    Stored,
)

__all__ = [
    "Architecture",
    "Experts",
    "Impossible",
    "Kept",
    "Layout",
    "Part",
    "Place",
    "Plain",
    "Rename",
    "RouteForm",
    "Rows",
    "Rule",
    "Standing",
    "Stored",
]


# When first asked for, since the table has hundreds and a run needs those of one entry.
_compiled = functools.cache(re.compile)


#: The ``model_type`` of the entry for a base that is not at hand.
UNKNOWN_TYPE = "unknown"


class Standing(Enum):
    """What can be said of a LoRA on an architecture before its tensors are seen."""

    #: Proved by values: the tests match every weight of a model built in both stacks.
    CONVERTIBLE = "convertible"
    #: Follows from mlx-lm's source only: exact if the base has each module, in the shape expected.
    NEEDS_BASE = "convertible after the base's headers are known"
    REFUSED = "refused"


class RouteForm(Enum):
    """Which modules PEFT on transformers 5 takes for an expert's, by the names of their leaves.

    For some model types it rewrites such targets into the stacked experts, and converts files with
    a LoRA per expert when it loads them (``_convert_peft_config_moe`` of PEFT 0.20 and later).
    """

    #: Nothing is rewritten and files with a LoRA per expert are not converted.
    NONE = "none"
    #: Rewritten as for Mixtral: gate, w1, w2, w3.
    MIXTRAL = "mixtral"
    #: Rewritten as for Qwen2-MoE: gate, gate_proj, up_proj, down_proj.
    QWEN2_MOE = "qwen2_moe"


@frozen
class Rename:
    """What matches ``pattern`` in a name of MLX's is called ``path`` in transformers 5 and
    ``checkpoint`` in checkpoints. Both are templates of ``re.Match.expand``."""

    pattern: str
    path: str
    checkpoint: str


@frozen
class Rule:
    """Modules whose whole MLX path matches ``pattern`` are at ``place``, a template of that match.

    Templates are those of ``re.Match.expand``, of MLX's names: the architecture's renames come
    after. ``{}`` is left for the expert.
    """

    pattern: str
    place: Place

    def apply(self, module: str) -> Place | None:
        """The place of that module, or None if the rule does not speak of it."""
        found = _compiled(self.pattern).fullmatch(module)
        if found is None:
            return None
        match self.place:
            case Plain(path, checkpoint, parameter):
                return Plain(found.expand(path), found.expand(checkpoint), parameter)
            case Rows(path, checkpoint) as rows:
                path, checkpoint = found.expand(path), found.expand(checkpoint)
                return evolve(rows, path=path, checkpoint=checkpoint)
            case Experts(container, checkpoint, part):
                return Experts(found.expand(container), found.expand(checkpoint), part)
            case Impossible() as impossible:
                return impossible


@frozen
class Kept:
    """Tensors whose whole MLX name matches ``pattern`` are ``stored`` so, a template as in Rule."""

    pattern: str
    stored: Stored | Impossible

    def apply(self, tensor: str) -> Stored | Impossible | None:
        """What that tensor is stored as, or None if the rule does not speak of it."""
        found = _compiled(self.pattern).fullmatch(tensor)
        if found is None or isinstance(self.stored, Impossible):
            return None if found is None else self.stored
        return evolve(self.stored, name=found.expand(self.stored.name))


@frozen
class Architecture:
    """One entry of the table: the first of ``rules`` that matches a module places it.

    ``model_type`` is the base's. ``embeddings`` are MLX paths of embedding modules, whose LoRA has
    another form in PEFT. ``conv1d`` says that linear weights are stored (in, out) by transformers.

    ``inside`` is the prefix of the text model's names in MLX; rules, renames and ``kept`` do
    without it. ``outside`` renames the text model's names into the whole model's. ``dropped`` names
    what of the checkpoint MLX leaves out: a fused model lacks it, and transformers would fill the
    gap with random values, so the fused model has to be published as ``text_only()``.

    ``lost_on_load`` matches the modules whose LoRA the newest PEFT on transformers 5 does not find
    under its ``checkpoint`` name, though it renames others (and says nothing of it);
    ``spoilt`` the paths of those that it finds under no other. ``uniform`` says that every decoder
    layer has the same modules in the same shapes.
    """

    model_type: str
    standing: Standing
    reason: str = ""
    rules: tuple[Rule, ...] = ()
    renames: tuple[Rename, ...] = ()
    kept: tuple[Kept, ...] = ()
    embeddings: tuple[str, ...] = ("model.embed_tokens",)
    conv1d: bool = False
    rewriting: RouteForm = RouteForm.NONE
    lost_on_load: str = ""
    spoilt: str = ""
    inside: str = ""
    outside: tuple[Rename, ...] = ()
    dropped: str = ""
    uniform: bool = False

    def place(self, module: str) -> Place:
        """Where that MLX module path is. Impossible, with the reason, if it is nowhere."""
        if self.standing is Standing.REFUSED:
            return Impossible(f"is of the architecture {self.model_type}, which {self.reason}")
        for rule in self.rules if module.startswith(self.inside) else ():
            if (place := rule.apply(module.removeprefix(self.inside))) is not None:
                return self._renamed(place)
        if self.model_type == UNKNOWN_TYPE:
            return Impossible("is none of a Llama's modules, and what base has it is not known; "
                              "give --base, of which only config.json is needed")  # fmt: skip
        return Impossible(f"is not a module of {self.model_type} that can be mapped exactly")

    def restore(self, tensor: str) -> Stored | Impossible:
        """What the checkpoint that transformers loads calls a tensor of a fused MLX model.

        ``tensor`` is a full name with its last part (``weight``, ``bias``, ``A_log``).
        """
        if self.standing is Standing.REFUSED:
            return Impossible(f"is of the architecture {self.model_type}, which {self.reason}")
        if not tensor.startswith(self.inside):
            return Impossible(f"is not a tensor of {self.model_type} that mlx-lm writes")
        name = tensor.removeprefix(self.inside)
        for kept in self.kept:
            match kept.apply(name):
                case Stored(kept_name) as stored:
                    return evolve(stored, name=self._checkpoint(kept_name))
                case Impossible() as impossible:
                    return impossible
        return self._restored(tensor, name)

    def loads_as_checkpoint(self, module: str) -> bool:
        """Whether the newest PEFT finds that MLX module's LoRA under its ``checkpoint`` name.

        Only the tensors' names are meant; targets in the config always have to be ``path``. Where
        it does, that name is the better one: older PEFT and the servers know no other.
        """
        return _compiled(self.lost_on_load or "(?!)").fullmatch(module) is None

    def turns(self, parameter: str) -> bool:
        """Whether checkpoints store the stacks of that name as (expert, in, out)."""
        stored = (k.stored for k in self.kept if isinstance(k.stored, Stored))
        return any(s.layout is Layout.TRANSPOSED and s.name.endswith(f".{parameter}")
                   for s in stored)  # fmt: skip

    def spoilt_on_load(self, path: str) -> bool:
        """Whether the newest PEFT finds the LoRA of ``path`` under the checkpoint's name only."""
        return _compiled(self.spoilt or "(?!)").fullmatch(path) is not None

    @property
    def renamed_on_load(self) -> bool:
        """Whether the newest PEFT finds every module's LoRA under its ``checkpoint`` name."""
        return not self.lost_on_load

    def text_only(self) -> Architecture:
        """The same text model as the class for text alone has it; itself if there is no other."""
        return evolve(self, outside=(), dropped="", lost_on_load="") if self.outside else self

    def _restored(self, tensor: str, name: str) -> Stored:
        module, _, leaf = tensor.rpartition(".")
        match self.place(module):
            case Experts(_, checkpoint) if checkpoint:
                return Stored(f"{checkpoint}.{leaf}")
            case Rows(_, checkpoint, index, count, apart=False):
                return Stored(f"{checkpoint}.{leaf}", index=index, count=count)
            case Plain(_, checkpoint) if module not in self.embeddings:
                turned = self.conv1d and leaf == "weight"
                layout = Layout.TRANSPOSED if turned else Layout.SAME
                return Stored(f"{checkpoint}.{leaf}", layout)
            case _:
                return Stored(self._checkpoint(name))

    def _renamed(self, place: Place) -> Place:
        match place:
            case Plain(path, checkpoint) | Rows(path, checkpoint):
                return evolve(place, path=self._path(path), checkpoint=self._checkpoint(checkpoint))
            case Experts(container, checkpoint, part):
                return Experts(self._path(container), self._checkpoint(checkpoint), part)
            case Impossible():
                return place

    def _path(self, name: str) -> str:
        for rename in self.renames + self.outside:
            name = _compiled(rename.pattern).sub(rename.path, name, count=1)
        return name

    def _checkpoint(self, name: str) -> str:
        for rename in self.renames + self.outside:
            name = _compiled(rename.pattern).sub(rename.checkpoint, name, count=1)
        return name
