"""Which modules a PEFT config selects: PEFT's own matching rule, and whether a file agrees."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


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
