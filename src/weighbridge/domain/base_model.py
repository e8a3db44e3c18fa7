"""What is known of the base model without its weights: its config, its tensors' names and shapes.

Either may be missing. Decides what follows from them: the architecture, which modules exist and how
large they are, whether the embeddings are tied.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from attrs import field, frozen

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.layouts import keeps
from weighbridge.domain.llama_shapes import expected_shape
from weighbridge.domain.mlx.base import is_mlx_format, unpacked
from weighbridge.domain.placement import Architecture, Experts, Part, Plain, Rows, Stored
from weighbridge.domain.tensors import TensorSpec
from weighbridge.domain.transformers_defaults import DEFAULTS, UNKNOWN

# Checkpoints of bare models lack the prefix that the model with a head has.
_PREFIXES = ("", "model.", "transformer.", "model.language_model.", "language_model.")
_KEYS_OR_VALUES = re.compile(
    r"(?:model\.|language_model\.)*layers\.(\d{1,4})\.self_attn\.[kv]_proj(?:\.weight)?"
)


@frozen
class BaseModel:
    """A base model as far as it is known; ``tensors`` are empty if no header was read."""

    config: Mapping[str, Any] = field(factory=dict)
    tensors: Mapping[str, TensorSpec] = field(factory=dict, repr=False)
    mlx_format: bool = False

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        tensors: Mapping[str, TensorSpec],
        *,
        by_mlx: bool = False,
    ) -> BaseModel:
        """The base with that config and those headers, which may be in MLX's own format.

        ``by_mlx``: the files say that MLX wrote them; then they may have its names."""
        architecture = architecture_for(config)
        mlx_format = is_mlx_format(config, tensors) or (
            by_mlx and any(not keeps(architecture, name) for name in tensors)
        )
        if mlx_format:
            tensors = unpacked(config, tensors, architecture)
        known = cls(config)
        used = {name: spec for name, spec in tensors.items() if not known.shares_keys(name)}
        return cls(config, used, mlx_format)

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of the config."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, dict) else self.config

    @property
    def towers_unseen(self) -> bool:
        """True if it has towers for images or sound, by its config, of which no header tells: none
        was read, or MLX left them out of its copy."""
        return self.text_config is not self.config and all(
            "language_model." in name or name.rpartition(".")[0].endswith("lm_head")
            for name in self.tensors
        )

    @property
    def architecture(self) -> Architecture:
        """The entry of the table; UNKNOWN if the config is not at hand."""
        return architecture_for(self.config)

    def modules_like(self, held: Collection[str]) -> frozenset[str]:
        """Names of all modules with a matrix that a LoRA could adapt, prefixed as ``held`` are.

        Checkpoints and the classes that load them differ in the first part of a name; the prefix
        that makes most of ``held`` known is the right one. Empty if no header was read.
        """
        matrices = {n.removesuffix(".weight") for n, s in self.tensors.items() if len(s.shape) == 2}
        # A module may hold its matrix in one of its own modules, and PEFT would meet that first.
        stems = matrices | {name.rpartition(".")[0] for name in matrices}
        spellings = [frozenset(f"{p}{s}" for s in stems) for p in _PREFIXES]
        spellings += [frozenset(s.removeprefix(p) for s in stems) for p in _PREFIXES[1:]]
        wanted = frozenset(held)
        return max(spellings, key=lambda names: len(names & wanted))

    @property
    def layers(self) -> int | None:
        """The number of decoder layers, if the config says."""
        for key in ("num_hidden_layers", "n_layer", "num_layers", "n_layers"):
            value = self.text_config.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 4096:
                return value
        return None

    def shares_keys(self, name: str) -> bool:
        """True for projections of keys or values in a layer that takes an earlier layer's (Gemma 3n
        and 4): checkpoints hold them, and transformers has no such module."""
        shared, layers = self.text_config.get("num_kv_shared_layers"), self.layers
        if not isinstance(shared, int) or shared <= 0 or layers is None:
            return False
        found = _KEYS_OR_VALUES.fullmatch(name)
        return found is not None and 0 < layers - shared <= int(found[1])

    @property
    def tied(self) -> bool | None:
        """True if the head is the embedding; None if that is not known.

        A checkpoint may store a head and its config tie it all the same: neither stack reads it.
        """
        said = [v for fields in (self.config, self.text_config)
                if isinstance(v := fields.get("tie_word_embeddings"), bool)]  # fmt: skip
        if self.tensors:
            stored = any(n.rpartition(".")[0].endswith(("lm_head", "embed_out"))
                         for n in self.tensors)  # fmt: skip
            return not stored or said[:1] == [True]
        if said:
            return said[0]
        model_type = self.text_config.get("model_type")
        return DEFAULTS.get(str(model_type), UNKNOWN).tied

    def shared_by_head(self, embedding: str) -> bool | None:
        """Whether the head is that embedding; None if that is not known. No head is one of
        positions."""
        return False if embedding.endswith(".wpe") else self.tied

    def find(self, *modules: str) -> TensorSpec | None:
        """The weight of the first of these modules that the headers hold."""
        for module in modules:
            for prefix in _PREFIXES:
                if found := self.tensors.get(f"{prefix}{module}.weight"):
                    return found
            for prefix in _PREFIXES[1:]:
                if module.startswith(prefix):
                    bare = module.removeprefix(prefix)
                    if found := self.tensors.get(f"{bare}.weight"):
                        return found
        return None

    def _stack(self, container: str, name: str) -> tuple[int, int] | None:
        """(out, in) of one matrix of a stack."""
        found = self.tensors.get(f"{container}.{name}")
        if found is None or len(found.shape) != 3:
            return None
        rows, columns = found.shape[1:]
        return (columns, rows) if self.architecture.turns(name) else (rows, columns)

    def shape(self, place: Plain | Rows | Experts) -> tuple[int, int] | None:
        """(out, in) of the module at that place, if the headers tell; of one expert in a stack."""
        match place:
            case Plain(path, checkpoint):
                found = self.find(checkpoint, path)
                shape = found.shape if found else ()
                if len(shape) != 2:
                    return None
                # GPT-2's embeddings are no Conv1D.
                turned = self.architecture.conv1d and ".h." in f".{path}"
                return (shape[1], shape[0]) if turned else (shape[0], shape[1])
            case Rows(path, checkpoint, _, count, apart):
                if apart and (own := self.find(checkpoint)) and len(own.shape) == 2:
                    return own.shape[0], own.shape[1]
                found = self.find(checkpoint, path)
                shape = found.shape if found else ()
                return (shape[0] // count, shape[1]) if len(shape) == 2 else None
            case Experts(container, _, part):
                each = self.find(place.each(0)) if place.checkpoint else None
                if each is not None and len(each.shape) == 2:
                    return each.shape[0], each.shape[1]
                if part is Part.DOWN:
                    return self._stack(container, "down_proj")
                joined = self._stack(container, "gate_up_proj")
                return (joined[0] // 2, joined[1]) if joined else None

    def stored_shape(self, module: str) -> tuple[int, int] | None:
        """(out, in) of one expert of an MLX module that checkpoints keep in a stack."""
        stored = self.architecture.restore(f"{module}.weight")
        found = self.tensors.get(stored.name) if isinstance(stored, Stored) else None
        if not isinstance(stored, Stored) or found is None or len(found.shape) != 3:
            return None
        return found.shape[1] // stored.count, found.shape[2]

    def llama_shape(self, leaf: str) -> tuple[int, int] | None:
        """(out, in) of a module of the Llama tree by its last name, as the config implies it."""
        found = expected_shape(self.text_config, leaf)
        return None if found is None else found[::-1]
