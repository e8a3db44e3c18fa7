"""Say what a directory is, from headers and small documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.application.load import Loaded, load
from weighbridge.domain.description import (
    Conversion,
    checkpoints_in,
    conversion_of,
    dialect_of,
    embeddings_of,
    experts_of,
    quantisation_of,
    strength_of,
    tensors_of,
    training_of,
)
from weighbridge.domain.models import FusedModel, Kind

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.detection import Choice
    from weighbridge.domain.tensors import TensorSpec

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


@frozen
class Inspection:
    """What it is. Sizes in bytes; fields that do not apply to the kind are None or empty.

    ``scale_reason`` says why ``scale`` is None; ``alpha`` is PEFT's; ``checkpoints`` are steps.
    """

    location: str
    kind: Kind
    directory: str
    base_model: str | None
    rank: tuple[int, ...]
    scale: float | None
    layers: tuple[int, ...]
    modules: Mapping[str, int]
    dtypes: Mapping[str, int]
    tensors: int
    parameters: int
    weight_bytes: int
    files: tuple[tuple[str, int], ...]
    model_type: str | None = None
    quantised: bool = False
    training: str | None = None
    dialect: str | None = None
    scale_reason: str = ""
    alpha: float | None = None
    experts: int | None = None
    embeddings: tuple[str, ...] = ()
    checkpoints: tuple[int, ...] = ()
    conversion: Conversion | None = None
    quantisation: Mapping[str, Any] | None = None


@frozen
class Inspect:
    """The use case, over its port."""

    files: FileSystem

    def __call__(self, location: str, choice: Choice | Kind | None = None) -> Inspection:
        """Raises InvalidModelStructure, AmbiguousModelStructure or ArtifactUnreadable."""
        return describe(load(self.files, location, choice))


_LEAF = re.compile(
    r"\.(lora_[abAB](\.weight)?|lora_embedding_[AB]|lora_magnitude_vector|m|[AB]|weight|bias|scales|biases)$"
)


def _module(name: str) -> str:
    """The path of the module that a tensor belongs to."""
    return _LEAF.sub("", name)


def _layers(names: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({int(m.group(1)) for n in names if (m := _LAYER.search(n))}))


def describe(loaded: Loaded) -> Inspection:
    """The summary of a loaded model."""
    specs, model = tensors_of(loaded.model), loaded.model
    strength, directory = strength_of(model), loaded.detected.directory
    fused = isinstance(model, FusedModel)
    paths = set(model.weights_paths) if isinstance(model, FusedModel) else {model.weights_path}
    paths_of_modules = {_module(s.name) for s in specs}
    counted = Counter(path.rpartition(".")[2] for path in paths_of_modules)
    dtypes: Counter[str] = Counter()
    for spec in specs:
        dtypes[spec.dtype] += spec.nbytes
    model_type = model.config.get("model_type") if fused else None
    return Inspection(
        location=loaded.artifact.location,
        kind=loaded.detected.kind,
        directory=directory,
        base_model=model.base_model,
        rank=strength.ranks,
        scale=strength.scale.value,
        layers=_layers(s.name for s in specs),
        modules=dict(sorted(counted.items())),
        dtypes=dict(sorted(dtypes.items())),
        tensors=len(specs),
        parameters=sum(_elements(s) for s in specs),
        weight_bytes=sum(e.size for e in loaded.artifact.scan.files if e.path.text in paths),
        files=tuple((e.path.text, e.size) for e in loaded.artifact.scan.files),
        model_type=model_type if isinstance(model_type, str) else None,
        quantised=isinstance(model, FusedModel) and model.quantised,
        training=training_of(model),
        dialect=dialect_of(model),
        scale_reason=strength.scale.reason,
        alpha=strength.alpha,
        experts=experts_of(model),
        embeddings=embeddings_of(model),
        checkpoints=checkpoints_in(loaded.artifact.paths, directory),
        conversion=conversion_of(model),
        quantisation=quantisation_of(model),
    )


def _elements(spec: TensorSpec) -> int:
    count = 1
    for size in spec.shape:
        count *= size
    return count
