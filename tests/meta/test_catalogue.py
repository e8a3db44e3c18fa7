"""The catalogue as a whole: what every rule must be, whatever it checks."""

from __future__ import annotations

import re
import string

import pytest

from tests.unit.test_rules import EXAMPLES
from weighbridge.domain.findings import Rule
from weighbridge.domain.rules import CATALOGUE


def test_codes_and_names_are_unique() -> None:
    assert len({r.code for r in CATALOGUE}) == len(CATALOGUE)
    assert len({r.name for r in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda r: r.code)
def test_is_well_formed(rule: Rule) -> None:
    assert re.fullmatch(r"[A-Z]{2}\d{3}", rule.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert rule.kinds


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda r: r.code)
def test_says_what_why_and_what_to_do(rule: Rule) -> None:
    for text in (rule.template, rule.why, rule.remedy):
        assert text.strip() == text != ""
        assert "{{" not in text and "}}" not in text
    assert rule.why.endswith((".", "?"))
    assert "{" not in rule.remedy


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda r: r.code)
def test_the_check_supplies_every_field_of_the_template(rule: Rule) -> None:
    wanted = {field for _, field, _, _ in string.Formatter().parse(rule.template) if field}
    for seen in rule.check(EXAMPLES[rule.code][0]()):
        assert wanted <= set(seen.facts)
        assert all(isinstance(v, str | int | float) for v in seen.facts.values())
