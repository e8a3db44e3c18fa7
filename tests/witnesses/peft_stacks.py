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


class Refused(Exception):
    """The stack did not load the LoRA; the text is its own."""


@frozen
class Loaded:
    """Logits of the base, with the LoRA, and with it merged; ``unplaced`` are factors that the
    file lacks for a module, or that no module took."""

    plain: Logits
    lora: Logits
    merged: Logits
    unplaced: list[str]
    warnings: list[str]


def load(stack: str, base: Path, lora: Path, tokens: list[list[int]]) -> Loaded:
    """What that stack computes for the tokens. Raises Refused, and WitnessFailed."""
    packages = [str(fetch(name)) for name in STACKS[stack]]
    with tempfile.TemporaryDirectory(prefix="logits-") as output:
        question = {
            "packages": packages,
            "base": str(base.absolute()),
            "lora": str(lora.absolute()),
            "tokens": tokens,
            "output": output,
        }
        told = ask("load_peft", ROOT, question)
        if "refused" in told:
            raise Refused(told["refused"])
        _assert_versions(stack, told["versions"])
        names = ("plain", "lora", "merged")
        logits = {name: np.load(Path(output, f"{name}.npy")) for name in names}
    return Loaded(**logits, unplaced=told["unplaced"], warnings=told["warnings"])


def _assert_versions(stack: str, versions: dict[str, str]) -> None:
    """The process must have imported what the stack is named after, not what is installed."""
    for part in stack.split(", ") if STACKS[stack] else ():
        name, _, release = part.partition(" ")
        assert versions[name].startswith(f"{release}."), versions
