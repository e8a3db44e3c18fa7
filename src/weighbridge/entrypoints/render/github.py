"""A report as annotations of GitHub Actions.

GitHub shows ten of each level for a step and drops the rest without a word, as it does what is
beyond the 4,096th character of a message. So the findings of one rule in one file are one
annotation, what is above ten is counted in the tenth, and lines are cut so that the remedy stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from attrs import frozen

from weighbridge.domain.findings import Finding, Severity, ValidationReport, shortened
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.places import file_path, said

_SHOWN_BY_GITHUB = 10
_SHOWN_OF_A_RULE = 5
_LONGEST_LINE = 500
_LONGEST = 4000
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


@frozen
class _Annotation:
    level: str
    title: str
    message: str
    path: str = ""
    count: int = 1

    def __str__(self) -> str:
        places = {"file": self.path, "title": self.title}
        named = ",".join(f"{k}={_property(v)}" for k, v in places.items() if v)
        return f"::{self.level} {named}::{_data(self.message)}"


def commands(judged: ValidationReport, root: str = "") -> str:
    """The workflow commands, the worst first. ``root`` see ``report_root``."""
    made = [*_unchecked(judged), *_found(judged.findings, root)]
    lines = []
    for level in _LEVELS.values():
        lines += [str(each) for each in _bounded([a for a in made if a.level == level])]
    return "\n".join(lines)


def _unchecked(judged: ValidationReport) -> Iterator[_Annotation]:
    for crash in judged.crashed:
        yield _Annotation("error", f"{visible(crash.code)} could not be run", _line(crash.error))
    for part in judged.unexamined:
        level = "notice" if part.chosen else "error"
        yield _Annotation(level, "not examined", _line(f"{part.what}: {part.reason}"))


def _line(text: str) -> str:
    return shortened(visible(text), _LONGEST)


def _found(findings: Sequence[Finding], root: str) -> Iterator[_Annotation]:
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.severity.value, finding.location.path, finding.code)
        groups.setdefault(key, []).append(finding)
    for group in groups.values():
        first, more = group[0], len(group) - _SHOWN_OF_A_RULE
        lines = [shortened(said(f), _LONGEST_LINE) for f in group[:_SHOWN_OF_A_RULE]]
        lines += [f"and {more} more"] if more > 0 else []
        yield _Annotation(
            _LEVELS[first.severity],
            f"{first.code} {first.name}",
            shortened("\n".join([*lines, f"fix: {first.remedy}"]), _LONGEST),
            visible(file_path(root, first.location.path)),
            len(group),
        )


def _bounded(made: Sequence[_Annotation]) -> Iterator[_Annotation]:
    if len(made) <= _SHOWN_BY_GITHUB:
        yield from made
        return
    yield from made[: _SHOWN_BY_GITHUB - 1]
    rest = made[_SHOWN_BY_GITHUB - 1 :]
    counts: Counter[str] = Counter()
    for each in rest:
        counts[each.title] += each.count
    listed = "\n".join(f"{count} x {title}" for title, count in counts.most_common())
    yield _Annotation(rest[0].level, f"{counts.total()} more", shortened(listed, _LONGEST))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
