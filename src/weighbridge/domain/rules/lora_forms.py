"""AD022 and on: what else than plain LoRA is in the file: DoRA, whole weights, other things."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.detection import FACTORS, MAGNITUDES
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, LoraModel, PeftModel
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.tensors import TensorSpec

_LORA = frozenset({Kind.LORA})
_NAMED = 3


def _says_dora(model: LoraModel) -> bool:
    kinds = [model.config.get(key) for key in ("fine_tune_type", "method")]
    return "dora" in kinds or model.config.get("use_dora") is True


def _without_magnitudes(subject: Subject) -> Iterator[Observation]:
    """mlx-lm 0.14.2 to 0.15 wrote use_dora and trained plain LoRA all the same. The tensors decide:
    it is converted as what they are."""
    model = subject.lora
    if _says_dora(model) and model.targets and not any(t.magnitude for t in model.targets):
        yield Observation(Location(model.config_path))


def _without_label(subject: Subject) -> Iterator[Observation]:
    """mlx-lm builds what the config says, drops the magnitudes, and computes another function; the
    conversion goes by the tensors."""
    model = subject.lora
    count = sum(t.magnitude is not None for t in model.targets)
    if count and not _says_dora(model):
        yield Observation(Location(model.config_path, "fine_tune_type"), {"count": count})


def _in_part(subject: Subject) -> Iterator[Observation]:
    """PEFT's use_dora is for all modules or none, so the conversion refuses a mixture."""
    model = subject.lora
    plain = [t.module for t in model.targets if t.magnitude is None]
    if plain and len(plain) < len(model.targets):
        facts = {"count": len(plain), "all": len(model.targets)}
        yield Observation(Location(model.weights_path, plain[0]), facts)


def _is_factor(spec: TensorSpec) -> bool:
    return any(spec.name.endswith(leaf) for pair in FACTORS for leaf in pair)


def _misfit(subject: Subject) -> Iterator[Observation]:
    """A magnitude is one number for each output of its module; one that fits no pair was lost from
    another run."""
    model = subject.lora
    for spec in sorted(model.others, key=lambda s: s.name):
        if spec.name.endswith(MAGNITUDES):
            facts = {"shape": str(list(spec.shape))}
            yield Observation(Location(model.weights_path, spec.name), facts)


def _whole(model: LoraModel) -> list[TensorSpec]:
    """Tensors that are no part of any LoRA."""
    listed = [s for s in model.others if not _is_factor(s) and not s.name.endswith(MAGNITUDES)]
    return sorted(listed, key=lambda s: s.name)


def _is_full(model: LoraModel) -> bool:
    return not model.targets and bool(model.others) and len(_whole(model)) == len(model.others)


def _full(subject: Subject) -> Iterator[Observation]:
    """A full fine-tune holds changed weights, for which PEFT has no form: only with the base's
    others they make a model."""
    model = subject.lora
    if _is_full(model):
        yield Observation(Location(model.weights_path), {"count": len(model.others)})


def _stray(subject: Subject) -> Iterator[Observation]:
    """Biases, norms or other weights were trained along with the LoRA, which a PEFT adapter cannot
    carry; without them it is another model."""
    model = subject.lora
    strays = [] if _is_full(model) or model.saved_whole else _whole(model)
    if strays:
        names = ", ".join(s.name for s in strays[:_NAMED])
        more = ", ..." if len(strays) > _NAMED else ""
        facts: dict[str, Fact] = {"count": len(strays), "names": names + more}
        yield Observation(Location(model.weights_path, strays[0].name), facts)


def _saved_whole(subject: Subject) -> Iterator[Observation]:
    """model.save_weights saves the whole model, where mlx-lm's trainer saves what was trained of
    it. mlx-lm since 0.32.2 refuses the file, and nothing tells if the rest is the base's own."""
    model = subject.lora
    if model.saved_whole:
        yield Observation(Location(model.weights_path), {"count": len(model.others)})


def _peft_keys(subject: Subject) -> Iterator[Observation]:
    """Some trainers write PEFT's settings into MLX's config. They are not read: the tensors are
    MLX's, and a converted adapter gets a config of its own."""
    model = subject.lora
    if "peft_type" in model.config:
        yield Observation(Location(model.config_path, "peft_type"))


def _no_float(subject: Subject) -> Iterator[Observation]:
    """The two factors are multiplied, in every loader as they are: what was quantised or cast to
    integers is another change, or none can be made of it."""
    model = subject.model
    assert isinstance(model, LoraModel | PeftModel)
    if isinstance(model, LoraModel):
        factors = [s for t in model.targets for s in t.specs]
    else:
        factors = [s for s in model.tensors if parse_name(s.name) is not None]
    wrong = [spec for spec in factors if spec.dtype not in _FLOATS]
    if wrong:
        facts: dict[str, Fact] = {"dtype": wrong[0].dtype, "count": len(wrong)}
        yield Observation(Location(model.weights_path, wrong[0].name), facts)


#: F64 is for PEFT alone; a rule of its own says that MLX has none.
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_E, _W = Severity.ERROR, Severity.WARNING
_FUSE = "weighbridge fuse RUN --base DIR -o OUT, and publish the whole model"
RULES = (
    Rule("AD022", "dora-without-magnitudes", _W, "says DoRA, but no module has a magnitude: it is "
         "plain LoRA, and converted so", "nothing, if mlx-lm 0.14.2 to 0.15 trained it; else copy "
         "both files of the same run", _without_magnitudes, Need.MODEL, _LORA),
    Rule("AD023", "magnitudes-without-label", _W, "does not say dora, but {count} modules have "
         "magnitudes", "set fine_tune_type to dora", _without_label, Need.MODEL, _LORA),
    Rule("AD024", "dora-in-part", _E, "{count} of {all} modules have no magnitude", _FUSE, _in_part,
         Need.MODEL, _LORA),
    Rule("AD025", "magnitude-misfit", _E, "{shape} is the magnitude of no pair",
         "copy adapters.safetensors and adapter_config.json of the same run", _misfit, Need.MODEL,
         _LORA),
    Rule("AD026", "full-fine-tune", _E, "full fine-tuning: {count} whole weights and no LoRA",
         _FUSE, _full, Need.MODEL, _LORA),
    Rule("AD027", "stray-tensors", _E, "{count} tensors are no LoRA: {names}", _FUSE, _stray,
         Need.MODEL, _LORA),
    Rule("AD033", "saved-whole", _E, "holds all of the base as well: {count} tensors beside the "
         "LoRA", "save dict(tree_flatten(model.trainable_parameters())); or, if the LoRA alone was "
         "trained, what ends in lora_a, lora_b and m of this file, to a new one", _saved_whole,
         Need.MODEL, _LORA),
    Rule("AD028", "peft-keys-in-mlx-config", Severity.INFO, "is PEFT's key in an MLX config",
         "nothing: converting writes a new config", _peft_keys, Need.MODEL, _LORA),
    Rule("AD031", "factor-dtype", _E, "is {dtype}, and so are {count} in all; a factor is a "
         "float", "save the adapter again, in float32 or bfloat16", _no_float, Need.MODEL,
         frozenset({Kind.LORA, Kind.PEFT})),
)  # fmt: skip
