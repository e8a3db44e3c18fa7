"""Every link between the pages of the tree leads somewhere, to its heading too."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"),
     *ROOT.glob("tests/*/README.md")]
)  # fmt: skip
_CODE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def slug(heading: str, seen: dict[str, int]) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"\]\([^)]*\)", "", heading).strip().lower()
    made = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
    number = seen.get(made, 0)
    seen[made] = number + 1
    return f"{made}-{number}" if number else made


@cache
def anchors(page: Path) -> frozenset[str]:
    seen: dict[str, int] = {}
    text = _CODE.sub("", page.read_text())
    return frozenset(slug(found, seen) for found in re.findall(r"^#{1,6} (.+)$", text, re.M))


def links(page: Path) -> list[str]:
    """The relative ones."""
    text = _SPAN.sub("", _CODE.sub("", page.read_text()))
    return [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]


def test_every_page_is_led_to() -> None:
    led_to = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES
              for link in links(page)}  # fmt: skip
    guides = [page for page in PAGES if ROOT / "docs" in page.parents]
    assert len(guides) > 25
    assert [page for page in guides if page not in led_to and page.parent not in led_to] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT) and target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
