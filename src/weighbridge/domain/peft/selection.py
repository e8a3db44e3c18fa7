"""What PEFT makes of a config: the modules it selects, and what it multiplies each by.

Written from PEFT's side, and on purpose without anything of ``conversion``: it judges what that
made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from weighbridge.domain.peft.expressions import Effort, Unfollowed, expression, patterns as ordered

#: PEFT's wrapper and its model stand before the module's own path.
KEY_PREFIX = "base_model.model."


#: What ``target_modules`` may say for every linear module but the output head.
_ALL_LINEAR = "all-linear"
_MOST_PARTS = 64
_ANY_NAME = r"[^.]*"
_HEADS = ("lm_head", "embed_out")


def peft_selects(module: str, config: Mapping[str, Any]) -> bool:
    """PEFT's rule: does a LoRA of that config adapt the module of that path?

    Raises NotPeft if the config selects in a way that PEFT itself could not follow.
    """
    try:
        return _selects(module, config)
    except (Unfollowed, TypeError) as error:
        raise NotPeft(f"adapter_config: the target selection is invalid: {error}") from error


def _selects(module: str, config: Mapping[str, Any]) -> bool:
    if _listed(module, config.get("exclude_modules")):
        return False
    targets = config.get("target_modules")
    if isinstance(targets, str) and targets.lower() == _ALL_LINEAR:
        return not module.endswith(_HEADS)
    if not _listed(module, targets):
        return False
    # A pattern or a full path; PEFT then asks for no layer.
    if isinstance(targets, str) or module in (targets or ()):
        return True
    layers = config.get("layers_to_transform")
    if layers is None or (not isinstance(layers, int) and not layers):
        return True
    numbers = [layers] if isinstance(layers, int) else layers
    patterns = config.get("layers_pattern") or [_ANY_NAME]
    effort = Effort()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if (found := _layer(module, pattern, effort)) is not None:
            return int(found) in numbers
    return False


def _layer(module: str, pattern: Any, effort: Effort) -> str | None:
    # The first number after such a name is the layer; a later one is an expert.
    after = rf"(?:^|.*?\.){pattern}\.(\d{{1,9}})\."
    if pattern == _ANY_NAME or re.fullmatch(r"\w+", pattern):
        found = re.match(after, module)
        return found[1] if found else None
    return expression(after).first_group(module, effort)


def _listed(module: str, names: Any) -> bool:
    """True if a list has the module's whole path or its end, or a pattern matches all of it."""
    if isinstance(names, str):
        return bool(names) and expression(names).matches(module, (0,), Effort())
    if isinstance(names, frozenset):
        return any(end in names for end in dotted_ends(module))
    return isinstance(names, list) and any(
        module == name or module.endswith(f".{name}") for name in names
    )


def dotted_ends(module: str) -> Iterator[str]:
    """The path, and what follows each of its dots; of more parts than any path has, the last."""
    return (module[at:] for at in _starts(module))


def _starts(module: str) -> Iterator[int]:
    yield 0
    at = len(module)
    for _ in range(_MOST_PARTS):
        at = module.rfind(".", 0, at)
        if at < 0:
            return
        yield at + 1


def _neighbours(modules: Iterable[str], layers: Any) -> set[str]:
    """``modules``, and the same in every layer up to the last that the file or config names."""
    found = {m: re.fullmatch(r"(.*\b(?:layers|h|blocks)\.)(\d{1,9})(\..*)", m) for m in modules}
    named = [int(f.group(2)) for f in found.values() if f]
    named += [x for x in layers if isinstance(x, int)] if isinstance(layers, list) else []
    stems = {(f.group(1), f.group(3)) for f in found.values() if f}
    # A config that names a layer like 10**9 must not be counted up to.
    every = range(min(max(named, default=-1), 4096) + 1)
    return set(found) | {f"{head}{i}{tail}" for head, tail in stems for i in every}


def selection_problems(
    modules: Iterable[str], config: Mapping[str, Any], existing: Collection[str] | None
) -> list[str]:
    """Where the config's selection is not exactly ``modules``.

    ``existing`` are the base's modules. Without them (None) every layer is taken to have the same
    modules; empty, nobody knows which exist, and only what is not selected is a problem.
    """
    held = set(modules)
    try:
        universe = _neighbours(held, config.get("layers_to_transform"))
        if existing is not None:
            universe = held | (universe & set(existing))
        chosen = {m for m in universe if peft_selects(m, config)}
    except NotPeft as problem:
        return [str(problem)]
    missed = [f"{m}: not selected by the config" for m in sorted(held - chosen)]
    return missed + [f"{m}: selected by the config, not held" for m in sorted(chosen - held)]


#: Values of ``init_lora_weights`` with which PEFT changes the base before it loads the LoRA.
_CHANGES_BASE = re.compile(r"pissa.*|corda.*|loftq|lora_ga|(?i:olora)")


#: Why such a LoRA goes nowhere by itself, and the way out.
CHANGED_BASE = (
    "PEFT changes the base's weights for it, which nothing else does; save it with PEFT's "
    "save_pretrained(path_initial_model_for_weight_conversion=...) as a LoRA on the base itself, "
    "or merge it with merge_and_unload"
)


def base_change(config: Mapping[str, Any]) -> str | None:
    """The setting with which PEFT changes the base's own weights, so that the LoRA alone is not
    what was trained; None if there is none. Nothing but PEFT makes that change."""
    init = config.get("init_lora_weights")
    if isinstance(init, str) and _CHANGES_BASE.fullmatch(init):
        return f"init_lora_weights {init}"
    return next((key for key in ("kasa_config", "layer_replication") if config.get(key)), None)


class NotPeft(ValueError):
    """A config that PEFT could not compute with; the text says why."""


def _patterned(module: str, config: Mapping[str, Any], key: str) -> Any:
    """What ``rank_pattern`` or ``alpha_pattern`` says of a module; None if nothing.

    PEFT's rule: the pattern matches the whole path, or its end after a dot.
    """
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise NotPeft(f"adapter_config: {key} is no object")
    try:
        number = ordered(tuple(patterns)).first(module, tuple(_starts(module)))
    except Unfollowed as problem:
        which = problem.args[1][:80]
        raise NotPeft(f"adapter_config: {key}: {which!r} {problem}") from problem
    return None if number is None else next(islice(patterns.values(), number, None))


def pair_rank(module: str, config: Mapping[str, Any]) -> int:
    """The rank that PEFT gives a module. Raises NotPeft."""
    found = _patterned(module, config, "rank_pattern")
    rank = config.get("r") if found is None else found
    if type(rank) is not int or not 1 <= rank < 2**31:
        raise NotPeft(f"adapter_config: r {rank!r} is no rank")
    return rank


def pair_scale(module: str, config: Mapping[str, Any]) -> float:
    """What PEFT multiplies the LoRA of a module by. Raises NotPeft."""
    rank = pair_rank(module, config)
    found = _patterned(module, config, "alpha_pattern")
    alpha = config.get("lora_alpha") if found is None else found
    # An integer may be too large for a float, and a bool is an int.
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < 1e300:
        raise NotPeft(f"adapter_config: lora_alpha {str(alpha)[:40]} is no number")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def parameter_names(stems: Collection[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The stems that are targeted as parameters, and of which parameter each is.

    PEFT wraps a module once for each of its parameters; the one that the module defines first, an
    expert stack's ``gate_up_proj``, is the inner one, and called ``base_layer`` in the file.
    """
    entries = config.get("target_parameters")
    listed = [e for e in entries if isinstance(e, str)] if isinstance(entries, list) else []
    found: dict[str, str] = {}
    for stem in stems:
        module = stem.removesuffix(".base_layer")
        inner, both = stem != module, f"{module}.base_layer" in stems
        for name in ("gate_up_proj", "down_proj", "weight"):
            parameter = f"{module}.{name}"
            if not any(parameter == e or parameter.endswith(f".{e}") for e in listed):
                continue
            if both and inner != (name == "gate_up_proj"):
                continue
            found.setdefault(stem, parameter)
    return found


def config_problems(
    modules: Collection[str],
    config: Mapping[str, Any],
    existing: Collection[str] | None,
    *,
    dora: bool = False,
) -> list[str]:
    """What in a written config would make PEFT compute, or select, something else.

    ``modules`` are those that are no parameters; ``dora`` says that the file has magnitudes;
    ``existing`` as for ``selection_problems``.
    """
    problems = [] if config.get("peft_type") == "LORA" else ["adapter_config: no LORA"]
    if (setting := base_change(config)) is not None:
        problems.append(f"adapter_config: with {setting} PEFT changes the base's weights")
    if bool(config.get("use_dora")) != dora:
        problems.append(f"adapter_config: use_dora is {config.get('use_dora')!r}, and the file has "
                        f"{'' if dora else 'no '}magnitudes")  # fmt: skip
    return problems + (selection_problems(modules, config, existing) if modules else [])
