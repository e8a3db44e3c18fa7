"""A validation report as text for people: file by file, the worst first, one rule's findings under
one head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import click

from weighbridge.domain.findings import (
    Finding,
    Severity,
    ValidationReport,
    Verdict,
    Waived,
    WaivedBy,
)
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


def report(judged: ValidationReport, *, everything: bool = False) -> str:
    """The answer of ``validate``. Of many findings of one rule the first are shown, unless
    ``everything`` is asked for."""
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


def _findings(findings: Sequence[Finding], everything: bool) -> Iterator[str]:
    explained: set[tuple[str, str, str]] = set()
    for path, groups in _files(findings).items():
        yield click.style(item(path or ".", ""), bold=True)
        for cause, group in groups.items():
            yield from _group(group, everything, cause not in explained)
            explained.add(cause)
        yield ""


def _files(
    findings: Sequence[Finding],
) -> dict[str, dict[tuple[str, str, str], list[Finding]]]:
    """By file, then by cause and remedy; each in the order of the first of them, the worst."""
    files: dict[str, dict[tuple[str, str, str], list[Finding]]] = {}
    for finding in findings:
        groups = files.setdefault(finding.location.path, {})
        groups.setdefault((finding.code, finding.why, finding.remedy), []).append(finding)
    return files


def _group(group: Sequence[Finding], everything: bool, explain: bool) -> Iterator[str]:
    first, shown = group[0], group if everything else group[:_SHOWN]
    head = f"{first.severity.value} {first.code}"
    yield f"  {click.style(head, fg=COLOURS[first.severity], bold=True)} {first.name}"
    for finding in shown:
        inside = finding.location.inside
        yield item((f"{inside}: " if inside else "") + finding.message, "    ")
    if more := len(group) - len(shown):
        yield f"    and {more} more; weighbridge validate -v lists all"
    if explain:
        yield from pairs((("why", first.why), ("fix", first.remedy)), "    ")


def _rest(judged: ValidationReport, everything: bool) -> Iterator[str]:
    for crash in judged.crashed:
        yield click.style(item(f"error {crash.code} could not be run", ""), fg="red", bold=True)
        yield from (item(crash.error), "")
    yield from _waived(judged.waived, everything)
    yield from _skipped(judged, everything)
    for part in judged.unexamined:
        line = item(f"not examined: {part.what}: {part.reason}", "")
        yield dim(line) if part.chosen else click.style(line, fg="yellow")
    yield verdict(judged)


def _waived(waived: Sequence[Waived], everything: bool) -> Iterator[str]:
    """An exception is always said with its reason; of the others, how many there are."""
    for by, words in _WAIVED.items():
        listed = [w for w in waived if w.by is by]
        if everything or by is WaivedBy.EXCEPTION:
            for each in listed:
                place = each.finding.where
                yield dim(item(f"{words} {each.finding.code}, {place}: {each.reason}", ""))
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
