"""The LoRA inside a broken PEFT adapter without its original: what shapes, config and options say.

Nothing is decided on suspicion. What is not certain is named, with the option that would settle it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from attrs import frozen

from weighbridge.domain.architectures import architecture_of
from weighbridge.domain.models import LoraModel, LoraTarget, PeftModel
from weighbridge.domain.peft.config import (
    mlx_scale,
    stated_alpha,
    stated_rank,
    stated_scale,
    unsaved,
    wraps_the_bare_model,
)
from weighbridge.domain.peft.names import LoraName, Part, parse_name, placed
from weighbridge.domain.peft.selection import CHANGED_BASE, base_change
from weighbridge.domain.placement import Architecture
from weighbridge.domain.repairing.orientation import (
    StoredPair,
    is_turned,
    settle_rank,
    sizes_in_base,
    stored_pairs,
)
from weighbridge.domain.repairing.recovery import Recovered, mlx_spec
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 10


@frozen
class KnownScale:
    """What MLX multiplied by, and who says so. ``certain`` is False if it is only what the broken
    config makes PEFT compute."""

    value: float
    because: str
    certain: bool


@frozen
class Alone:
    """The recovered LoRA, or why it is not to be had."""

    model: LoraModel | None
    tensors: tuple[Recovered, ...]
    scale: KnownScale | None
    reasons: tuple[str, ...]


def recover_alone(
    model: PeftModel, base_config: Mapping[str, object] | None, scale: float | None
) -> Alone:
    """The dense LoRA that the adapter means. ``scale`` is what the caller says that MLX applied."""
    reasons = list(_unfit(model))
    pairs = stored_pairs(model.tensors)
    sizes = sizes_in_base(pairs, base_config)
    rank = settle_rank(pairs, stated_rank(model.config), sizes)
    known = _scale(model, rank.value or stated_rank(model.config), scale)
    if rank.value is None:
        reasons.append(f"the rank is not known: {rank.because}; give --original or --base")
    if known is None:
        reasons.append("the scale is not known: r and lora_alpha do not say; give --original or "
                       "--scale")  # fmt: skip
    architecture = architecture_of(_model_type(base_config))
    paths = _paths(model, architecture, base_config is not None, reasons)
    tensors = _oriented(pairs, rank.value, paths, reasons) if rank.value is not None else ()
    lora = None if reasons else _lora(model, tensors)
    return Alone(lora, tensors, known, tuple(reasons))


def _model_type(base_config: Mapping[str, object] | None) -> str | None:
    value = (base_config or {}).get("model_type")
    return value if isinstance(value, str) else None


def _unfit(model: PeftModel) -> Iterator[str]:
    """Tensors and settings that shapes alone cannot judge."""
    odd = [text for spec in model.tensors if (text := _odd(spec))]
    yield from odd[:_MOST_NAMED]
    if len(odd) > _MOST_NAMED:
        yield f"and {len(odd) - _MOST_NAMED} more tensors like these"
    names = [n for spec in model.tensors if (n := parse_name(spec.name)) is not None]
    keys = Counter(n.key for n in names)
    for name in names:
        if keys[name.key] > 1:
            yield f"{name.text}: another tensor claims to be the same; give --original"
        other = Part.B if name.part is Part.A else Part.A
        if name.part is not Part.MAGNITUDE and (name.core, other) not in keys:
            yield f"{name.text}: its partner {other.value} is lost; give --original"
    if model.config.get("rank_pattern") or model.config.get("alpha_pattern"):
        yield "rank_pattern and alpha_pattern give modules strengths of their own; give --original"
    if (setting := base_change(model.config)) is not None:
        yield f"{model.config_path}: {setting}: {CHANGED_BASE}"
    if model.config.get("use_dora") and not any(n.part is Part.MAGNITUDE for n in names):
        yield "use_dora is set and no magnitude is here: wrong, or lost; give --original"
    for module in unsaved(model.config, [s.name for s in model.tensors]):
        yield f"modules_to_save lists {module}, which is not here: wrong, or lost; give --original"
    if wraps_the_bare_model(model.config):
        yield "it is for a model without its head, whose paths are not known; give --original"


def _odd(spec: TensorSpec) -> str | None:
    name = parse_name(spec.name)
    if name is None:
        return f"{spec.name}: is no tensor of a LoRA; give --original to know if it may go"
    if name.part is Part.MAGNITUDE:
        return f"{spec.name}: is a DoRA magnitude; give --original"
    if name.embedding or len(spec.shape) != 2 or ".experts" in name.module:
        return (
            f"{spec.name}: {list(spec.shape)} is not a factor of a linear module; give --original"
        )
    return None


def _scale(model: PeftModel, rank: int | None, scale: float | None) -> KnownScale | None:
    if scale is not None:
        return KnownScale(scale, "--scale", certain=True)
    if rank is not None and (kept := mlx_scale(model.config, rank)) is not None:
        return KnownScale(kept, "lora_parameters in its config", certain=True)
    stated = stated_scale(model.config)
    if stated is None or stated_rank(model.config) != rank or not stated_alpha(model.config):
        return None
    return KnownScale(stated, "lora_alpha and r in its config", certain=False)


def _paths(
    model: PeftModel, architecture: Architecture, base_known: bool, reasons: list[str]
) -> dict[str, str]:
    """MLX's path of every module, by the core of its name."""
    found: dict[str, str] = {}
    unplaced: list[str] = []
    for name in (parse_name(spec.name) for spec in model.tensors):
        if name is None or name.core in found:
            continue
        path = _path(name, architecture, base_known)
        if path is None:
            unplaced.append(name.module)
        else:
            found[name.core] = path
    listed = list(dict.fromkeys(unplaced))
    option = "--original" if base_known else "--base or --original"
    reasons += [
        f"{module}: where the base has this module is not known; give {option}"
        for module in listed[:_MOST_NAMED]
    ]
    return found


def _path(name: LoraName, architecture: Architecture, base_known: bool) -> str | None:
    places = placed(name.module, architecture)
    # The containers of a multimodal base say where its language model is; a guess would be wrong.
    if "language_model" in name.module.split(".") and not base_known:
        return None
    if len({place.path for place in places.values()}) != 1:
        return None
    return next(iter(places))


def _oriented(
    pairs: tuple[StoredPair, ...], rank: int, paths: Mapping[str, str], reasons: list[str]
) -> tuple[Recovered, ...]:
    recovered = []
    for pair in pairs:
        for spec, part in ((pair.a, Part.A), (pair.b, Part.B)):
            turned = is_turned(spec, part, rank)
            if turned is None:
                reasons.append(
                    f"{spec.name}: {list(spec.shape)} looks the same transposed; give --original"
                )
            elif pair.module in paths:
                recovered.append(_recovered(spec, part, paths[pair.module], as_mlx=turned))
    return tuple(recovered)


def _recovered(spec: TensorSpec, part: Part, module: str, *, as_mlx: bool) -> Recovered:
    shape = spec.shape if as_mlx else spec.shape[::-1]
    target = mlx_spec(module, part, spec.dtype, shape)
    return Recovered(target, spec, spec.shape, turned=not as_mlx)


def _lora(model: PeftModel, tensors: tuple[Recovered, ...]) -> LoraModel:
    targets = tuple(
        LoraTarget(a.target.name.rpartition(".")[0], a.target, b.target)
        for a, b in zip(tensors[::2], tensors[1::2], strict=True)
    )
    ordered = tuple(sorted(targets, key=lambda t: t.module))
    # The rank is settled: square factors are not asked once more whether they are transposed.
    said = {"lora_parameters": {"rank": ordered[0].rank}} if ordered else {}
    return LoraModel(model.directory, model.weights_path, model.config_path, said, ordered, ())
