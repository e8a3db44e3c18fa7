"""PEFT and transformers of several years, each in a process of its own; see ``load_peft.py``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from attrs import frozen

from .fetch import ROOT, fetch
from .run import ask

Logits = np.ndarray[Any, np.dtype[np.float64]]
_OF_446 = ("transformers 4.46", "tokenizers 0.20", "hub 0.26", "accelerate")
_OF_457 = ("transformers 4.57", "tokenizers 0.22", "hub 0.36", "accelerate")

#: By name, the witnesses to import from before what is installed.
STACKS = MappingProxyType(
    {
        "peft 0.10, transformers 4.46": ("peft 0.10", *_OF_446),
        "peft 0.13, transformers 4.46": ("peft 0.13", *_OF_446),
        "peft 0.17, transformers 4.57": ("peft 0.17", *_OF_457),
        "installed": (),
    }
)


@frozen
class Loaded:
    """Logits of the base, with the LoRA, and with it merged; ``unplaced`` are factors that the
    file lacks for a module, or that no module took. ``refused`` is the error, if it did not load;
    the rest is empty then."""

    plain: Logits
    lora: Logits
    merged: Logits
    unplaced: list[str]
    warnings: list[str]
    refused: str | None = None


def load(stack: str, pairs: list[tuple[Path, Path]], tokens: list[list[int]]) -> list[Loaded]:
    """What that stack computes for the tokens, for each base and LoRA. Raises WitnessFailed."""
    packages = [str(fetch(name)) for name in STACKS[stack]]
    with tempfile.TemporaryDirectory(prefix="logits-") as scratch:
        outputs = [Path(scratch, str(number)) for number in range(len(pairs))]
        jobs = []
        for (base, lora), output in zip(pairs, outputs, strict=True):
            output.mkdir()
            paths = {"base": base.absolute(), "lora": lora.absolute(), "output": output}
            jobs.append({**{name: str(path) for name, path in paths.items()}, "tokens": tokens})
        told = ask("load_peft", ROOT, {"packages": packages, "jobs": jobs})
        _assert_versions(stack, told["versions"])
        return [_loaded(*each) for each in zip(told["outcomes"], outputs, strict=True)]


def _loaded(outcome: dict[str, Any], output: Path) -> Loaded:
    if "refused" in outcome:
        nothing = np.empty(0)
        return Loaded(nothing, nothing, nothing, [], [], outcome["refused"])
    logits = [np.load(output / f"{name}.npy") for name in ("plain", "lora", "merged")]
    return Loaded(*logits, outcome["unplaced"], outcome["warnings"])


def _assert_versions(stack: str, versions: dict[str, str]) -> None:
    """The process must have imported what the stack is named after, not what is installed."""
    for part in stack.split(", ") if STACKS[stack] else ():
        name, _, release = part.partition(" ")
        assert versions[name].startswith(f"{release}."), versions
