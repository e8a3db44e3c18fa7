"""Chat templates that others wrote: attacks that scanners ship, and 70 of published models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import fused_files
from tests.unit.subjects import of
from tests.witnesses.fetch import fetch
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.domain.templates import MAX_TEMPLATE

pytestmark = pytest.mark.slow
#: Below jinja2/ in the corpus: a file whose template is hostile, and one whose template is broken.
_HOSTILE = ("malicious/", "obfuscated/", "malicious_", "multiple_templates")
_BROKEN = ("malformed_template",)


def _codes(text: str) -> set[str]:
    return {hazard.code for hazard in JinjaTemplateReader().hazards(text)}


def _corpus() -> Iterator[tuple[str, str]]:
    root = fetch("hostile templates") / "tests/assets/samples/jinja2"
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        for text in _templates(path):
            yield path.relative_to(root).as_posix(), text


def _templates(path: Path) -> list[str]:
    """What the gate finds in the file if it is a tokenizer's config; any other as it is."""
    raw = path.read_bytes()
    if path.suffix != ".json":
        return [raw.decode()]
    subject = of(fused_files() | {"tokenizer_config.json": raw})()
    return [one.text for one in subject.templates if one.text is not None]


def test_every_attack_is_seen_and_no_harmless_template_is() -> None:
    seen: dict[str, set[str]] = {}
    for name, text in _corpus():
        seen.setdefault(name, set()).update(_codes(text))
    hostile = {name for name in seen if any(part in name for part in _HOSTILE)}
    assert len(hostile) >= 18
    assert [name for name in hostile if "CT002" not in seen[name]] == []
    broken = {name for name in seen if any(part in name for part in _BROKEN)}
    assert all("CT001" in seen[name] for name in broken)
    yaml = {name for name in seen if name.endswith((".yaml", ".yml"))}
    harmless = seen.keys() - hostile - broken - yaml
    assert len(harmless) >= 8
    # One of them is empty, and one begins no answer.
    assert set().union(*(seen[name] for name in harmless)) <= {"CT006", "CT012", "CT014"}


def test_no_template_of_a_published_model_is_blamed() -> None:
    root = fetch("chat templates")
    found = sorted(root.rglob("*.jinja"))
    assert len(found) >= 70
    texts = {path.name: path.read_text(encoding="utf-8") for path in found}
    assert max(map(len, texts.values())) < MAX_TEMPLATE
    assert {name: seen for name, text in texts.items() if (seen := _codes(text) - {"CT006"})} == {}
