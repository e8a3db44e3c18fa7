"""Say what a directory is, from headers and small documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import frozen

from weighbridge.application.load import Loaded, load
from weighbridge.application.ports import FileSystem
from weighbridge.domain.detection import Choice
from weighbridge.domain.models import FusedModel, Kind, LoraModel, PeftModel
from weighbridge.domain.scale import effective_scale
from weighbridge.domain.tensors import TensorSpec

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


@frozen
class Inspection:
    """What it is. Sizes in bytes; fields that do not apply to the kind are None or empty."""

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


@frozen
class Inspect:
    """The use case, over its port."""

    files: FileSystem

    def __call__(self, location: str, choice: Choice | Kind | None = None) -> Inspection:
        """Raises InvalidModelStructure, AmbiguousModelStructure or ArtifactUnreadable."""
        return describe(load(self.files, location, choice))


_LEAF = re.compile(r"\.(lora_[abAB](\.weight)?|m|weight|bias|scales|biases)$")


def _module(name: str) -> str:
    """The path of the module that a tensor belongs to."""
    return _LEAF.sub("", name)


def _layers(names: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({int(m.group(1)) for n in names if (m := _LAYER.search(n))}))


def _specs(loaded: Loaded) -> tuple[TensorSpec, ...]:
    match loaded.model:
        case LoraModel(targets=targets, others=others):
            return tuple(s for t in targets for s in (t.a, t.b)) + others
        case PeftModel(tensors=tensors) | FusedModel(tensors=tensors):
            return tensors


def _rank_and_scale(loaded: Loaded) -> tuple[tuple[int, ...], float | None]:
    match loaded.model:
        case LoraModel(targets=targets, config=config):
            ranks = tuple(sorted({t.rank for t in targets}))
            return ranks, effective_scale(config, ranks[0] if ranks else 1).value
        case PeftModel(config=config):
            rank, alpha = config.get("r"), config.get("lora_alpha")
            if isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float):
                return (rank,), alpha / rank
    return (), None


def describe(loaded: Loaded) -> Inspection:
    """The summary of a loaded model."""
    specs, model = _specs(loaded), loaded.model
    rank, scale = _rank_and_scale(loaded)
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
        directory=loaded.detected.directory,
        base_model=model.base_model,
        rank=rank,
        scale=scale,
        layers=_layers(s.name for s in specs),
        modules=dict(sorted(counted.items())),
        dtypes=dict(sorted(dtypes.items())),
        tensors=len(specs),
        parameters=sum(_elements(s) for s in specs),
        weight_bytes=sum(e.size for e in loaded.artifact.scan.files if e.path.text in paths),
        files=tuple((e.path.text, e.size) for e in loaded.artifact.scan.files),
        model_type=model_type if isinstance(model_type, str) else None,
        quantised=isinstance(model, FusedModel) and model.quantised,
    )


def _elements(spec: TensorSpec) -> int:
    count = 1
    for size in spec.shape:
        count *= size
    return count
