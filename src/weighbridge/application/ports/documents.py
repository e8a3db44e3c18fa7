"""What reads tokenizers and chat templates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from weighbridge.domain.templates import Hazard
    from weighbridge.domain.tokenizer import TokenizerBuild


class TokenizerBuilder(Protocol):
    """Builds tokenizers as loaders do, to see if they can."""

    def build(self, raw: bytes) -> TokenizerBuild:
        """What comes of a tokenizer.json; hostile bytes are a problem, never an exception.

        Time and memory are bounded.
        """


class TemplateReader(Protocol):
    """Reads a chat template without running it."""

    def hazards(self, text: str) -> Iterable[Hazard]:
        """What its syntax tree shows; hostile text is a hazard too, never an exception.

        Time is linear in the size, of which the caller bounds the most.
        """
