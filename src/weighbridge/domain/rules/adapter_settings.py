"""AD007 and on: an adapter's settings against its tensors, and those that decide what code runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.conversion import is_local_path
from weighbridge.domain.detection import ADAPTER_CONFIG, CHECKPOINT, LORA_WEIGHTS, PEFT_WEIGHTS
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, LoraModel
from weighbridge.domain.regular import backtracks

_LAYER = re.compile(r"(?:.*?\.)?(?:layers|h|blocks)\.(\d{1,9})\.")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def _config_missing(subject: Subject) -> Iterator[Observation]:
    """Rank, scale and the base model stand nowhere else; no loader takes the weights alone."""
    paths = subject.artifact.paths
    for directory in ("", "adapters/"):
        config = f"{directory}{ADAPTER_CONFIG}" in paths
        for name in (LORA_WEIGHTS, PEFT_WEIGHTS):
            if f"{directory}{name}" in paths and not config and subject.kind is None:
                yield Observation(Location(f"{directory}{name}"))


def _weights_missing(subject: Subject) -> Iterator[Observation]:
    """Training did not finish, or the weights were not copied."""
    paths = subject.artifact.paths
    for directory in ("", "adapters/"):
        names = (LORA_WEIGHTS, PEFT_WEIGHTS, "adapters.npz", "adapter_model.bin")
        held = any(f"{directory}{name}" in paths for name in names)
        if f"{directory}{ADAPTER_CONFIG}" in paths and not held and subject.kind is None:
            yield Observation(Location(f"{directory}{ADAPTER_CONFIG}"))


def _layer_count(subject: Subject) -> Iterator[Observation]:
    """mlx-lm puts LoRA into the last layers only, as many as the config says, and refuses or leaves
    the tensors of all others."""
    model, keys = subject.lora, _keys_of(subject.lora) or ()
    said = model.config.get("num_layers", model.config.get("lora_layers"))
    modules = (t.module for t in model.targets if t.module not in keys)
    held = {int(found[1]) for m in modules if (found := _LAYER.match(f"{m}."))}
    if not held or not _is_step(said):
        return
    last = BaseModel(subject.base_config or {}).layers or max(held) + 1
    if said < last - min(held):
        facts = {"said": said, "count": len(held), "first": min(held), "last": last - 1}
        yield Observation(Location(model.config_path, "num_layers"), facts)


def _unloadable(subject: Subject) -> Iterator[Observation]:
    """mlx-lm builds the modules from these before it loads the tensors, and has no default: it ends
    with a KeyError. Converting takes the rank from the tensors."""
    model = subject.lora
    parameters = model.config.get("lora_parameters")
    if not isinstance(parameters, dict):
        return
    for key in ("rank", "dropout"):
        if parameters.get(key) is None:
            yield Observation(Location(model.config_path, f"lora_parameters.{key}"))
    # Other trainers write null for all layers.
    if not model.config.keys() & {"num_layers", "lora_layers"}:
        yield Observation(Location(model.config_path, "num_layers"))


def _keys_of(model: LoraModel) -> frozenset[str] | None:
    """The modules that were chosen by name; None if none were."""
    parameters = model.config.get("lora_parameters")
    keys = parameters.get("keys") if isinstance(parameters, dict) else None
    return frozenset(map(str, keys)) if isinstance(keys, list) else None


def _not_chosen(subject: Subject) -> Iterator[Observation]:
    """mlx-lm makes LoRA modules of what keys names, in each layer or by the whole path, and without
    keys of all that is in the layers. It refuses a file with others; before 0.32 it left them."""
    model = subject.lora
    keys, named = _keys_of(model), [t.module for t in model.targets]
    left = [m for m in named if not _chosen(m, keys)]
    if left:
        facts: dict[str, Fact] = {"count": len(left), "all": len(named), "module": left[0]}
        yield Observation(Location(model.config_path, "lora_parameters.keys"), facts)


def _chosen(module: str, keys: frozenset[str] | None) -> bool:
    found = _LAYER.match(module)
    if keys is None:
        return found is not None
    return module in keys or (found is not None and module[found.end() :] in keys)


def _full_with_lora(subject: Subject) -> Iterator[Observation]:
    """mlx-lm then makes no LoRA module and drops every tensor: the model is the base alone."""
    model = subject.lora
    if model.config.get("fine_tune_type") == "full" and model.targets:
        facts = {"count": len(model.targets)}
        yield Observation(Location(model.config_path, "fine_tune_type"), facts)


def _unpinned(subject: Subject) -> Iterator[Observation]:
    """Who takes over the base's name, or changes it, changes what the adapter runs on."""
    model = subject.peft
    base = model.base_model
    pinned = _COMMIT.fullmatch(str(model.config.get("revision")))
    if base is not None and not is_local_path(base) and not pinned:
        yield Observation(Location(model.config_path, "revision"), {"base": base[:120]})


#: The values with which PEFT imports nothing.
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "auto_mapping": (None,),
    "megatron_config": (None,),
    "megatron_core": (None, "megatron.core"),
}


def _decides_code(subject: Subject) -> Iterator[Observation]:
    """PEFT imports the module that is named there: the adapter decides what code runs."""
    model = subject.peft
    for key, harmless in _HARMLESS.items():
        value = model.config.get(key)
        if value not in harmless and not _of_transformers(value):
            yield Observation(Location(model.config_path, key), {"value": str(value)[:120]})


def _of_transformers(value: Any) -> bool:
    """True for the mapping that PEFT and Unsloth write for a class of transformers' own."""
    library = value.get("parent_library") if isinstance(value, dict) else None
    return re.fullmatch(r"transformers\.models(\.\w+)+", str(library)) is not None


def _expressions(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("target_modules", "exclude_modules"):
        if isinstance(value := config.get(key), str):
            yield key, value
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in found if isinstance(found := config.get(key), dict) else ():
            yield key, pattern
    patterns = config.get("layers_pattern")
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        if isinstance(pattern, str):
            yield "layers_pattern", pattern


def _runaway(subject: Subject) -> Iterator[Observation]:
    """PEFT matches it against the name of every module: one that repeats what repeats takes
    minutes for a name of thirty letters, and twice as long for each more."""
    model = subject.peft
    for count, (key, pattern) in enumerate(_expressions(model.config)):
        if count == _MOST_EXPRESSIONS:
            facts = {"pattern": f"one of more than {count}"}
            yield Observation(Location(model.config_path, key), facts)
            return
        if backtracks(pattern):
            facts = {"pattern": pattern[:120]}
            yield Observation(Location(model.config_path, key), facts)


def _interrupted(subject: Subject) -> Iterator[Observation]:
    """mlx-lm writes the weights anew with each checkpoint: after a run that was stopped they are
    those of the last one, and nothing else tells."""
    model = subject.lora
    steps, every = (model.config.get(key) for key in ("iters", "save_every"))
    prefix = f"{model.directory}/" if model.directory else ""
    found = (CHECKPOINT.fullmatch(p.removeprefix(prefix)) for p in subject.artifact.paths)
    last = max((int(m["step"]) for m in found if m), default=None)
    if last is None or not (_is_step(steps) and _is_step(every)):
        return
    if last + every <= steps:
        facts = {"last": last, "steps": steps}
        yield Observation(Location(model.weights_path), facts)


def _is_step(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


#: No model has so many modules.
_MOST_EXPRESSIONS = 5000
_ARGUMENTS = ("data", "adapter_path", "config", "resume_adapter_file", "report_to",
              "project_name", "save_path", "mlx_path")  # fmt: skip


def _arguments(subject: Subject) -> Iterator[Observation]:
    """mlx-lm writes all of its command line into the config, paths of the author's machine too.
    Nothing that loads the adapter reads them."""
    model = subject.lora
    for key in _ARGUMENTS:
        value = model.config.get(key)
        if isinstance(value, str) and re.match(r"/|~|[A-Za-z]:[\\/]|file:", value):
            yield Observation(Location(model.config_path, key), {"value": value[:200]})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_LORA, _PEFT = frozenset({Kind.LORA}), frozenset({Kind.PEFT})
_SAME_RUN = "copy adapters.safetensors and adapter_config.json of the same run"
_DELETE = "delete the key"
RULES = (
    Rule("AD001", "adapter-config-missing", _E, "has no adapter_config.json beside it", _SAME_RUN,
         _config_missing),
    Rule("AD002", "adapter-weights-missing", _E, "has no weights beside it", _SAME_RUN,
         _weights_missing),
    Rule("AD007", "num-layers-contradiction", _W, "is {said}, but {count} layers have LoRA, from "
         "{first} on; the last is {last}",
         "write the number of layers from the first that has LoRA to the last of the model, or -1",
         _layer_count, Need.MODEL, _LORA),
    Rule("AD032", "parameter-missing", _W, "is missing, without which mlx-lm does not load it",
         "write what the training had; a dropout of 0 does for all but training", _unloadable,
         Need.MODEL, frozenset({Kind.LORA})),
    Rule("AD008", "full-with-lora", _E, "is full, but there are {count} LoRA pairs",
         "write lora or dora, as it was trained", _full_with_lora, Need.MODEL, _LORA),
    Rule("AD012", "base-revision-unpinned", _I, "names no commit of {base}",
         "write the commit that training used", _unpinned, Need.MODEL, _PEFT),
    Rule("AD013", "setting-decides-code", _W, "is {value}", _DELETE, _decides_code, Need.MODEL,
         _PEFT),
    Rule("AD014", "runaway-expression", _W, "is {pattern!r}, whose matching can take for ever",
         "list the modules by name", _runaway, Need.MODEL, _PEFT),
    Rule("AD015", "training-arguments-leak", _W, "is {value!r}, a path of the author's machine",
         _DELETE, _arguments, Need.MODEL, _LORA),
    Rule("AD029", "training-interrupted", _W, "is of step {last} by the checkpoints beside it, but "
         "training was to take {steps}", "finish the training, or say that it was meant to end "
         "there: write the number of steps as iters", _interrupted, Need.MODEL, _LORA),
    Rule("AD030", "keys-contradiction", _W, "leaves out {count} of the {all} modules that "
         "have LoRA, {module} first", "name all modules that have LoRA, as they are in a layer",
         _not_chosen, Need.MODEL, _LORA),
)  # fmt: skip
