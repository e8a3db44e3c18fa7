"""What llama.cpp's converter and transformers make of every toy, from the cache."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.mlx_artifacts.cache import cached

from . import run
from .families import FAMILIES, WRAPPED
from .toys import make_toy, merged, random_lora, wrapped

#: Several, for where the likeliest next token ends the text, llama.cpp tells no probabilities.
PROMPTS = [
    [5, 77, 130, 201, 33, 64, 99, 12],
    [9, 8, 7, 6, 5, 4, 100, 120, 140],
    [300, 200, 100, 50, 25, 12, 66],
    [11, 45, 32],
]
#: The modules beside this one that decide what is made.
_MAKERS = ("convert", "families", "fetch", "outcomes", "toys")
CARD = """---
library_name: peft
base_model: acme/Toy-1B-Instruct
base_model_relation: adapter
license: other
license_name: toy
license_link: https://example.org/licence
datasets:
- acme/words
language:
- en
tags:
- lora
pipeline_tag: text-generation
---
# A toy
"""


@functools.cache
def toys() -> Path:
    """A directory for each family: ``base``, ``lora``, ``theirs.gguf`` and more; see ``_make``."""
    own = [Path(__file__).with_name(f"{name}.py") for name in _MAKERS]
    sources = hashlib.sha256(b"\0".join(path.read_bytes() for path in own)).hexdigest()
    return cached("gguf-witness", functools.partial(_make, sources=sources))


def _make(directory: Path, sources: str) -> None:
    """For each family the toys, what transformers computes, and what the converter writes.

    ``theirs.gguf`` is the default, ``theirs-f16.gguf`` and ``theirs-bf16.gguf`` are of the same
    LoRA, ``theirs-card.gguf`` of one with a card. ``outcomes.json`` has what became of each job.
    """
    for family in FAMILIES:
        base = make_toy(directory / family / "base", family)
        random_lora(base, directory / family / "lora")
    for family, cls in WRAPPED.items():
        place = directory / family
        wrapped(place / "base", place / "lora", cls, directory / f"{family}-wrapped")
    card = random_lora(directory / "llama" / "base", directory / "llama" / "card" / "lora")
    card.joinpath("README.md").write_text(CARD)
    random_lora(directory / "mixtral" / "base", directory / "mixtral" / "half", dtype="bfloat16")
    jobs = list(_jobs(directory))
    outcomes = run.convert([job for _, job in jobs])
    names = [name for name, _ in jobs]
    (directory / "outcomes.json").write_text(json.dumps(dict(zip(names, outcomes, strict=True))))
    for family in FAMILIES:
        _compute(directory / family)


def _jobs(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for family in (*FAMILIES, *(f"{family}-wrapped" for family in WRAPPED)):
        place = directory / family
        yield family, _lora(place, place / "lora", "theirs.gguf")
    for family in FAMILIES:
        base, output = str(directory / family / "base"), str(directory / family / "base.gguf")
        yield f"{family} base", {"kind": "base", "base": base, "output": output}
    llama, mixtral = directory / "llama", directory / "mixtral"
    yield "card", _lora(llama, llama / "card" / "lora", "theirs-card.gguf")
    yield "half", _lora(mixtral, mixtral / "half", "theirs-half.gguf")
    for outtype in ("f16", "bf16"):
        name = f"theirs-{outtype}.gguf"
        yield outtype, _lora(mixtral, mixtral / "lora", name, "--outtype", outtype)


def _lora(place: Path, lora: Path, output: str, *options: str) -> dict[str, Any]:
    arguments = ["--base", str(place / "base"), "--outfile", str(place / output), *options]
    return {"kind": "lora", "arguments": [*arguments, str(lora)]}


def _compute(place: Path) -> None:
    """Write transformers' log-probabilities of the next token, without and with the LoRA."""
    whole = merged(place / "base", place / "lora", place / "merged")
    answers = {"base": _answers(place / "base"), "lora": _answers(whole)}
    (place / "transformers.json").write_text(json.dumps(answers))


def _answers(directory: Path) -> list[list[float]]:
    import torch

    transformers = import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0, -1].double() for prompt in PROMPTS]
    return [torch.log_softmax(each, -1).tolist() for each in logits]


def by_token(rows: list[list[float]]) -> list[dict[int, float]]:
    """transformers' answers in the form of llama.cpp's."""
    return [dict(enumerate(row)) for row in rows]


def largest_difference(found: list[Any], expected: list[list[float]]) -> float:
    """Over all prompts and tokens of any likelihood, of llama.cpp's answer to another's."""
    compared = [
        abs(value - row[int(token)])
        for answer, row in zip(found, expected, strict=True)
        if answer is not None
        for token, value in answer.items()
        if value > -15 and row[int(token)] > -15
    ]
    assert len(compared) > 200, "llama.cpp told no probabilities"
    return max(compared)
