"""PE: the adapter_config.json of PEFT adapters: what PEFT needs, and what scripts put there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, PeftModel
from weighbridge.domain.peft.config import (
    LATER_FIELDS,
    MLX_FIELDS,
    OLDEST_FIELDS,
    is_integral,
    mlx_scale,
    same_scale,
    stated_alpha,
    stated_rank,
    stated_scale,
    unsaved,
    unselected,
)
from weighbridge.domain.peft.names import Part, parse_name
from weighbridge.domain.peft.selection import base_change, dotted_ends
from weighbridge.domain.repairing.orientation import is_turned, settle_rank, stored_pairs


def _at(model: PeftModel, key: str = "") -> Location:
    return Location(model.config_path, key)


def _modules(model: PeftModel) -> tuple[str, ...]:
    """The paths, as written, of all modules that have LoRA tensors."""
    names = (parse_name(spec.name) for spec in model.tensors)
    return tuple(sorted({n.module for n in names if n is not None}))


def _type(subject: Subject) -> Iterator[Observation]:
    """PEFT reads peft_type before anything else, and only in capitals."""
    value = subject.peft.config.get("peft_type")
    if value != "LORA":
        yield Observation(_at(subject.peft, "peft_type"), {"value": str(value)})


def _targets_missing(subject: Subject) -> Iterator[Observation]:
    """PEFT then adapts what it knows of the architecture, mostly q_proj and v_proj, and drops the
    tensors of all other modules in silence."""
    model = subject.peft
    if not model.config.get("target_modules") and not model.config.get("target_parameters"):
        yield Observation(_at(model, "target_modules"))


def _not_targeted(subject: Subject) -> Iterator[Observation]:
    """PEFT drops tensors of modules that the config does not select, without a word."""
    model = subject.peft
    for module in unselected(_modules(model), model.config):
        yield Observation(_at(model, "target_modules"), {"module": module})


#: What takes modules away from the list, or gives them another name than their tensors have.
_OTHER_SELECTIONS = frozenset({"exclude_modules", "target_parameters"})


def _without_tensors(subject: Subject) -> Iterator[Observation]:
    """A list that was copied rather than made from the tensors. PEFT adapts those modules too,
    warns of missing tensors, and other servers refuse the adapter."""
    model = subject.peft
    config, held = model.config, _modules(model)
    targets = config.get("target_modules")
    if not isinstance(targets, list) or any(config.get(key) for key in _OTHER_SELECTIONS):
        return
    ends = {end for module in held for end in dotted_ends(module)}
    for target in targets:
        if str(target) not in ends:
            yield Observation(_at(model, "target_modules"), {"target": str(target)})


def _rank_missing(subject: Subject) -> Iterator[Observation]:
    """PEFT then takes 8, whatever the tensors are, and the scale is wrong with it."""
    model = subject.peft
    if stated_rank(model.config) is None:
        yield Observation(_at(model, "r"))


def _alpha_missing(subject: Subject) -> Iterator[Observation]:
    """Without it PEFT takes 8, so that the LoRA is too weak or too strong, and nothing fails; with
    0 it does nothing, and with less the opposite."""
    model = subject.peft
    alpha = stated_alpha(model.config)
    if alpha is None or alpha <= 0:
        problem = "missing or no number" if alpha is None else f"{alpha:g}, not above 0"
        yield Observation(_at(model, "lora_alpha"), {"problem": problem})


def _alpha_not_integer(subject: Subject) -> Iterator[Observation]:
    """Ollama reads an unsigned integer here and refuses the file."""
    model = subject.peft
    alpha = model.config.get("lora_alpha")
    if isinstance(alpha, float) and is_integral(alpha):
        yield Observation(_at(model, "lora_alpha"), {"alpha": str(alpha), "right": int(alpha)})


#: The values of ``scale`` that mlx-lm trains with unless told otherwise.
_MLX_SCALES = (10.0, 20.0)


def _by_hand(model: PeftModel) -> bool:
    """True if neither PEFT nor Weighbridge wrote it: a sign that only scripts leave."""
    config, alpha = model.config, model.config.get("lora_alpha")
    if config.get("peft_type") != "LORA" or MLX_FIELDS & config.keys():
        return True
    if isinstance(alpha, float) and is_integral(alpha):
        return True
    names = [parse_name(spec.name) for spec in model.tensors]
    if any(n and (n.wrappers != 1 or n.adapter or not n.leaf_is_proper) for n in names):
        return True
    pairs = stored_pairs(model.tensors)
    rank = settle_rank(pairs, stated_rank(config)).value
    return rank is not None and any(is_turned(pair.a, Part.A, rank) for pair in pairs)


def _alpha_suspicious(subject: Subject) -> Iterator[Observation]:
    """Most scripts write MLX's scale, or the rank, into lora_alpha. PEFT divides it by r, so the
    LoRA becomes weaker by that factor. Nothing in the directory itself can prove it."""
    model = subject.peft
    rank, alpha = stated_rank(model.config), stated_alpha(model.config)
    if rank is None or alpha is None or rank == 1 or mlx_scale(model.config, rank) is not None:
        return
    if _by_hand(model) and (alpha <= rank or alpha in _MLX_SCALES):
        yield Observation(_at(model, "lora_alpha"), {"alpha": f"{alpha:g}", "rank": rank,
                                                     "scale": f"{alpha / rank:g}"})  # fmt: skip


def _alpha_contradiction(subject: Subject) -> Iterator[Observation]:
    """The config has kept MLX's own lora_parameters, and they say another scale than PEFT would
    compute from r and lora_alpha."""
    model = subject.peft
    scale, rank = stated_scale(model.config), stated_rank(model.config)
    wanted = None if rank is None else mlx_scale(model.config, rank)
    if scale is not None and wanted is not None and not same_scale(scale, wanted):
        facts = {"scale": f"{scale:g}", "wanted": f"{wanted:g}"}
        yield Observation(_at(model, "lora_alpha"), facts)


def _task_missing(subject: Subject) -> Iterator[Observation]:
    """AutoPeftModel and the Hub's own snippet need it to choose the class."""
    model = subject.peft
    if not model.config.get("task_type"):
        yield Observation(_at(model, "task_type"))


def _listed(model: PeftModel, fields: frozenset[str]) -> dict[str, str]:
    return {"fields": ", ".join(sorted(fields & model.config.keys()))}


def _mlx_settings(subject: Subject) -> Iterator[Observation]:
    """It is what mlx-lm wrote for training, put where PEFT looks for its own. PEFT up to 0.13
    refuses the keys, and they tell of the author's machine."""
    model = subject.peft
    if MLX_FIELDS & model.config.keys():
        yield Observation(_at(model), _listed(model, MLX_FIELDS))


def _unknown_settings(subject: Subject) -> Iterator[Observation]:
    """PEFT up to 0.13 raises TypeError for any key that it does not know, later ones warn."""
    model = subject.peft
    unknown = frozenset(model.config.keys()) - OLDEST_FIELDS - LATER_FIELDS - MLX_FIELDS
    if unknown:
        yield Observation(_at(model), _listed(model, unknown))


def _recent_settings(subject: Subject) -> Iterator[Observation]:
    """PEFT up to 0.13, which TGI and LoRAX pin, raises TypeError for any key that it does not
    know."""
    model = subject.peft
    if LATER_FIELDS & model.config.keys():
        yield Observation(_at(model), _listed(model, LATER_FIELDS))


def _changed_base(subject: Subject) -> Iterator[Observation]:
    """PEFT changes the base's own weights before it loads such an adapter. Servers put the LoRA on
    the base as it is, and compute something else; vLLM refuses it."""
    model = subject.peft
    if (setting := base_change(model.config)) is not None:
        yield Observation(_at(model, setting.partition(" ")[0]), {"setting": setting})


def _dora_mismatch(subject: Subject) -> Iterator[Observation]:
    """With use_dora and no magnitudes PEFT takes the base's own; without it, it ignores those that
    are there. Either is another function than the one that was trained."""
    model = subject.peft
    names = [parse_name(spec.name) for spec in model.tensors]
    held = any(n is not None and n.part is Part.MAGNITUDE for n in names)
    said = bool(model.config.get("use_dora"))
    if said != held:
        number = "magnitudes" if held else "no magnitude"
        yield Observation(_at(model, "use_dora"), {"said": str(said), "number": number})


def _not_saved(subject: Subject) -> Iterator[Observation]:
    """PEFT looks for the whole weight of each such module in the file, and for the tokens and the
    biases that were trained; it fails without them, or leaves them random or zero."""
    model = subject.peft
    names = [spec.name for spec in model.tensors]
    for module in unsaved(model.config, names):
        yield Observation(_at(model, "modules_to_save"), {"module": module})
    for key, part in (("trainable_token_indices", "trainable_tokens"), ("lora_bias", "B.bias")):
        if model.config.get(key) and not any(part in name for name in names):
            yield Observation(_at(model, key), {"module": f"*{part}*"})


#: PEFT's own words for it, beside true and false.
_INITIALISATION = re.compile(r"(?i:gaussian|olora|mica)|eva|orthogonal|loftq|lora_ga|corda"
                             r"|pissa(_niter_\d+)?")  # fmt: skip


#: The forms that PEFT 0.21 takes for settings that are neither numbers nor true or false.
_FORMS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("target_modules", "exclude_modules", "layers_pattern"), (str, list)),
    **dict.fromkeys(("target_parameters", "modules_to_save", "layer_replication",
                     "alora_invocation_tokens"), (list,)),
    **dict.fromkeys(("loftq_config", "eva_config", "corda_config", "lora_ga_config", "use_bdlora",
                     "velora_config", "monteclora_config", "arrow_config", "kasa_config"), (dict,)),
    "trainable_token_indices": (list, dict),
    "layers_to_transform": (int, list),
}  # fmt: skip
#: What it has a default for that is not null, and takes no null for.
_NEVER_NULL = ("rank_pattern", "alpha_pattern", "bias", "lora_dropout")


def _unusable(subject: Subject) -> Iterator[Observation]:
    """PEFT raises at it, before or while it loads the adapter; a negative alpha turns the LoRA
    round."""
    config = subject.peft.config
    for key, forms in _FORMS.items():
        if (value := config.get(key)) and not isinstance(value, forms):
            yield Observation(_at(subject.peft, key), {"value": repr(value)[:40]})
    for key in _NEVER_NULL:
        if key in config and config[key] is None:
            yield Observation(_at(subject.peft, key), {"value": "null"})
    init = config.get("init_lora_weights", True)
    known = isinstance(init, str) and _INITIALISATION.fullmatch(init)
    if not (known or init is None or isinstance(init, bool)):
        yield Observation(_at(subject.peft, "init_lora_weights"), {"value": repr(init)[:40]})
    for key, wanted in (("rank_pattern", int), ("alpha_pattern", int | float)):
        patterns = config.get(key)
        for value in patterns.values() if isinstance(patterns, dict) else ():
            if isinstance(value, bool) or not isinstance(value, wanted) or value <= 0:
                yield Observation(_at(subject.peft, key), {"value": repr(value)[:40]})
                break
    layers, pattern = config.get("layers_to_transform"), config.get("layers_pattern")
    if pattern and layers is None:
        value = f"{str(pattern)[:40]!r} without layers_to_transform"
        yield Observation(_at(subject.peft, "layers_pattern"), {"value": value})
    elif layers is not None and isinstance(config.get("target_modules"), str):
        value = f"{str(layers)[:40]} beside target_modules that are an expression"
        yield Observation(_at(subject.peft, "layers_to_transform"), {"value": value})


_E, _W = Severity.ERROR, Severity.WARNING
_PEFT = frozenset({Kind.PEFT})
_REPAIR = "weighbridge repair writes it from the tensors"
_SCALE = "weighbridge repair, with --original RUN or --scale"
_CLEAN = "weighbridge repair leaves them out"
RULES = (
    Rule("PE001", "peft-type", _E, "is {value}, not LORA", "weighbridge repair writes it", _type,
         Need.MODEL, _PEFT),
    Rule("PE013", "targets-missing", _E, "is missing", _REPAIR, _targets_missing, Need.MODEL,
         _PEFT),
    Rule("PE014", "tensor-not-targeted", _E, "does not select {module}, which has tensors",
         _REPAIR, _not_targeted, Need.MODEL, _PEFT),
    Rule("PE015", "target-without-tensors", _W, "lists {target}, which has no tensors", _REPAIR,
         _without_tensors, Need.MODEL, _PEFT),
    Rule("PE016", "rank-missing", _E, "is missing or no rank", _REPAIR, _rank_missing,
         Need.MODEL, _PEFT),
    Rule("PE017", "alpha-missing", _E, "is {problem}", _SCALE, _alpha_missing,
         Need.MODEL, _PEFT),
    Rule("PE018", "alpha-not-integer", _W, "is {alpha}, which can be written as {right}",
         "weighbridge repair writes an integer", _alpha_not_integer, Need.MODEL, _PEFT),
    Rule("PE019", "alpha-suspicious", _W, "is {alpha} with r {rank}, a scale of {scale}; a script "
         "made this adapter, and scripts mistake lora_alpha for MLX's scale", _SCALE,
         _alpha_suspicious, Need.MODEL, _PEFT),
    Rule("PE020", "alpha-contradiction", _E, "gives a scale of {scale}, but lora_parameters say "
         "{wanted}", "weighbridge repair takes the latter; --scale overrides it",
         _alpha_contradiction, Need.MODEL, _PEFT),
    Rule("PE021", "task-type-missing", _W, "is missing", "weighbridge repair writes CAUSAL_LM",
         _task_missing, Need.MODEL, _PEFT),
    Rule("PE022", "mlx-settings", _W, "holds settings of mlx-lm: {fields}", _CLEAN, _mlx_settings,
         Need.MODEL, _PEFT),
    Rule("PE023", "unknown-settings", _W, "holds fields that no PEFT knows: {fields}", _CLEAN,
         _unknown_settings, Need.MODEL, _PEFT),
    Rule("PE024", "recent-settings", Severity.INFO, "holds fields that PEFT 0.13 and earlier "
         "refuse: {fields}", _CLEAN, _recent_settings, Need.MODEL, _PEFT),
    Rule("PE025", "base-changed", _W, "is for a base that PEFT changes first: {setting}",
         "save it with path_initial_model_for_weight_conversion, or merge it with PEFT",
         _changed_base, Need.MODEL, _PEFT),
    Rule("PE026", "dora-mismatch", _E, "is {said}, and the file holds {number}",
         "weighbridge repair, with --original RUN", _dora_mismatch, Need.MODEL, _PEFT),
    Rule("PE027", "module-not-saved", _E, "lists {module}, which has no tensors",
         "weighbridge repair, with --original RUN", _not_saved, Need.MODEL, _PEFT),
    Rule("PE030", "setting-unusable", _E, "holds {value}, with which PEFT fails or computes "
         "nonsense", "write what the training had", _unusable, Need.MODEL, _PEFT),
)  # fmt: skip
