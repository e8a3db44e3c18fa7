"""Every case in both stacks; the table is printed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .cases import CASES, Case
from .run import run
from .table import PAGE, lines_on


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_stacks_agree_or_the_reason_is_said(
    case: Case, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    row = run(case, tmp_path)
    record_property("matrix", row.as_json())
    assert row.verdict == ("refused" if case.refused else "green"), row
    if case.refused:
        assert case.refused in row.note


def test_the_page_has_these_cases_and_none_failed() -> None:
    lines = lines_on(PAGE.read_text(encoding="utf-8"))
    assert list(lines) == [case.key for case in CASES]
    for case in CASES:
        verdict = "refused" if case.refused else "green"
        assert f"| {verdict} |" in lines[case.key]
        assert case.refused in lines[case.key]


def test_no_case_is_listed_twice() -> None:
    assert len({case.key for case in CASES}) == len(CASES)
