"""What the caller decides, as one value."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from weighbridge.domain.findings import FailOn, Rule, Severity
from weighbridge.domain.policy.baseline import Baseline
from weighbridge.domain.policy.globs import Globs
from weighbridge.domain.policy.selectors import (
    Named,
    exactness,
    is_on,
    is_protected,
    most_exact,
)


@frozen
class PathIgnore:
    """Rules that do not count for the paths of a pattern."""

    pattern: str
    selectors: tuple[str, ...]


@frozen
class LastingException:
    """One finding of one rule in one file, as long as the file's bytes are these; ``expires`` is
    the last day that it holds, as YYYY-MM-DD."""

    code: str
    path: str
    sha256: str
    reason: str
    expires: str


@frozen
class SeverityChange:
    """Rules that count as ``severity``; of several that fit, the most exact one decides."""

    selector: str
    severity: Severity


@frozen
class Policy:
    """Which rules run, which findings count and what blocks. Empty, it is the catalogue's own."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.ERROR
    severities: tuple[SeverityChange, ...] = ()
    path_ignores: tuple[PathIgnore, ...] = ()
    exceptions: tuple[LastingException, ...] = ()
    baseline: Baseline | None = field(default=None, repr=False)

    def selected(self, rules: Iterable[Rule]) -> tuple[Rule, ...]:
        """The rules that are to be run, in their order."""
        return tuple(r for r in rules if is_on(Named.of(r), self.select, self.ignore))

    def ignored_places(self, rule: Named) -> Globs:
        """Where findings of ``rule`` do not count; nowhere, of those on executable content."""
        if is_protected(rule.code):
            return Globs(())
        listed = (p for p in self.path_ignores if most_exact(p.selectors, rule) >= 0)
        return Globs(tuple(p.pattern for p in listed))

    def severity(self, rule: Named, usual: Severity) -> Severity:
        """What a finding of ``rule`` counts as. A prefix lowers no rule on executable content."""
        best, decided = -1, usual
        for change in self.severities:
            exact = exactness(change.selector, rule)
            guarded = is_protected(rule.code) and change.selector not in (rule.code, rule.name)
            if exact >= max(best, 0) and not (guarded and change.severity.rank > usual.rank):
                best, decided = exact, change.severity
        return decided
