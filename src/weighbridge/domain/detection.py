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
from weighbridge.domain.findings import shortened
from weighbridge.domain.models import FusedModel, Kind, LoraModel, LoraTarget, Model, PeftModel
from weighbridge.domain.tensors import TensorSpec

LORA_WEIGHTS = "adapters.safetensors"
#: What mlx-lm wrote until 2024-04, and mlx-examples still does.
NPZ_WEIGHTS = "adapters.npz"
PEFT_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
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
class Choice:
    """What the caller says of a directory in which more than one model may be.

    ``checkpoint`` is the number of a LoRA's checkpoint to take for its weights. ``bare`` accepts
    LoRA weights without a config, since the caller gives what it would say.
    """

    kind: Kind | None = None
    checkpoint: int | None = None
    bare: bool = False

    @property
    def lora_weights(self) -> tuple[str, ...]:
        """Names that a LoRA's weights may have."""
        if self.checkpoint is not None:
            return (f"{self.checkpoint:07d}_{LORA_WEIGHTS}",)
        return (LORA_WEIGHTS, NPZ_WEIGHTS)


def _choice(wanted: Choice | Kind | None) -> Choice:
    return wanted if isinstance(wanted, Choice) else Choice(wanted)


@frozen
class Detected:
    """A kind, the directory (relative, '' is the root) that holds its files, and its weights' name
    if it is a LoRA."""

    kind: Kind
    directory: str
    weights: str = LORA_WEIGHTS


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _complete(
    paths: frozenset[str], shards: tuple[str, ...] | None, choice: Choice
) -> list[Detected]:
    found = []
    for directory in ("", "adapters"):
        config = _join(directory, ADAPTER_CONFIG) in paths
        named = [n for n in choice.lora_weights if _join(directory, n) in paths]
        if named and (config or choice.bare):
            found.append(Detected(Kind.LORA, directory, named[0]))
        if config and _join(directory, PEFT_WEIGHTS) in paths:
            found.append(Detected(Kind.PEFT, directory))
    sharded = INDEX in paths and bool(shards) and all(s in paths for s in shards or ())
    if CONFIG in paths and (SINGLE in paths or sharded):
        found.append(Detected(Kind.FUSED, ""))
    return found


def detect(
    location: str,
    scan: Scan,
    shards: tuple[str, ...] | None = None,
    wanted: Choice | Kind | None = None,
) -> Detected:
    """The one kind that is complete. ``shards`` are the files that the index names, if readable.

    Raises InvalidModelStructure with everything that is missing, or AmbiguousModelStructure if
    several kinds are complete and ``wanted`` does not choose one of them.
    """
    paths, choice = frozenset(e.path.text for e in scan.files), _choice(wanted)
    found = _complete(paths, shards, choice)
    chosen = [d for d in found if choice.kind in (None, d.kind)]
    if choice.checkpoint is not None:
        chosen = [d for d in chosen if d.kind is Kind.LORA]
    if len(chosen) == 1:
        return chosen[0]
    listed = tuple(sorted(paths))
    if len(chosen) > 1:
        raise _ambiguous(location, chosen, listed)
    problems = list(_half_problems(paths, shards)) + _odd_problems(scan)
    if choice.checkpoint is not None:
        steps = sorted(int(m["step"]) for p in paths if (m := CHECKPOINT.search(p)))
        listed_steps = ", ".join(map(str, steps)) or "none"
        problems.insert(0, f"no checkpoint {choice.checkpoint}; those here: {listed_steps}")
    elif choice.kind is not None and found:
        kinds = ", ".join(d.kind.value for d in found)
        problems.append(f"not a {choice.kind.value} model; what is complete here: {kinds}")
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
        old, peft = _join(directory, NPZ_WEIGHTS), _join(directory, PEFT_WEIGHTS)
        present, pickled = (
            [w for w in (weights, old, peft) if w in paths],
            _join(directory, _PICKLED),
        )
        checkpoints = sorted(
            p for p in paths
            if p.rpartition("/")[0] == directory and CHECKPOINT.fullmatch(p.rpartition("/")[2])
        )  # fmt: skip
        if present == [peft] and config not in paths:
            yield (
                f"half a PEFT adapter: {peft} without {config}; copy the one that training wrote, "
                "or weighbridge repair writes one"
            )
        elif present and config not in paths:
            yield (
                f"half a LoRA: {present[0]} without {config}; copy the one that training wrote, or "
                "if it wrote none say what it would: --scale and --base-model"
            )
        if checkpoints and weights not in paths:
            yield (
                f"only checkpoints ({', '.join(checkpoints[-3:])}) and no {weights}; say which one "
                "with --checkpoint N"
            )
        elif pickled in paths and not present:
            yield (
                f"{pickled}: is pickled, which runs code when it is read; load it with PEFT and "
                f"save it with save_pretrained, which writes {peft}"
            )
        elif config in paths and not present:
            yield f"half a LoRA: {config} without {weights}; training did not finish"
    yield from _half_fused(paths, shards)


def _half_fused(paths: frozenset[str], shards: tuple[str, ...] | None) -> Iterable[str]:
    present = sorted(p for p in paths if SHARD.fullmatch(p))
    if INDEX in paths and SINGLE not in paths:
        missing = sorted(s for s in shards or () if s not in paths)
        if shards is None:
            yield f"{INDEX} cannot be read as an index; fuse again"
        elif missing:
            yield (
                f"half a fused model: {INDEX} names {', '.join(missing[:5])}, missing here; copy "
                "what is missing, or fuse again"
            )
    elif present and SINGLE not in paths:
        yield f"half a fused model: {len(present)} shard(s) without {INDEX}; fuse again"
    elif CONFIG in paths and not {SINGLE, INDEX} & paths:
        yield f"half a fused model: {CONFIG} without {SINGLE}; copy the weights, or fuse again"
    if (present or SINGLE in paths) and CONFIG not in paths:
        yield f"half a fused model: weights without {CONFIG}; copy it from the base or fuse again"


def _odd_problems(scan: Scan) -> list[str]:
    """What is there under a name but is not taken for a file."""
    why = {
        Oddity.SYMLINK: "is a symlink, which is never followed; replace it by the file",
        Oddity.UNREADABLE: "cannot be read; fix its permissions",
        Oddity.SPECIAL: "is no regular file; replace it by the file",
    }
    return [f"{e.name} {why[e.oddity]}" for e in scan.irregular if e.oddity in why]


def indexed_shards(index: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The files that an index names, sorted; None if it is no index."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        return None
    if set(map(type, weight_map.values())) != {str}:
        return None
    return tuple(sorted(set(weight_map.values())))


def parse_model(artifact: ModelArtifact, detected: Detected) -> Model:
    """The typed model. Raises ArtifactUnreadable with every file that cannot be parsed."""
    match detected.kind:
        case Kind.LORA:
            return _parse_lora(artifact, detected.directory, detected.weights)
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
        problems += [f"{path}: {d.code} {shortened(d.tensor)} {d.detail}" for d in defects] or [
            f"{path}: cannot be read"
        ]
        return ()
    return tuple(slot.spec for slot in found.header.slots)


def _raise_if(artifact: ModelArtifact, problems: list[str]) -> None:
    if problems:
        raise ArtifactUnreadable(location=artifact.location, problems=tuple(problems))


#: How trainers call the two factors: mlx-lm and most others; layers of nn.Linear (unsloth); mlx-vlm
#: before 2026-05.
FACTORS = ((".lora_a", ".lora_b"), (".lora_a.weight", ".lora_b.weight"), (".A", ".B"))
#: How they call DoRA's magnitude: mlx-lm and most others; MLX Forge.
MAGNITUDES = (".m", ".magnitude")


def pair_targets(
    specs: Iterable[TensorSpec], *, may_lie_turned: bool = True
) -> tuple[tuple[LoraTarget, ...], tuple[TensorSpec, ...]]:
    """Every sound pair with its magnitude if it has one, and every tensor that is part of none.

    Under mlx-lm's names a file may hold (rank, in) and (out, rank) throughout, as MLX Forge's do;
    not if its config is mlx-lm's, which cannot load that.
    """
    by_name = {s.name: s for s in specs}
    lies_turned = may_lie_turned and _lies_turned(by_name)
    targets, used = [], set()
    for name, a in by_name.items():
        for first, second in FACTORS:
            module = name.removesuffix(first)
            b = by_name.get(module + second)
            if module in (name, "") or b is None:
                continue
            m = next((by_name[module + end] for end in MAGNITUDES if module + end in by_name), None)
            turned = first.endswith(".weight") or (lies_turned and first == FACTORS[0][0])
            target = _pair(module, a, b, m, turned)
            if target is not None:
                targets.append(target)
                used |= {s.name for s in target.specs}
    others = tuple(s for s in by_name.values() if s.name not in used)
    return tuple(sorted(targets, key=lambda t: t.module)), others


def _lies_turned(by_name: Mapping[str, TensorSpec]) -> bool:
    """True if every pair fits the other way round, and one of them only so: a square module's
    factors fit either way, and those beside it tell."""
    first, second = FACTORS[0]
    found = ((by_name[n], by_name.get(n.removesuffix(first) + second))
             for n in by_name if n.endswith(first))  # fmt: skip
    pairs = [(a.shape, b.shape) for a, b in found if b is not None]
    return (
        all(len(a) == len(b) == 2 and a[0] == b[1] > 0 for a, b in pairs)
        and any(a[1] != b[0] for a, b in pairs)
    )  # fmt: skip


def _pair(
    module: str, a: TensorSpec, b: TensorSpec, m: TensorSpec | None, turned: bool
) -> LoraTarget | None:
    """The target that the shapes make, if they are those of a pair."""
    if turned:
        fits = len(a.shape) == len(b.shape) == 2 and a.shape[0] == b.shape[1] > 0
        own = m if m is not None and m.shape == b.shape[:1] else None
        return LoraTarget(module, a, b, own, turned=True) if fits else None
    match a.shape, b.shape:
        case (_, rank), (inner, out) if rank == inner > 0:
            # DoRA's magnitude is one number for each output; of an embedding, for each token.
            fits = m is not None and m.shape in ((out,), (a.shape[0],))
            return LoraTarget(module, a, b, m if fits else None)
        case (experts, rank, _), (others, _, inner) if experts == others and rank == inner > 0:
            return LoraTarget(module, a, b, experts=experts)
        case (stacked, _), (experts, _, rank) if stacked == experts * rank > 0:
            return LoraTarget(module, a, b, experts=experts)
    return None


def _parse_lora(artifact: ModelArtifact, directory: str, name: str) -> LoraModel:
    problems: list[str] = []
    weights, config = _join(directory, name), _join(directory, ADAPTER_CONFIG)
    # Weights without a config are a LoRA only if the caller gave what it would say.
    parsed = _config(artifact, config, problems) if config in artifact.paths else {}
    targets, others = pair_targets(
        _tensors(artifact, weights, problems), may_lie_turned="lora_parameters" not in parsed
    )
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
