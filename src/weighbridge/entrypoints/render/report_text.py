"""A validation report as text for people: the worst first, one rule's findings under one head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from weighbridge.domain.findings import Finding, Severity, ValidationReport
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.layout import counted, dim, item, pairs

#: A severity's colour.
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_SHOWN = 10


def report(judged: ValidationReport, *, everything: bool = False) -> str:
    """The answer of ``validate``. Of many findings of one rule the first are shown, unless
    ``everything`` is asked for."""
    groups = _groups(judged.findings)
    lines = [line for group in groups for line in _group(group, everything)]
    for crash in judged.crashed:
        head = click.style(f"error {crash.code} crashed", fg="red", bold=True)
        lines += [head, item(crash.error), ""]
    lines += _skipped(judged, everything)
    lines.append(_verdict(judged))
    return "\n".join(lines)


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings with the same cause and remedy, in the order of the first of them."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.why, finding.remedy), []).append(finding)
    return list(groups.values())


def _group(group: Sequence[Finding], everything: bool) -> Iterator[str]:
    first, shown = group[0], group if everything else group[:_SHOWN]
    head = f"{first.severity.value} {first.code}"
    yield f"{click.style(head, fg=COLOURS[first.severity], bold=True)} {first.name}"
    for finding in shown:
        where = "" if finding.where == "." else f"{finding.where}: "
        yield item(where + finding.message)
    if more := len(group) - len(shown):
        yield f"  and {more} more; weighbridge validate -v lists all"
    yield from pairs((("why", first.why), ("fix", first.remedy)))
    yield ""


def _skipped(judged: ValidationReport, everything: bool) -> Iterator[str]:
    reasons = dict.fromkeys(s.reason for s in judged.skipped)
    for reason in reasons:
        codes = [s.code for s in judged.skipped if s.reason == reason]
        few = everything or len(codes) <= _SHOWN
        listed = ", ".join(codes) if few else counted(len(codes), "rule")
        yield dim(item(f"skipped {listed}: {reason}", ""))


def _verdict(judged: ValidationReport) -> str:
    word, colour = ("good", "green") if judged.overall_valid else ("blocked", "red")
    kind = judged.kind.value if judged.kind else "no known model"
    counts = [counted(n, _NOUNS[severity]) for severity, n in judged.counts.items() if n]
    counts.append(f"{counted(judged.rules_run, 'rule')} run")
    if judged.skipped:
        counts.append(f"{len(judged.skipped)} skipped")
    verdict = click.style(word, fg=colour, bold=True)
    return f"{verdict}: {visible(judged.location)} ({kind}), {', '.join(counts)}"


_NOUNS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
