"""What the keys of an adapter_config.json tell about who wrote it and what PEFT will do with it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

from weighbridge.domain.peft.selection import NotPeft, pair_scale, peft_selects
from weighbridge.domain.scale import effective_scale

#: What PEFT 0.10 knows; up to 0.13 it raises TypeError for any other key, whatever its value.
OLDEST_FIELDS = frozenset({
    "peft_type", "auto_mapping", "base_model_name_or_path", "revision", "task_type",
    "inference_mode", "r", "target_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out",
    "bias", "use_rslora", "modules_to_save", "init_lora_weights", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_config", "megatron_core",
    "loftq_config", "use_dora", "layer_replication",
})  # fmt: skip
#: What came later, up to PEFT 0.21.
LATER_FIELDS = frozenset({
    "runtime_config", "eva_config", "lora_bias", "exclude_modules", "trainable_token_indices",
    "corda_config", "use_qalora", "qalora_group_size", "target_parameters", "ensure_weight_tying",
    "arrow_config", "alora_invocation_tokens", "peft_version", "use_bdlora", "lora_ga_config",
    "velora_config", "monteclora_config", "kasa_config",
})  # fmt: skip
#: Keys of mlx-lm's own adapter_config.json, over all versions that write one.
MLX_FIELDS = frozenset({
    "lora_parameters", "lora_layers", "num_layers", "fine_tune_type", "adapter_path",
    "batch_size", "config", "data", "grad_checkpoint", "grad_accumulation_steps", "iters",
    "learning_rate", "lr_schedule", "max_seq_length", "model", "resume_adapter_file",
    "save_every", "seed", "steps_per_eval", "steps_per_report", "test", "test_batches", "train",
    "val_batches", "mask_prompt", "optimizer", "optimizer_config", "wandb", "report_to",
    "project_name", "clear_cache_threshold", "trust_remote_code",
})  # fmt: skip
#: No model has so many modules of different names, and no PEFT config so many patterns.
MOST_NAMED, _MOST_PATTERNS = 1000, 100
TASK_TYPES = frozenset({
    "CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION",
})  # fmt: skip


def stated_rank(config: Mapping[str, Any]) -> int | None:
    """``r``, if it is a rank at all."""
    rank = config.get("r")
    return rank if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 else None


def stated_alpha(config: Mapping[str, Any]) -> float | None:
    """``lora_alpha``, if it is a number."""
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e300:
        return None
    return float(alpha)


def stated_scale(config: Mapping[str, Any]) -> float | None:
    """What PEFT would multiply by, if ``r`` and ``lora_alpha`` say so; PEFT's defaults (8 and 8)
    are nobody's statement. What patterns say of single modules is left out."""
    plain = {k: v for k, v in config.items() if k not in ("rank_pattern", "alpha_pattern")}
    try:
        return pair_scale("", plain)
    except NotPeft:
        return None


def mlx_scale(config: Mapping[str, Any], rank: int) -> float | None:
    """What MLX multiplied by, if the config has kept mlx-lm's ``lora_parameters``."""
    return effective_scale(config, rank).value


def same_scale(one: float, other: float) -> bool:
    """Equal but for the rounding of a division."""
    return math.isclose(one, other, rel_tol=1e-9)


def is_integral(value: float) -> bool:
    """True if Ollama, which parses an unsigned integer, could be given an integer instead."""
    return float(value).is_integer()


def wraps_the_bare_model(config: Mapping[str, Any]) -> bool:
    """True if the adapter is for a model without head, or for a class that its config names.

    There the decoder is at the top, and ``base_model.model.layers`` is right.
    """
    return config.get("task_type") == "FEATURE_EXTRACTION" or bool(config.get("auto_mapping"))


def unselected(modules: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """Those of ``modules`` that PEFT would leave without their tensors.

    Empty if the config selects in a way that is not judged here: by layers in an odd way, or by an
    expression that takes long, of which another rule speaks. An expression is asked for one module
    of each kind, not for those of every layer.
    """
    targets, excluded = config.get("target_modules"), config.get("exclude_modules") or []
    if targets == "all-linear" or not targets or not _plain_layers(config):
        return []
    texts = isinstance(targets, str), isinstance(excluded, str)
    usable = {**config, "target_modules": targets if texts[0] else _texts(targets),
              "exclude_modules": excluded if texts[1] else _texts(excluded)}  # fmt: skip
    if isinstance(layers := config.get("layers_to_transform"), list):
        usable["layers_to_transform"] = frozenset(x for x in layers if isinstance(x, int | float))
    kinds = {re.sub(r"\d+", "0", m): m for m in modules} if any(texts) else {m: m for m in modules}
    asked = islice(kinds.values(), _MOST_PATTERNS) if any(texts) else kinds.values()
    try:
        return [m for m in asked if not peft_selects(m, usable) and not _parameter_of(m, config)]
    except NotPeft:
        return []


def _texts(listed: Any) -> frozenset[str]:
    """As a set: a stranger's list, asked for every module, would take for ever."""
    return (
        frozenset(each for each in listed if isinstance(each, str))
        if isinstance(listed, list)
        else frozenset()
    )


#: PEFT lists both for a classifier, whose class has the one or the other.
_CLASSIFIERS = ("classifier", "score")


def is_of_saved(name: str, module: str) -> bool:
    """True if that tensor is of a module of ``modules_to_save``, which PEFT takes for an ending."""
    return name.rpartition(".")[0].endswith(module) or f".{module}." in f".{name}"


def unsaved(config: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Those of ``modules_to_save`` that no tensor of those names belongs to."""
    listed = config.get("modules_to_save")
    wanted = list(map(str, listed[:MOST_NAMED])) if isinstance(listed, list) else []
    held = "\n".join(f".{name}" for name in names)
    modules = "".join(f"{name.rpartition('.')[0]}\n" for name in names)
    absent = [m for m in wanted if f".{m}." not in held and f"{m}\n" not in modules]
    either = set(_CLASSIFIERS) <= set(wanted) and not set(_CLASSIFIERS) <= set(absent)
    return [m for m in absent if not (either and m in _CLASSIFIERS)]


def _plain_layers(config: Mapping[str, Any]) -> bool:
    """True if the choice of layers is none, or numbers and a few plain words, and few parameters
    are chosen beside modules."""
    parameters = config.get("target_parameters")
    if isinstance(parameters, list) and len(parameters) > MOST_NAMED:
        return False
    layers, pattern = config.get("layers_to_transform"), config.get("layers_pattern") or []
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return (layers is None or isinstance(layers, int | list)) and (
        isinstance(patterns, list)
        and len(patterns) <= _MOST_PATTERNS
        and all(isinstance(p, str) and re.fullmatch(r"\w+", p) for p in patterns)
    )


def _parameter_of(module: str, config: Mapping[str, Any]) -> bool:
    """True if ``target_parameters`` reaches into that module (experts, routers)."""
    parameters = config.get("target_parameters")
    for parameter in parameters if isinstance(parameters, list) else ():
        owner, _, name = str(parameter).rpartition(".")
        bare = module.replace(".base_layer", "")
        # Of a linear module the parameter is its weight; a stack of experts has others.
        if not owner and (name in ("weight", "bias") or bare.endswith("experts")):
            return True
        if owner and f".{owner}." in f".{bare}.":
            return True
    return False
