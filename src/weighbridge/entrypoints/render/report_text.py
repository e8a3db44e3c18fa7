"""A validation report as text for people: file by file, the worst first, one rule's findings under
one head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import click

from weighbridge.domain.findings import (
    Finding,
    Severity,
    ValidationReport,
    Verdict,
    Waived,
    WaivedBy,
)
from weighbridge.domain.policy.selectors import is_protected
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.layout import counted, dim, item, pairs

#: A severity's colour.
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_VERDICTS = {Verdict.GOOD: "green", Verdict.BLOCKED: "red", Verdict.INCOMPLETE: "yellow"}
_WAIVED = {
    WaivedBy.PATH: "ignored by path",
    WaivedBy.EXCEPTION: "excepted",
    WaivedBy.BASELINE: "known from the baseline",
}
_SHOWN = 10
#: With ``everything``: a terminal is no place for a hundred thousand lines of the same.
_MOST_SHOWN = 1000


def report(judged: ValidationReport, *, everything: bool = False) -> str:
    """The answer of ``validate``. Of many findings of one rule the first are shown; ``everything``
    shows the first thousand."""
    return "\n".join([*_findings(judged.findings, everything), *_rest(judged, everything)])


def statistics(judged: ValidationReport) -> str:
    """How often each rule found something, the worst first, and the verdict."""
    counts = Counter((f.severity, f.code, f.name) for f in judged.findings)
    width = len(str(max(counts.values(), default=0)))
    lines = []
    for (severity, code, name), count in sorted(
        counts.items(), key=lambda each: (each[0][0].rank, -each[1], each[0][1])
    ):
        coloured = click.style(f"{severity.value:<7}", fg=COLOURS[severity])
        lines.append(f"{count:>{width}}  {coloured}  {code}  {name}")
    return "\n".join([*lines, *([""] if lines else []), *_rest(judged, False)])


def figures(judged: ValidationReport) -> list[str]:
    """The counts of a report, in words."""
    counts = [counted(n, _NOUNS[severity]) for severity, n in judged.counts.items() if n]
    counts.append(f"{counted(judged.rules_run, 'rule')} run")
    if judged.skipped:
        counts.append(f"{len(judged.skipped)} skipped")
    if judged.ignored:
        counts.append(f"{len(judged.ignored)} ignored")
    if judged.waived:
        counts.append(f"{counted(len(judged.waived), 'finding')} waived")
    return counts


_Cause: TypeAlias = tuple[str, str, str]


def _cause(finding: Finding) -> _Cause:
    """Findings with the same are explained once."""
    return finding.code, finding.why, finding.remedy


def _findings(findings: Sequence[Finding], everything: bool) -> Iterator[str]:
    shown, more = _first_of_each(findings, _MOST_SHOWN if everything else _SHOWN)
    last = {_cause(f): f.location.path for f in shown}
    explained: set[_Cause] = set()
    for path, groups in _files(shown).items():
        yield click.style(item(path or ".", ""), bold=True)
        for cause, group in groups.items():
            yield from _group(group)
            if more[cause] and last[cause] == path:
                yield f"    and {more[cause]} more; weighbridge validate {_lists_more(everything)}"
            if cause not in explained:
                yield from pairs((("why", group[0].why), ("fix", group[0].remedy)), "    ")
            explained.add(cause)
        yield ""


def _lists_more(everything: bool) -> str:
    return "--format json lists all" if everything else "-v lists more"


def _first_of_each(findings: Sequence[Finding], most: int) -> tuple[list[Finding], Counter[_Cause]]:
    """The first ``most`` findings of each cause, and how many more there are."""
    counts, shown = Counter[_Cause](), []
    for finding in findings:
        counts[_cause(finding)] += 1
        if counts[_cause(finding)] <= most:
            shown.append(finding)
    return shown, counts - Counter(map(_cause, shown))


def _files(findings: Sequence[Finding]) -> dict[str, dict[_Cause, list[Finding]]]:
    """By file, then by cause and remedy; each in the order of the first of them, the worst."""
    files: dict[str, dict[_Cause, list[Finding]]] = {}
    for finding in findings:
        files.setdefault(finding.location.path, {}).setdefault(_cause(finding), []).append(finding)
    return files


def _group(group: Sequence[Finding]) -> Iterator[str]:
    first = group[0]
    head = f"{first.severity.value} {first.code}"
    yield f"  {click.style(head, fg=COLOURS[first.severity], bold=True)} {first.name}"
    for finding in group:
        inside = finding.location.inside
        yield item((f"{inside}: " if inside else "") + finding.message, "    ")


def _rest(judged: ValidationReport, everything: bool) -> Iterator[str]:
    for crash in judged.crashed:
        yield click.style(item(f"error {crash.code} could not be run", ""), fg="red", bold=True)
        yield from (item(crash.error), "")
    for code in filter(is_protected, judged.ignored):
        yield click.style(f"{code} was ignored, and left out", fg="yellow")
    yield from _waived(judged.waived, everything)
    yield from _skipped(judged, everything)
    shown = judged.unexamined if everything else judged.unexamined[:_SHOWN]
    for part in shown:
        line = item(f"not examined: {part.what}: {part.reason}", "")
        yield dim(line) if part.chosen else click.style(line, fg="yellow")
    if len(judged.unexamined) > len(shown):
        more = len(judged.unexamined) - len(shown)
        yield click.style(f"and {more} more not examined; weighbridge validate -v lists all",
                          fg="yellow")  # fmt: skip
    yield verdict(judged)


def _waived(waived: Sequence[Waived], everything: bool) -> Iterator[str]:
    """An exception is always said with its reason; of the others, how many there are."""
    for by, words in _WAIVED.items():
        listed = [w for w in waived if w.by is by]
        if everything or by is WaivedBy.EXCEPTION:
            for each in listed[:_MOST_SHOWN]:
                place = each.finding.where
                yield dim(item(f"{words} {each.finding.code}, {place}: {each.reason}", ""))
            if len(listed) > _MOST_SHOWN:
                yield dim(f"and {len(listed) - _MOST_SHOWN} more {words}")
        elif listed:
            yield dim(f"{counted(len(listed), 'finding')} {words}")


def _skipped(judged: ValidationReport, everything: bool) -> Iterator[str]:
    reasons = dict.fromkeys(s.reason for s in judged.skipped)
    for reason in reasons:
        codes = [s.code for s in judged.skipped if s.reason == reason]
        few = everything or len(codes) <= _SHOWN
        listed = ", ".join(codes) if few else counted(len(codes), "rule")
        yield dim(item(f"skipped {listed}: {reason}", ""))


def verdict(judged: ValidationReport) -> str:
    """The last line: good, blocked or incomplete, and the counts."""
    kind = judged.kind.value if judged.kind else "no known model"
    word = click.style(judged.verdict.value, fg=_VERDICTS[judged.verdict], bold=True)
    return f"{word}: {visible(judged.location)} ({kind}), {', '.join(figures(judged))}"


_NOUNS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
