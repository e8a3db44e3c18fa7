"""MLX LoRA to PEFT, as a plan: exact, or refused with every reason at once.

Two profiles of the same function. ``peft`` is the minimal form, for PEFT itself; ``portable`` is
the form that every known consumer loads: an integer alpha, one rank, suffixes, per-expert tensors,
and pairs of zeros where a consumer expects a pair.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Any

from attrs import evolve, field, frozen

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.base_names import looks_quantised
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.models import LoraModel, LoraTarget
from weighbridge.domain.peft.pairs import (
    KEY_PREFIX as KEY_PREFIX,
    Pair,
    expert_pairs,
    stacked_pairs,
    told_apart,
)
from weighbridge.domain.peft.scale import Strength, exact_strength, integer_strength
from weighbridge.domain.peft.target_selection import Selection, neighbours, select
from weighbridge.domain.placed import LAYER, Placed, padded, place_target
from weighbridge.domain.placement import Experts, Impossible, Plain, RouteForm, Rows, Standing
from weighbridge.domain.scale import scale_to_use
from weighbridge.domain.tensor_plan import ConversionPlan, Padding, PlannedTensor
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 10
CONVERTIBLE_DTYPES = frozenset({"F32", "F16", "BF16"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FUSE = "weighbridge fuse RUN --base DIR -o OUT makes a whole model of it"


class Profile(Enum):
    """Which form of the same function; the value is the word of ``--profile``."""

    PEFT = "peft"
    PORTABLE = "portable"


@frozen
class PeftRequest:
    """What the caller decides. ``base_model`` and ``scale`` override the artifact's config."""

    base: BaseModel = field(factory=BaseModel)
    profile: Profile = Profile.PORTABLE
    base_model: str | None = None
    scale: float | None = None


def is_local_path(name: str) -> bool:
    """True if ``name`` is a path of somebody's machine rather than the id of a Hub repository."""
    return name.startswith(("/", "~", ".", "file:", "\\")) or "\\" in name or not (
        _HUB_ID.fullmatch(name)
    )  # fmt: skip


def plan_peft(
    model: LoraModel, *, location: str, request: PeftRequest | None = None
) -> ConversionPlan:
    """The exact PEFT form of a LoRA. Raises NotConvertible with every reason at once."""
    asked = request or PeftRequest()
    reasons = _refusals(model)
    placed = _placed(model, asked.base, reasons)
    name = _base_name(model, asked.base_model, reasons)
    # Of what holds no LoRA at all, the scale is no matter.
    scale = lora_scale(model, asked.scale, reasons if model.targets else [])
    reasons += _profile_refusals(model, asked.profile)
    reasons += [] if asked.base.tensors else _transposed(model)
    if reasons:
        raise NotConvertible(location=location, reasons=tuple(reasons))
    match asked.profile:
        case Profile.PEFT:
            return _native(placed, asked.base, name, scale)
        case Profile.PORTABLE:
            return _portable(placed, asked.base, name, scale)


# --- refusals -----------------------------------------------------------------------------------


def _base_name(model: LoraModel, override: str | None, reasons: list[str]) -> str:
    name = override or model.base_model
    if name is None:
        reasons.append(f"{model.config_path} names no base model; give --base-model org/name")
    elif is_local_path(name):
        reasons.append(
            f"the base model {name!r} is a path of one machine, not a Hub id; give --base-model "
            "org/name"
        )
    elif override is None and looks_quantised(name):
        reasons.append(
            f"the base model {name!r} is MLX's quantised copy, which nothing that reads PEFT can "
            "load; name the original with --base-model org/name"
        )
    return name or ""


def lora_scale(model: LoraModel, override: float | None, reasons: list[str]) -> float:
    """What MLX multiplied by; why it cannot be known, or used, goes to ``reasons``."""
    found = scale_to_use(model.config, model.targets[0].rank if model.targets else 1, override)
    if found.value is None:
        place = f"{model.config_path}: " if override is None else ""
        reasons.append(place + found.reason)
    return found.value or 0.0


def _other_reason(spec: TensorSpec) -> str:
    leaf, shape = spec.name.rpartition(".")[2], list(spec.shape)
    if leaf in ("m", "magnitude"):
        return f"{spec.name}: {shape} is a DoRA magnitude that fits no pair"
    if re.search(r"\.lora_[ab]\.\d+$", spec.name):
        return f"{spec.name}: one of several LoRAs on one module (afm7), which PEFT has no form for"
    if leaf in ("lora_a", "lora_b"):
        return (f"{spec.name}: {shape} is not part of a sound lora_a/lora_b pair; in MLX lora_a is "
                "(in, rank) and lora_b (rank, out)")  # fmt: skip
    if leaf in ("scales", "biases"):
        return f"{spec.name}: a packed weight of a quantised base; it cannot have been trained"
    return f"{spec.name}: {spec.dtype} {shape} is a trained weight, no LoRA; {_FUSE}"


def saved_whole(model: LoraModel) -> str:
    """Why a LoRA goes nowhere that was saved with all of its base, and the way out."""
    return (f"{model.weights_path}: holds all of the base as well ({len(model.others)} tensors "
            "beside the LoRA), as model.save_weights saves it, and nothing tells if that was "
            "trained. Save dict(tree_flatten(model.trainable_parameters())) with "
            "mx.save_safetensors; or, if the LoRA alone was trained, what ends in lora_a, lora_b "
            "and m of this file, to a new one")  # fmt: skip


def _refusals(model: LoraModel) -> list[str]:
    if model.saved_whole:
        return [saved_whole(model)]
    reasons = [_other_reason(spec) for spec in model.others[:_MOST_NAMED]]
    if len(model.others) > _MOST_NAMED:
        reasons.append(f"and {len(model.others) - _MOST_NAMED} more tensors like these")
    if not model.targets and not model.others:
        reasons.append(
            f"{model.weights_path}: holds no LoRA tensors; the keys of the training matched nothing"
        )
    for target in model.targets:
        for spec in target.specs:
            if spec.dtype not in CONVERTIBLE_DTYPES:
                reasons.append(f"{spec.name}: dtype {spec.dtype} is not F32, F16 or BF16")
    with_magnitude = [t for t in model.targets if t.magnitude]
    if with_magnitude and len(with_magnitude) < len(model.targets):
        plain = next(t for t in model.targets if not t.magnitude)
        reasons.append(f"{plain.module}: has no DoRA magnitude where others have; PEFT's use_dora "
                       f"is for all or none; {_FUSE}")  # fmt: skip
    return reasons


def _profile_refusals(model: LoraModel, profile: Profile) -> list[str]:
    if profile is Profile.PORTABLE and any(t.magnitude for t in model.targets):
        return [
            "it is a DoRA, whose magnitude hardly any server applies: vLLM, SGLang and llama.cpp "
            f"refuse it, TGI and LoRAX ignore it; {_FUSE}, or --profile peft writes the adapter "
            "for PEFT alone"
        ]
    return []


def _transposed(model: LoraModel) -> list[str]:
    """Square modules, whose factors fit either way, where no base tells which: of a rank above
    their size, which the config does not say, they are more likely those of another trainer."""
    odd = [t for t in model.targets if t.experts is None and t.rank != model.said_rank
           and t.rank > t.in_features == t.out_features]  # fmt: skip
    return [
        f"{t.module}: lora_a {list(t.a.shape)} and lora_b {list(t.b.shape)} are of rank {t.rank} "
        f"for a module of {t.in_features}, or transposed, as MLX Forge has them, which multiplies "
        "by scale / rank; --base tells. In MLX lora_a is (in, rank) and lora_b (rank, out)"
        for t in odd[:_MOST_NAMED]
    ]


def _placed(model: LoraModel, base: BaseModel, reasons: list[str]) -> tuple[Placed, ...]:
    placed, architecture = [], base.architecture
    if architecture.standing is Standing.NEEDS_BASE and base.config and not base.tensors:
        reasons.append(
            f"the architecture {architecture.model_type} {architecture.reason}; give --base with "
            "its weights, of which only the headers are read"
        )
    for target in model.targets:
        place = architecture.place(target.module)
        if isinstance(place, Impossible):
            reasons.append(f"{target.module}: {place.reason}")
            continue
        embedding = target.module in architecture.embeddings
        one = place_target(target, place, embedding=embedding)
        problem = _target_problem(one, target, base)
        if problem is None:
            placed.append(one)
        else:
            reasons.append(f"{target.module}: {problem}")
    return tuple(placed)


def _target_problem(one: Placed, target: LoraTarget, base: BaseModel) -> str | None:
    if isinstance(one.place, Experts) != (target.experts is not None):
        return f"is a stack of experts on one side only: lora_b is {list(target.b.shape)}"
    if one.embedding:
        return _embedding_problem(target, base)
    if one.key.endswith(("lm_head", "embed_out")) and base.tied:
        return ("is a head, and this base ties its head to the embedding: it has no such module; "
                "give the base that was trained on")  # fmt: skip
    if target.magnitude and not isinstance(one.place, Plain):
        return f"is a DoRA on a part of a module, which PEFT has no form for; {_FUSE}"
    return _shape_problem(one, base)


def _embedding_problem(target: LoraTarget, base: BaseModel) -> str | None:
    if target.magnitude:
        return ("is a DoRA on an embedding: MLX normalises each token's row, PEFT each dimension; "
                f"{_FUSE}")  # fmt: skip
    shared = base.shared_by_head(target.module)
    if shared is None:
        return ("is an embedding, whose PEFT form depends on whether the head shares its weight; "
                "give --base")  # fmt: skip
    if shared:
        return ("is an embedding that the head shares: PEFT has no form for it that is right both "
                f"merged and unmerged; {_FUSE}")  # fmt: skip
    found = base.find(target.module)
    if found is not None and found.shape != (target.in_features, target.out_features):
        return f"is {target.in_features} x {target.out_features}, the base's {list(found.shape)}"
    return None


def _shape_problem(one: Placed, base: BaseModel) -> str | None:
    module = one.target.module if one.target else ""
    return misfit(one.place, module, (one.out_features, one.in_features), base)


def misfit(
    place: Plain | Rows | Experts, module: str, mapped: tuple[int, int], base: BaseModel
) -> str | None:
    """Why a LoRA on ``module`` that maps to ``mapped`` (out, in) is none of that base's; None if it
    is, or if no header of the base was read."""
    if not base.tensors:
        return None
    where = place.checkpoint or module
    if base.shares_keys(where):
        return ("is of a layer that takes the keys and values of an earlier one, and transformers "
                "has no such module; train with other keys")  # fmt: skip
    shape = base.shape(place) or base.stored_shape(module)
    if shape is None:
        return f"the base has no {where}; check that it is the model that was trained"
    if shape != mapped:
        return (f"maps {mapped[1]} -> {mapped[0]}, but the base's {where} "
                f"{shape[1]} -> {shape[0]}")  # fmt: skip
    return None


# --- the two forms ------------------------------------------------------------------------------


def _native(placed: tuple[Placed, ...], base: BaseModel, name: str, scale: float) -> ConversionPlan:
    pairs = told_apart(stacked_pairs(placed, base.architecture), base.architecture, placed)
    rank = _usual_rank(pairs)
    selection = _selection(pairs, base, prefer_layers=True)
    strength = exact_strength(scale, rank)
    pairs = _folded(pairs, strength)
    config = _config(name, rank, strength, base, selection, pairs)
    odd = [p for p in pairs if p.rank != rank]
    config["rank_pattern"] = {p.pattern: p.rank for p in odd}
    config["alpha_pattern"] = {p.pattern: exact_strength(scale, p.rank).alpha for p in odd}
    return ConversionPlan(_tensors(pairs), config, scale, notes=tuple(_notes(pairs)))


def _portable(
    placed: tuple[Placed, ...], base: BaseModel, name: str, scale: float
) -> ConversionPlan:
    completed, notes = padded(placed, base)
    architecture = base.architecture
    stacks = [p.place for p in completed if isinstance(p.place, Experts) and p.place.container]
    apart = architecture.rewriting is not RouteForm.NONE and all(s.checkpoint for s in stacks)
    if stacks and not apart:
        notes.append(
            f"experts are stacked, as PEFT does not convert per-expert tensors of "
            f"{architecture.model_type}; llama.cpp and SGLang cannot load them"
        )
        pairs = stacked_pairs(completed, architecture)
    else:
        pairs = expert_pairs(completed, checkpoint=architecture.renamed_on_load)
    pairs = told_apart(pairs, architecture, completed)
    rank = max((p.rank for p in pairs if p.experts == 1), default=_usual_rank(pairs))
    pairs = tuple(p.of_rank(rank) if p.experts == 1 else p for p in pairs)
    strength = integer_strength(scale, rank)
    pairs = _folded(pairs, strength)
    if strength.fold != 1.0:
        notes.append(f"{strength.fold:g} of the scale is folded into lora_B, for lora_alpha must "
                     "be an integer")  # fmt: skip
    config = _config(name, rank, strength, base, _selection(pairs, base), pairs)
    odd = [p for p in pairs if p.rank != rank]
    config["rank_pattern"] = {p.pattern: p.rank for p in odd}
    config["alpha_pattern"] = {p.pattern: strength.alpha * p.rank / rank for p in odd}
    zeros = [t for p in pairs if p.zero for t in p.tensors]
    padding = Padding(len(zeros), sum(t.target.nbytes for t in zeros))
    notes += _notes(pairs)
    return ConversionPlan(_tensors(pairs), config, scale, padding, tuple(notes))


def _folded(pairs: tuple[Pair, ...], strength: Strength) -> tuple[Pair, ...]:
    if strength.fold == 1.0:
        return pairs
    return tuple(evolve(p, b=p.b.scaled(strength.fold)) for p in pairs)


def _notes(pairs: Iterable[Pair]) -> list[str]:
    if any(p.parameter for p in pairs):
        return ["some modules are listed in target_parameters, which needs PEFT 0.17 or later"]
    return []


def _usual_rank(pairs: Iterable[Pair]) -> int:
    ranks = Counter(p.rank for p in pairs)
    return max(ranks, key=lambda rank: (ranks[rank], -rank))


def _tensors(pairs: Iterable[Pair]) -> tuple[PlannedTensor, ...]:
    return tuple(tensor for pair in pairs for tensor in pair.tensors)


def _selection(
    pairs: tuple[Pair, ...], base: BaseModel, *, prefer_layers: bool = False
) -> Selection:
    modules = [p.module for p in pairs if not p.parameter]
    if not modules:
        return Selection(())
    if base.towers_unseen and any("language_model." in m for m in modules):
        # Towers have a q_proj as well: PEFT would adapt it, or fail where it is no plain module.
        return Selection(tuple(sorted(modules)))
    last = max((int(f["layer"]) for m in modules if (f := LAYER.fullmatch(m))), default=-1)
    universe = neighbours(modules, last + 1)
    if base.tensors:
        stems = frozenset(p.stem for p in pairs)
        universe = (base.modules_like(stems) - stems) | frozenset(modules)
    # A name may select what is listed as a parameter too: that is held all the same.
    told = {name for p in pairs if p.parameter for name in (p.stem, p.module)}
    return select(modules, universe - told, prefer_layers=prefer_layers)


def _config(
    name: str,
    rank: int,
    strength: Strength,
    base: BaseModel,
    selection: Selection,
    pairs: tuple[Pair, ...],
) -> dict[str, Any]:
    parameters = sorted({p.parameter for p in pairs if p.parameter})
    told: dict[str, Any] = {"target_parameters": parameters} if parameters else {}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": strength.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(selection.modules),
        "bias": "none",
        "fan_in_fan_out": base.architecture.conv1d,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": any(p.magnitude for p in pairs),
        "layers_to_transform": None if selection.layers is None else list(selection.layers),
        "layers_pattern": selection.pattern,
        "rank_pattern": {},
        "alpha_pattern": {},
    } | told


__all__ = ["CONVERTIBLE_DTYPES", "KEY_PREFIX", "PeftRequest", "Profile", "is_local_path",
           "lora_scale", "misfit", "plan_peft", "saved_whole"]  # fmt: skip
