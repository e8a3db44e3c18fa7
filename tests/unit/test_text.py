"""What people read: the worst first, one head for one cause, nothing that a file says raw."""

from __future__ import annotations

import sys

import click
import pytest
from attrs import evolve

from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
from weighbridge.domain.findings import (
    Finding,
    Location,
    Severity,
    Skipped,
    ValidationReport,
)
from weighbridge.domain.models import Kind
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep, Unattempted
from weighbridge.domain.publication import LocalRegistry, plan_publication
from weighbridge.entrypoints.render import layout, publication_text, text
from weighbridge.entrypoints.render.legacy import legacy_report
from weighbridge.entrypoints.render.report_text import report


def finding(
    code: str, place: str, severity: Severity = Severity.ERROR, said: str = "is odd"
) -> Finding:
    return Finding(code, f"name-of-{code}", severity, Location(place), said, "Since.", "Mend it.")


def judged(*findings: Finding, skipped: tuple[Skipped, ...] = ()) -> ValidationReport:
    return ValidationReport("run", Kind.LORA, findings, 7, skipped)


def plain(styled: str) -> list[str]:
    return click.unstyle(styled).split("\n")


def test_findings_stand_under_their_file_and_rule_and_are_explained_once() -> None:
    lines = plain(
        report(
            judged(
                finding("FS001", "a"),
                finding("FS001", "b"),
                finding("ST001", "a", Severity.WARNING),
            )
        )
    )
    assert lines == [
        "a",
        "  error FS001 name-of-FS001",
        "    is odd",
        "    why  Since.",
        "    fix  Mend it.",
        "  warning ST001 name-of-ST001",
        "    is odd",
        "    why  Since.",
        "    fix  Mend it.",
        "",
        "b",
        "  error FS001 name-of-FS001",
        "    is odd",
        "",
        "blocked: run (lora), 2 errors, 1 warning, 7 rules run",
    ]


def test_of_many_the_first_are_shown_unless_all_are_asked_for() -> None:
    many = judged(*(finding("FS001", f"{i:03}") for i in range(56)))
    brief, full = plain(report(many)), plain(report(many, everything=True))
    assert brief[brief.index("009") + 3] == "    and 46 more; weighbridge validate -v lists more"
    assert "055" in full and "010" not in brief
    assert not any("more" in line for line in full)
    assert brief[-1] == full[-1]


def test_a_thousand_of_one_cause_are_enough_for_a_terminal_and_for_the_old_dictionary() -> None:
    many = judged(*(finding("FS001", f"{i:05}") for i in range(1003)))
    full = plain(report(many, everything=True))
    assert "    and 3 more; weighbridge validate --format json lists all" in full
    assert len(full) < 4100
    (*lines, last) = legacy_report("run", lambda: many)["errors"]
    assert len(lines) == 1000 and last.startswith("and 3 more")


def test_a_rule_that_was_skipped_is_named_or_counted_with_its_reason() -> None:
    few = tuple(Skipped(f"AD{i:03}", "needs a") for i in range(2))
    many = tuple(Skipped(f"PE{i:03}", "needs b") for i in range(20))
    assert plain(report(judged(skipped=few + many))) == [
        "skipped AD000, AD001: needs a",
        "skipped 20 rules: needs b",
        "good: run (lora), 7 rules run, 22 skipped",
    ]
    assert "PE019" in report(judged(skipped=many), everything=True)


def test_a_rule_on_secrets_that_was_ignored_is_named() -> None:
    lines = plain(report(evolve(judged(), ignored=("FS001", "SC002"))))
    assert lines == [
        "SC002 was ignored, and left out",
        "good: run (lora), 7 rules run, 2 ignored",
    ]


def test_what_a_file_says_reaches_no_terminal_raw() -> None:
    shown = report(judged(finding("FS001", "\x1b[2Jevil\u202e", said="\x07 and \n error: fake")))
    assert not {"\x07", "\u202e"} & set(shown)
    assert plain(shown)[0] == "\\x1b[2Jevil\\u202e"
    assert plain(shown)[2] == "    \\x07 and \\n error: fake"


def steps(*levels: ProofLevel, passed: bool = True) -> tuple[ProofStep, ...]:
    figures = (("modules", 56), ("largest_relative_difference", 1.5e-15), ("bytes", 2048))
    problems = () if passed else ("q_proj differs",)
    return tuple(ProofStep(level, passed, figures, problems) for level in levels)


def test_a_proof_is_a_line_for_each_level() -> None:
    proved = Proof(
        steps(ProofLevel.ALGEBRA, ProofLevel.BINDING),
        (Unattempted(ProofLevel.LOGITS, "needs more"),),
    )
    assert plain(text.proof(proved, figures=False)) == [
        "proved algebra  56 modules, largest relative difference 1.5e-15",
        "proved binding",  # of a prover that gives other figures than ours
        "not attempted logits: needs more",
    ]


def test_all_figures_are_shown_when_asked_for_and_when_a_level_failed() -> None:
    wanted = [
        "    modules                      56",
        "    largest relative difference  1.5e-15",
        "    bytes                        2.0 KiB",
    ]
    assert plain(text.proof(Proof(steps(ProofLevel.ALGEBRA)))) == ["proved algebra", *wanted]
    failed = Proof(steps(ProofLevel.ALGEBRA, passed=False))
    assert plain(text.proof(failed, figures=False)) == [
        "FAILED algebra",
        "    - q_proj differs",
        *wanted,
    ]


def test_the_sizes_of_a_plan_end_below_each_other() -> None:
    entries = (
        ManifestEntry(ArtifactPath("README.md"), 646, ()),
        ManifestEntry(ArtifactPath("adapter_model.safetensors"), 5 << 19, ()),
    )
    planned = plan_publication(LocalRegistry("reg", "a/b"), Manifest(entries), None, private=True)
    assert plain(publication_text.plan(planned)) == [
        "reg:a/b@main, as the first revision",
        "  + README.md                    646 B",
        "  + adapter_model.safetensors  2.5 MiB",
        "add 2; 2.5 MiB to send",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_long_values_go_on_below_themselves_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "50")
    value = "every word of this value is to be read " * 2
    lines = [click.unstyle(line) for line in layout.pairs([("name", value), ("n", "2")])]
    assert lines[0].startswith("  name  every word") and lines[-1] == "  n     2"
    if terminal:
        assert len(lines) == 3 and all(len(line) <= 50 for line in lines)
        assert lines[1].startswith(" " * 8) and not lines[1].startswith(" " * 9)
    else:
        assert lines[0] == f"  name  {value}".rstrip() and len(lines) == 2
