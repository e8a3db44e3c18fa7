"""Chat templates judged by their syntax tree, which jinja2 makes; nothing is rendered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from weighbridge.domain.templates import Hazard


@frozen
class JinjaTemplateReader:
    """The TemplateReader over jinja2, which is imported with the first template."""

    def hazards(self, text: str) -> Iterable[Hazard]:
        """Everything that is wrong with the template, as far as its tree shows it."""
        from weighbridge.adapters.jinja_templates.parsing import template_hazards

        return template_hazards(text)
