"""AD: LoRA as mlx-lm writes it, against its own config and against the base's."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.base_names import looks_quantised
from weighbridge.domain.conversion import is_local_path
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.models import Kind, LoraModel, LoraTarget
from weighbridge.domain.placement import Plain
from weighbridge.domain.scale import effective_scale

_LORA = frozenset({Kind.LORA})
_ADAPTERS = frozenset({Kind.LORA, Kind.PEFT})


def _lora(subject: Subject) -> LoraModel:
    assert isinstance(subject.model, LoraModel)
    return subject.model


def _config_rank(model: LoraModel) -> int | None:
    parameters = model.config.get("lora_parameters")
    rank = parameters.get("rank") if isinstance(parameters, dict) else None
    return rank if isinstance(rank, int) and not isinstance(rank, bool) else None


def _rank_mismatch(subject: Subject) -> Iterator[Observation]:
    """mlx-lm builds its modules from the config's rank, and refuses or misreads other tensors."""
    model = _lora(subject)
    rank = _config_rank(model)
    for target in model.targets:
        if rank is not None and target.rank != rank:
            facts = {"rank": target.rank, "config": rank}
            yield Observation(Location(model.weights_path, target.module), facts)


def _mixed_ranks(subject: Subject) -> Iterator[Observation]:
    """mlx-lm trains one rank; several mean that files of different runs were put together."""
    model = _lora(subject)
    ranks = sorted({t.rank for t in model.targets})
    if len(ranks) > 1:
        listed = ", ".join(map(str, ranks))
        yield Observation(Location(model.weights_path), {"ranks": listed})


def _unpaired(subject: Subject) -> Iterator[Observation]:
    """A factor without its partner does nothing, and the conversion cannot place it."""
    model = _lora(subject)
    names = {t.name for t in model.others}
    paired = {n for t in model.targets for n in (t.a.name, t.b.name)}
    for name in sorted(names):
        stem, _, leaf = name.rpartition(".")
        other = {"lora_a": "lora_b", "lora_b": "lora_a"}.get(leaf)
        if other and f"{stem}.{other}" not in names | paired:
            yield Observation(Location(model.weights_path, name), {"partner": f"{stem}.{other}"})


def _incompatible(subject: Subject) -> Iterator[Observation]:
    """The inner dimensions of the pair must be the rank, on both sides."""
    model = _lora(subject)
    specs = {t.name: t for t in model.others}
    for name, a in sorted(specs.items()):
        stem, _, leaf = name.rpartition(".")
        b = specs.get(f"{stem}.lora_b")
        if leaf == "lora_a" and b is not None and (len(a.shape), len(b.shape)) == (2, 2):
            facts = {"a": str(list(a.shape)), "b": str(list(b.shape))}
            yield Observation(Location(model.weights_path, stem), facts)


def _scale(subject: Subject) -> Iterator[Observation]:
    """The scale stands nowhere but in the config; a wrong one makes the LoRA too weak or too
    strong, and nothing fails."""
    model = _lora(subject)
    found = effective_scale(model.config, model.targets[0].rank if model.targets else 1)
    if found.value is None:
        yield Observation(Location(model.config_path, "lora_parameters.scale"),
                          {"problem": found.reason})  # fmt: skip
    elif not 0 < found.value <= 256:
        yield Observation(Location(model.config_path, "lora_parameters.scale"),
                          {"problem": f"{found.value:g} is outside of 0 to 256"})  # fmt: skip


def _base_missing(subject: Subject) -> Iterator[Observation]:
    """Nobody can load an adapter without knowing what it adapts."""
    model = subject.model
    if model is not None and model.base_model is None and subject.base_model is None:
        assert not hasattr(model, "weights_paths")
        yield Observation(Location(getattr(model, "config_path", "")))


def _base_local(subject: Subject) -> Iterator[Observation]:
    """A path of one machine names nothing on another, and it leaks a user's name."""
    name = subject.base_model or (subject.model.base_model if subject.model else None)
    if name is not None and is_local_path(name):
        yield Observation(Location(getattr(subject.model, "config_path", "")), {"base": name})


def _base_quantised(subject: Subject) -> Iterator[Observation]:
    """transformers and every server that reads PEFT cannot load weights that MLX quantised; the
    adapter must name the original."""
    name = subject.base_model or (subject.model.base_model if subject.model else None) or ""
    if looks_quantised(name):
        yield Observation(Location(getattr(subject.model, "config_path", "")), {"base": name})


def _layer(target: LoraTarget) -> int | None:
    parts = target.module.split(".")
    where = parts.index("layers") + 1 if "layers" in parts else len(parts)
    return int(parts[where]) if where < len(parts) and parts[where].isdigit() else None


def _base_shapes(subject: Subject) -> Iterator[Observation]:
    """A LoRA of another base does not fit; PEFT raises at load, others ignore the module."""
    model, base = _lora(subject), BaseModel(subject.base_config or {})
    if not base.architecture.uniform:
        return
    for target in model.targets:
        leaf = target.module.rpartition(".")[2]
        expected = base.llama_shape(leaf) if isinstance(base.architecture.place(target.module),
                                                        Plain) else None  # fmt: skip
        actual = (target.out_features, target.in_features)
        if expected is not None and expected != actual and target.experts is None:
            facts = {"actual": f"{actual[1]} -> {actual[0]}",
                     "expected": f"{expected[1]} -> {expected[0]}"}  # fmt: skip
            yield Observation(Location(model.weights_path, target.module), facts)


def _base_layers(subject: Subject) -> Iterator[Observation]:
    """A layer that the base does not have cannot be adapted."""
    model, layers = _lora(subject), positive(subject.base_config or {}, "num_hidden_layers")
    for target in model.targets:
        layer = _layer(target)
        if layers is not None and layer is not None and layer >= layers:
            yield Observation(Location(model.weights_path, target.module), {"layers": layers})


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
    Rule("AD006", "scale-suspicious", _W, "{problem}", "check the training settings; --scale "
         "overrides the config", _scale, Need.MODEL, _LORA),
    Rule("AD009", "base-model-missing", _E, "no base model is named", _SAY, _base_missing,
         Need.MODEL, _ADAPTERS),
    Rule("AD010", "base-model-local-path", _E, "the base model {base!r} is a local path", _SAY,
         _base_local, Need.MODEL, _ADAPTERS),
    Rule("AD011", "base-model-quantised", _W, "the base model {base!r} looks quantised by MLX",
         "publish with --base-model and the id of the original", _base_quantised, Need.MODEL,
         _ADAPTERS),
    Rule("AD016", "mixed-ranks", _E, "modules have the ranks {ranks}", _RETRAIN, _mixed_ranks,
         Need.MODEL, _LORA),
    Rule("AD017", "base-shape-mismatch", _E, "maps {actual}, but the base's module {expected}",
         "check the base model", _base_shapes, Need.BASE, _LORA),
    Rule("AD018", "base-layer-missing", _E, "the base has only {layers} layers",
         "check the base model", _base_layers, Need.BASE, _LORA),
)  # fmt: skip
