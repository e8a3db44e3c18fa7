"""What a directory is: decided from file names, small documents and headers, never guessed.

A file that is there but broken does not change the kind; it makes the model unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.artifact import ModelArtifact, Oddity, Scan
from weighbridge.domain.errors import (
    AmbiguousModelStructure,
    ArtifactUnreadable,
    InvalidModelStructure,
)
from weighbridge.domain.models import FusedModel, Kind, LoraModel, LoraTarget, Model, PeftModel
from weighbridge.domain.tensors import TensorSpec

LORA_WEIGHTS = "adapters.safetensors"
PEFT_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHECKPOINT = re.compile(r"(?P<step>\d{7})_adapters\.safetensors")
SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")

_NEEDS = (
    f"a LoRA needs {LORA_WEIGHTS} and {ADAPTER_CONFIG}, at the root or in adapters/",
    f"a fused model needs {CONFIG} and {SINGLE}, or shards with {INDEX}",
    f"a PEFT adapter needs {PEFT_WEIGHTS} and {ADAPTER_CONFIG}",
)


@frozen
class Detected:
    """A kind and the directory (relative, '' is the root) that holds its files."""

    kind: Kind
    directory: str


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _complete(paths: frozenset[str], shards: tuple[str, ...] | None) -> list[Detected]:
    found = []
    for directory in ("", "adapters"):
        config = _join(directory, ADAPTER_CONFIG) in paths
        if config and _join(directory, LORA_WEIGHTS) in paths:
            found.append(Detected(Kind.LORA, directory))
        if config and _join(directory, PEFT_WEIGHTS) in paths:
            found.append(Detected(Kind.PEFT, directory))
    sharded = INDEX in paths and bool(shards) and all(s in paths for s in shards or ())
    if CONFIG in paths and (SINGLE in paths or sharded):
        found.append(Detected(Kind.FUSED, ""))
    return found


def detect(
    location: str, scan: Scan, shards: tuple[str, ...] | None = None, wanted: Kind | None = None
) -> Detected:
    """The one kind that is complete. ``shards`` are the files that the index names, if readable.

    Raises InvalidModelStructure with everything that is missing, or AmbiguousModelStructure if
    several kinds are complete and ``wanted`` does not choose one of them.
    """
    paths = frozenset(e.path.text for e in scan.files)
    found = _complete(paths, shards)
    chosen = [d for d in found if wanted is None or d.kind is wanted]
    if len(chosen) == 1:
        return chosen[0]
    listed = tuple(sorted(paths))
    if len(chosen) > 1:
        raise _ambiguous(location, chosen, listed)
    problems = list(_half_problems(paths, shards)) + _symlink_problems(scan)
    if wanted is not None and found:
        kinds = ", ".join(d.kind.value for d in found)
        problems.append(f"not a {wanted.value} model; what is complete here: {kinds}")
    raise InvalidModelStructure(location=location, problems=tuple(problems) + _NEEDS, found=listed)


def _ambiguous(
    location: str, chosen: list[Detected], listed: tuple[str, ...]
) -> AmbiguousModelStructure:
    names = tuple(dict.fromkeys(d.kind.value for d in chosen))
    places = ", ".join(f"{d.kind.value} in {d.directory or 'the root'}" for d in chosen)
    remedy = (
        f"say which one with --as {'|'.join(names)}"
        if len(names) > 1
        else "give the path of the one that is meant"
    )
    return AmbiguousModelStructure(
        location=location,
        problems=(f"more than one complete model: {places}; {remedy}",),
        found=listed,
        kinds=names,
    )


def _half_problems(paths: frozenset[str], shards: tuple[str, ...] | None) -> Iterable[str]:
    for directory in ("", "adapters"):
        weights, config = _join(directory, LORA_WEIGHTS), _join(directory, ADAPTER_CONFIG)
        peft = _join(directory, PEFT_WEIGHTS)
        present = [w for w in (weights, peft) if w in paths]
        checkpoints = sorted(
            p for p in paths
            if p.rpartition("/")[0] == directory and CHECKPOINT.fullmatch(p.rpartition("/")[2])
        )  # fmt: skip
        if present and config not in paths:
            yield f"half a LoRA: {present[0]} without {config}; copy the one that training wrote"
        if checkpoints and weights not in paths:
            yield (
                f"only checkpoints ({', '.join(checkpoints[-3:])}) and no {weights}; copy the "
                f"checkpoint that you mean to {weights}"
            )
        elif config in paths and not present:
            yield f"half a LoRA: {config} without {weights}; training did not finish"
    yield from _half_fused(paths, shards)


def _half_fused(paths: frozenset[str], shards: tuple[str, ...] | None) -> Iterable[str]:
    present = sorted(p for p in paths if SHARD.fullmatch(p))
    if INDEX in paths and SINGLE not in paths:
        missing = sorted(s for s in shards or () if s not in paths)
        if shards is None:
            yield f"{INDEX} cannot be read as an index"
        elif missing:
            yield f"half a fused model: {INDEX} names {', '.join(missing[:5])}, missing here"
    elif present and SINGLE not in paths:
        yield f"half a fused model: {len(present)} shard(s) without {INDEX}; fuse again"
    if (present or SINGLE in paths) and CONFIG not in paths:
        yield f"half a fused model: weights without {CONFIG}; copy it from the base or fuse again"


def _symlink_problems(scan: Scan) -> list[str]:
    return [
        f"{e.name} is a symlink, which is never followed; replace it by the file"
        for e in scan.irregular
        if e.oddity is Oddity.SYMLINK
    ]


def indexed_shards(index: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The files that an index names, sorted; None if it is no index."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        return None
    if not all(isinstance(v, str) for v in weight_map.values()):
        return None
    return tuple(sorted(set(weight_map.values())))


def parse_model(artifact: ModelArtifact, detected: Detected) -> Model:
    """The typed model. Raises ArtifactUnreadable with every file that cannot be parsed."""
    match detected.kind:
        case Kind.LORA:
            return _parse_lora(artifact, detected.directory)
        case Kind.PEFT:
            return _parse_peft(artifact, detected.directory)
        case Kind.FUSED:
            return _parse_fused(artifact)


def _config(artifact: ModelArtifact, path: str, problems: list[str]) -> Mapping[str, Any]:
    document = artifact.document(path)
    if document is None:
        problems.append(f"{path}: cannot be read")
    elif document.problem is not None:
        problems.append(f"{path}: {document.problem.code} {document.problem.detail}")
    return document.object if document else {}


def _tensors(artifact: ModelArtifact, path: str, problems: list[str]) -> tuple[TensorSpec, ...]:
    found = artifact.tensor_file(path)
    if found is None or found.header is None:
        defects = found.defects if found else ()
        problems += [f"{path}: {d.code} {d.tensor} {d.detail}" for d in defects] or [
            f"{path}: cannot be read"
        ]
        return ()
    return tuple(slot.spec for slot in found.header.slots)


def _raise_if(artifact: ModelArtifact, problems: list[str]) -> None:
    if problems:
        raise ArtifactUnreadable(location=artifact.location, problems=tuple(problems))


def pair_targets(
    specs: Iterable[TensorSpec],
) -> tuple[tuple[LoraTarget, ...], tuple[TensorSpec, ...]]:
    """LoRA pairs, with DoRA's magnitudes, and every tensor that is not part of one."""
    by_name = {s.name: s for s in specs}
    targets, used = [], set()
    for name, a in by_name.items():
        module, _, leaf = name.rpartition(".")
        b = by_name.get(f"{module}.lora_b")
        if leaf != "lora_a" or not module or b is None:
            continue
        experts = b.shape[0] if len(b.shape) == 3 else None
        if _is_pair(a.shape, b.shape):
            magnitude = by_name.get(f"{module}.m")
            targets.append(LoraTarget(module, a, b, magnitude, experts))
            used |= {a.name, b.name} | ({magnitude.name} if magnitude else set())
    others = tuple(s for s in by_name.values() if s.name not in used)
    return tuple(sorted(targets, key=lambda t: t.module)), others


def _is_pair(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    if len(b) == 3:
        experts, _, rank = b
        stacked = len(a) == 3 and a[:2] == (experts, rank)
        return rank > 0 and (stacked or (len(a) == 2 and a[0] == experts * rank))
    return len(a) == len(b) == 2 and a[1] == b[0] > 0


def _parse_lora(artifact: ModelArtifact, directory: str) -> LoraModel:
    problems: list[str] = []
    weights, config = _join(directory, LORA_WEIGHTS), _join(directory, ADAPTER_CONFIG)
    parsed = _config(artifact, config, problems)
    targets, others = pair_targets(_tensors(artifact, weights, problems))
    _raise_if(artifact, problems)
    return LoraModel(directory, weights, config, parsed, targets, others)


def _parse_peft(artifact: ModelArtifact, directory: str) -> PeftModel:
    problems: list[str] = []
    weights, config = _join(directory, PEFT_WEIGHTS), _join(directory, ADAPTER_CONFIG)
    parsed = _config(artifact, config, problems)
    tensors = _tensors(artifact, weights, problems)
    _raise_if(artifact, problems)
    return PeftModel(directory, weights, config, parsed, tensors)


def fused_weights(artifact: ModelArtifact) -> tuple[str, ...]:
    """The weight files of a fused model: the index's shards, or the single file."""
    index = artifact.document(INDEX)
    shards = indexed_shards(index.object) if index else None
    if shards and all(s in artifact.paths for s in shards):
        return shards
    return (SINGLE,)


def _parse_fused(artifact: ModelArtifact) -> FusedModel:
    problems: list[str] = []
    parsed = _config(artifact, CONFIG, problems)
    paths = fused_weights(artifact)
    tensors = tuple(t for path in paths for t in _tensors(artifact, path, problems))
    _raise_if(artifact, problems)
    return FusedModel("", paths, CONFIG, parsed, tensors)
