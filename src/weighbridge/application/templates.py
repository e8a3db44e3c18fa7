"""Chat templates as they enter: found, read within a bound, and examined, never rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from weighbridge.domain.contents import is_companion
from weighbridge.domain.templates import (
    MAX_SIGNS,
    MAX_TEMPLATE,
    MAX_TEMPLATES,
    Hazard,
    Template,
    held_templates,
    signs,
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
    examiner = _Examiner(reader)
    return tuple(evolve(one, hazards=examiner.hazards(one)) for one in found)


@define
class _Examiner:
    """Has each template read once, as several places hold the same, and not too many."""

    _reader: TemplateReader
    _known: dict[str, tuple[Hazard, ...]] = field(factory=dict, init=False)
    _size: int = field(default=0, init=False)
    _signs: int = field(default=0, init=False)

    def hazards(self, one: Template) -> tuple[Hazard, ...]:
        """What is wrong with it; CT009 if it is one too many."""
        if one.hazards:
            return one.hazards
        if one.text is None or one.size > MAX_TEMPLATE:
            return _too_much(f"has {one.size} bytes; {MAX_TEMPLATE} is the most that is parsed")
        if one.text not in self._known:
            if self._size + one.size > MAX_TEMPLATES:
                return _too_much(f"comes after {MAX_TEMPLATES} bytes of other templates, the most "
                                 "that is read")  # fmt: skip
            count = signs(one.text)
            if self._signs + count > MAX_SIGNS:
                return _too_much(f"has {count} words and signs; {MAX_SIGNS} are parsed in all")
            self._size += one.size
            self._signs += count
            self._known[one.text] = tuple(self._reader.hazards(one.text))
        return self._known[one.text]


def _too_much(detail: str) -> tuple[Hazard, ...]:
    return (Hazard("CT009", detail),)


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
