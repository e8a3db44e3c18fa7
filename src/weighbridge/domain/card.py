"""The model card: written from what is known when the author wrote none. Nothing is made up.

Metadata conventions: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from attrs import frozen

from weighbridge.domain.front_matter import read_front_matter

#: Begins the last line of a card written here; an edit of the card breaks its digest.
_SEAL = b"<!-- weighbridge "


@frozen
class CardFacts:
    """What is known of a publication; None is not written."""

    title: str
    library: str
    base_model: str | None = None
    relation: str | None = None
    licence: str | None = None
    tags: tuple[str, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()


def licence_of(card: bytes) -> str | None:
    """The licence id in a card's front matter, if it names one."""
    value = read_front_matter(card).fields.get("license")
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def _scalar(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9][\w./-]*", text) else json.dumps(text)


def _front_matter(facts: CardFacts) -> list[str]:
    values: Mapping[str, str | None] = {
        "base_model": facts.base_model,
        "base_model_relation": facts.relation,
        "library_name": facts.library,
        "license": facts.licence,
        "pipeline_tag": "text-generation",
    }
    lines = [f"{key}: {_scalar(value)}" for key, value in values.items() if value]
    return ["---", *lines, "tags:", *(f"- {_scalar(tag)}" for tag in facts.tags), "---"]


def render_card(facts: CardFacts) -> bytes:
    """README.md: front matter, what it is, how to load it, the figures."""
    lines = [*_front_matter(facts), "", f"# {facts.title}", ""]
    if facts.library == "peft" and facts.base_model:
        lines += _peft_usage(facts.title, facts.base_model)
    if facts.figures:
        lines += ["", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.figures)]
    lines += ["", "Published with Weighbridge.", ""]
    text = "\n".join(lines).encode()
    return text + _seal(text)


def is_rendered(card: bytes) -> bool:
    """Whether a card was written here and not edited since."""
    text, begin, _ = card.rpartition(_SEAL)
    return bool(begin) and card == text + _seal(text)


def _seal(text: bytes) -> bytes:
    return _SEAL + hashlib.sha256(text).hexdigest()[:16].encode() + b" -->\n"


def _peft_usage(name: str, base_model: str) -> list[str]:
    return [
        f"A LoRA for `{base_model}`, trained with MLX and converted exactly to PEFT.",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{base_model}")',
        f'model = PeftModel.from_pretrained(base, "{name}")',
        "```",
    ]
