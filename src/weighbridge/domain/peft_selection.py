"""What PEFT expects of an adapter: the tensors of each module, and a config that selects them.

Written from PEFT's side, and on purpose without anything of ``conversion``: it judges what that
made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from weighbridge.domain.tensors import TensorSpec

#: PEFT's wrapper and its model stand before the module's own path.
KEY_PREFIX = "base_model.model."
_ALTERING = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern")


def peft_selects(module: str, config: Mapping[str, Any]) -> bool:
    """PEFT's rule: does a LoRA of that config adapt the module of that path?"""
    targets = config.get("target_modules")
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    if not isinstance(targets, list):
        return False
    if module in targets:  # a full path; PEFT then asks for no layer
        return True
    if not any(module.endswith(f".{target}") for target in targets):
        return False
    layers = config.get("layers_to_transform")
    if layers is None:
        return True
    patterns = config.get("layers_pattern") or [r"[^.]*"]
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if found := re.match(rf".*\.{pattern}\.(\d+)\.", module):
            return int(found.group(1)) in ([layers] if isinstance(layers, int) else layers)
    return False


def _neighbours(modules: Iterable[str], layers: Any) -> set[str]:
    """``modules``, and the same in every layer up to the last that the file or config names."""
    found = {m: re.fullmatch(r"(.*\blayers\.)(\d+)(\..*)", m) for m in modules}
    named = [int(f.group(2)) for f in found.values() if f]
    named += [x for x in layers if isinstance(x, int)] if isinstance(layers, list) else []
    stems = {(f.group(1), f.group(3)) for f in found.values() if f}
    # A config that names a layer like 10**9 must not be counted up to.
    every = range(min(max(named, default=-1), 4096) + 1)
    return set(found) | {f"{head}{i}{tail}" for head, tail in stems for i in every}


def selection_problems(modules: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """Where the config's selection is not exactly ``modules``, judged without the base.

    Asks about the same modules in every layer too, as PEFT would adapt those as well.
    """
    held = set(modules)
    try:
        universe = _neighbours(held, config.get("layers_to_transform"))
        chosen = {m for m in universe if peft_selects(m, config)}
    except (re.error, TypeError) as error:
        return [f"adapter_config: the target selection is invalid: {error}"]
    missed = [f"{m}: not selected by the config" for m in sorted(held - chosen)]
    return missed + [f"{m}: selected by the config, not held" for m in sorted(chosen - held)]


class NotPeft(ValueError):
    """A config that PEFT could not compute with; the text says why."""


def peft_scale(config: Mapping[str, Any]) -> float:
    """What PEFT multiplies a LoRA of that config by. Raises NotPeft."""
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank < 2**31:
        raise NotPeft(f"adapter_config: r {rank!r} is no rank")
    # An integer may be too large for a float, and a bool is an int.
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < 1e300:
        raise NotPeft(f"adapter_config: lora_alpha {str(alpha)[:40]} is no number")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def config_problems(modules: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """What in a written config would make PEFT compute, or select, something else."""
    problems = [] if config.get("peft_type") == "LORA" else ["adapter_config: no LORA"]
    for key in _ALTERING:
        if config.get(key):
            problems.append(f"adapter_config: {key} changes what PEFT computes")
    return problems + selection_problems(modules, config)


def counterparts(
    source: Mapping[str, TensorSpec], converted: Mapping[str, TensorSpec], rank: int
) -> tuple[list[str], list[str]]:
    """The modules that both files hold in full and in fitting shapes, and every problem."""
    modules = {name.rpartition(".")[0] for name in source}
    wanted = {f"{m}.lora_{x}" for m in modules for x in "ab"}
    expected = {f"{KEY_PREFIX}{m}.lora_{x}.weight" for m in modules for x in "AB"}
    problems = [f"{n}: missing in the source" for n in sorted(wanted - source.keys())]
    problems += [f"{n}: is no LoRA tensor" for n in sorted(source.keys() - wanted)]
    problems += [f"{n}: missing in the converted file" for n in sorted(expected - converted.keys())]
    problems += [f"{n}: has no counterpart in MLX" for n in sorted(converted.keys() - expected)]
    sound = []
    for module in sorted(modules):
        a, b = source.get(f"{module}.lora_a"), source.get(f"{module}.lora_b")
        down = converted.get(f"{KEY_PREFIX}{module}.lora_A.weight")
        up = converted.get(f"{KEY_PREFIX}{module}.lora_B.weight")
        if a and b and down and up:
            wrong = [f"{module}: {p}" for p in _shape_problems(a, b, down, up, rank)]
            problems += wrong
            sound += [] if wrong else [module]
    return sound, problems


def _shape_problems(
    a: TensorSpec, b: TensorSpec, down: TensorSpec, up: TensorSpec, rank: int
) -> Iterator[str]:
    for ours, theirs in ((a, down), (b, up)):
        if theirs.shape != ours.shape[::-1]:
            found, shape = list(theirs.shape), list(ours.shape)
            yield f"{theirs.name} is {found}, not the transpose of {shape}"
    if not down.shape[0] == up.shape[1] == rank:
        yield f"ranks {down.shape[0]} and {up.shape[1]}, but the config's r is {rank}"
