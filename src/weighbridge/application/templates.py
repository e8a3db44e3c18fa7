"""Chat templates as they enter: found, read within a bound, and examined, never rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from weighbridge.domain.contents import is_companion
from weighbridge.domain.templates import (
    MAX_TEMPLATE,
    MAX_TEMPLATES,
    Hazard,
    Template,
    held_templates,
    template_name,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem, TemplateReader
    from weighbridge.domain.artifact import ModelArtifact


def read_templates(
    files: FileSystem, artifact: ModelArtifact, reader: TemplateReader
) -> tuple[Template, ...]:
    """Every template of ``artifact`` with what its syntax tree shows."""
    found = [*held_templates(artifact), *_files(files, artifact)]
    known: dict[str, tuple[Hazard, ...]] = {}  # several places hold the same
    return tuple(evolve(one, hazards=_hazards(one, reader, known)) for one in found)


def _hazards(
    one: Template, reader: TemplateReader, known: dict[str, tuple[Hazard, ...]]
) -> tuple[Hazard, ...]:
    if one.hazards:
        return one.hazards
    if one.text is None or one.size > MAX_TEMPLATE:
        detail = f"has {one.size} bytes; {MAX_TEMPLATE} is the most that is parsed"
        return (Hazard("CT009", detail),)
    if one.text not in known:
        if sum(map(len, known)) + one.size > MAX_TEMPLATES:
            detail = f"comes after {MAX_TEMPLATES} bytes of other templates, the most that is read"
            return (Hazard("CT009", detail),)
        known[one.text] = tuple(reader.hazards(one.text))
    return known[one.text]


def _files(files: FileSystem, artifact: ModelArtifact) -> list[Template]:
    found = []
    for entry in artifact.scan.files:
        name = template_name(entry.path.text)
        if name is None or is_companion(entry.path.text):
            continue
        text: str | None = None
        hazards: tuple[Hazard, ...] = ()
        if entry.size <= MAX_TEMPLATE:
            raw = files.read(artifact.location, entry.path)
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                hazards = (Hazard("CT001", f"is not UTF-8 at byte {error.start}"),)
        found.append(Template(entry.path.text, "", name, text, entry.size, hazards))
    return found
