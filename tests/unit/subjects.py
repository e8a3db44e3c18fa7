"""What the rules look at, made from files as the use case makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.memory_files import MemoryFiles
from tests.unit.examples_of_contents import CARD
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.application.load import Extent, classify, read_artifact
from weighbridge.application.templates import read_templates
from weighbridge.domain.artifact import IrregularEntry
from weighbridge.domain.detection import parse_model
from weighbridge.domain.findings import Subject
from weighbridge.domain.tokenizer import tokenizer_view

Build = Callable[[], Subject]


def of(files: Mapping[str, bytes], *odd: IrregularEntry, **more: Any) -> Build:
    """A subject as the use case makes it."""

    def build() -> Subject:
        memory = MemoryFiles()
        memory.seed("run", CARD | dict(files), odd)
        artifact = read_artifact(memory, "run", extent=Extent.EVERYTHING)
        detected = classify(artifact)
        model = parse_model(artifact, detected)
        return Subject(
            artifact,
            kind=detected.kind,
            model=model,
            templates=read_templates(memory, artifact, JinjaTemplateReader()),
            tokenizer=tokenizer_view(artifact),
            **more,
        )

    return build
