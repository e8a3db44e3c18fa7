"""AD: LoRA as mlx-lm writes it, against its own config."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.base_names import looks_quantised
from weighbridge.domain.conversion import is_local_path
from weighbridge.domain.detection import FACTORS
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, LoraModel, PeftModel
from weighbridge.domain.peft.config import stated_scale
from weighbridge.domain.scale import Scale, scale_to_use
from weighbridge.domain.tensors import TensorSpec

_LORA = frozenset({Kind.LORA})
_ADAPTERS = frozenset({Kind.LORA, Kind.PEFT})
_LARGEST_SCALE = 256


def _rank_mismatch(subject: Subject) -> Iterator[Observation]:
    """mlx-lm builds its modules from the config's rank, and refuses or misreads other tensors."""
    model = subject.lora
    rank, ranks = model.said_rank, {t.rank for t in model.targets}
    # Several ranks are another matter: no one number in the config could be right.
    for target in model.targets if len(ranks) == 1 else ():
        if rank is not None and target.rank != rank:
            facts = {"rank": target.rank, "config": rank}
            yield Observation(Location(model.weights_path, target.module), facts)


def _mixed_ranks(subject: Subject) -> Iterator[Observation]:
    """mlx-lm trains one rank and loads no other. Other trainers choose ranks for each module, which
    PEFT has a form for; or files of different runs were put together."""
    model = subject.lora
    ranks = sorted({t.rank for t in model.targets})
    if len(ranks) > 1:
        listed = ", ".join(map(str, ranks))
        yield Observation(Location(model.weights_path), {"ranks": listed})


def _factors(model: LoraModel) -> Iterator[tuple[TensorSpec, str, TensorSpec | None]]:
    """Every factor that is part of no pair: the name of its partner, and that if it is there."""
    specs = {t.name: t for t in (*model.others, *(s for t in model.targets for s in t.specs))}
    for spec in sorted(model.others, key=lambda t: t.name):
        for pair in FACTORS:
            for own, other in (pair, pair[::-1]):
                if spec.name.endswith(own):
                    partner = spec.name.removesuffix(own) + other
                    yield spec, partner, specs.get(partner)


def _unpaired(subject: Subject) -> Iterator[Observation]:
    """A factor without its partner does nothing, and the conversion cannot place it."""
    model = subject.lora
    for spec, partner, found in _factors(model):
        if found is None:
            yield Observation(Location(model.weights_path, spec.name), {"partner": partner})


def _incompatible(subject: Subject) -> Iterator[Observation]:
    """The inner dimensions of the pair must be the rank, on both sides, and stacked experts as many
    in both."""
    model = subject.lora
    for spec, _, found in _factors(model):
        if found is not None and any(spec.name.endswith(first) for first, _ in FACTORS):
            stem = next(spec.name.removesuffix(f) for f, _ in FACTORS if spec.name.endswith(f))
            facts = {"a": str(list(spec.shape)), "b": str(list(found.shape))}
            yield Observation(Location(model.weights_path, stem), facts)


def _scale_of(subject: Subject) -> Scale:
    model = subject.lora
    return scale_to_use(model.config, model.targets[0].rank if model.targets else 1, subject.scale)


def _scale(subject: Subject) -> Iterator[Observation]:
    """The scale stands nowhere but in the config; a wrong one makes the LoRA too strong, and
    nothing fails."""
    model = subject.model
    if isinstance(model, PeftModel):
        place, found = Location(model.config_path, "lora_alpha"), stated_scale(model.config)
    else:
        place = Location(subject.lora.config_path, "lora_parameters.scale")
        found = _scale_of(subject).value
    if found is not None and abs(found) > _LARGEST_SCALE:
        yield Observation(place, {"scale": f"{found:g}"})


def _scale_unknown(subject: Subject) -> Iterator[Observation]:
    """Without the scale nobody can compute what the LoRA does, and with one of 0 or less it does
    nothing or the opposite; the conversion refuses it, but for a negative one that --scale says."""
    if not subject.lora.targets:
        return  # a full fine-tune, or no pair at all, which has findings of its own
    found = _scale_of(subject)
    if found.value is None:
        place = Location(subject.lora.config_path, "lora_parameters.scale")
        yield Observation(place, {"problem": found.reason})


def _base_missing(subject: Subject) -> Iterator[Observation]:
    """Nobody can load an adapter without knowing what it adapts."""
    model = subject.model
    if model is not None and model.base_model is None and subject.base_model is None:
        assert not hasattr(model, "weights_paths")
        yield Observation(Location(getattr(model, "config_path", "")))


def _base_local(subject: Subject) -> Iterator[Observation]:
    """A path of one machine names nothing on another, and it leaks a user's name; loaders look a
    name up on the Hub, and open no address."""
    name = subject.base_model or (subject.model.base_model if subject.model else None)
    if name is not None and is_local_path(name):
        address = "://" in name and not name.startswith("file:")
        facts = {"base": name, "what": "an address, not org/name" if address else "a local path"}
        yield Observation(Location(getattr(subject.model, "config_path", "")), facts)


def _base_quantised(subject: Subject) -> Iterator[Observation]:
    """transformers and every server that reads PEFT cannot load weights that MLX quantised; the
    adapter must name the original. The conversion refuses it too."""
    name = (subject.model.base_model if subject.model else None) or ""
    if subject.base_model is None and looks_quantised(name):
        yield Observation(Location(getattr(subject.model, "config_path", "")), {"base": name})


_E, _W = Severity.ERROR, Severity.WARNING
_RETRAIN = "copy adapters.safetensors and adapter_config.json of the same run"
_SAY = "publish with --base-model org/name"
RULES = (
    Rule("AD003", "rank-tensor-mismatch", _E, "has rank {rank}, the config says {config}",
         _RETRAIN, _rank_mismatch, Need.MODEL, _LORA),
    Rule("AD004", "unpaired-lora", _E, "has no partner {partner}", _RETRAIN, _unpaired,
         Need.MODEL, _LORA),
    Rule("AD005", "lora-shapes-incompatible", _E, "lora_a {a} and lora_b {b} have no common rank",
         _RETRAIN, _incompatible, Need.MODEL, _LORA),
    Rule("AD006", "scale-suspicious", _W, "multiplies the LoRA by {scale}, more than 256",
         "check the training settings; --scale overrides the config", _scale, Need.MODEL,
         _ADAPTERS),
    Rule("AD009", "base-model-missing", _E, "no base model is named", _SAY, _base_missing,
         Need.MODEL, _ADAPTERS),
    Rule("AD010", "base-model-local-path", _E, "the base model {base!r} is {what}", _SAY,
         _base_local, Need.MODEL, _ADAPTERS),
    Rule("AD011", "base-model-quantised", _E, "the base model {base!r} looks quantised by MLX",
         "publish with --base-model and the id of the original", _base_quantised, Need.MODEL,
         _ADAPTERS),
    Rule("AD016", "mixed-ranks", _W, "modules have the ranks {ranks}",
         "make sure that the file is of one run; if it is, converting keeps every rank",
         _mixed_ranks, Need.MODEL, _LORA),
    Rule("AD019", "scale-unknown", _E, "{problem}",
         "give the scale that training multiplied by with --scale", _scale_unknown, Need.MODEL,
         _LORA),
)  # fmt: skip
