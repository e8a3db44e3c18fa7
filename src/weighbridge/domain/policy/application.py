"""Apply a policy to a report: what counts, what is waived, and which exceptions are stale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, field, frozen

from weighbridge.domain.contents import Unexamined
from weighbridge.domain.findings import (
    Finding,
    Location,
    Observation,
    Rule,
    ValidationReport,
    Waived,
    WaivedBy,
    finding_of,
    sorted_findings,
)
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.policy.baseline import Baseline, may_be_known
from weighbridge.domain.policy.globs import Globs
from weighbridge.domain.policy.policy import LastingException, Policy
from weighbridge.domain.policy.rules import EXPIRED, OTHER_BYTES, UNMATCHED
from weighbridge.domain.policy.selectors import Named, is_on

#: The rule by whose findings a policy names files that nobody looked at.
_NOT_EXAMINED = "FS019"


def wanted_digests(policy: Policy, report: ValidationReport) -> tuple[str, ...]:
    """The files whose sha256 decides if an exception holds, sorted."""
    seen = {(f.code, f.location.path) for f in report.findings}
    return tuple(sorted({e.path for e in policy.exceptions if (e.code, e.path) in seen}))


def apply(
    policy: Policy, report: ValidationReport, *, today: str, digests: Mapping[str, str]
) -> ValidationReport:
    """The report as ``policy`` sees it. ``today`` is YYYY-MM-DD; ``digests`` are the sha256 of
    files, in hexadecimal."""
    stated = tuple(
        evolve(f, severity=policy.severity(Named(f.code, f.name), f.severity))
        for f in report.findings
    )
    sieve = _Sieve(policy, today, digests)
    waived = [w for w in map(sieve.waived, stated) if w is not None]
    lifted = {id(w.finding) for w in waived}
    counting = [f for f in stated if id(f) not in lifted]
    counting += _about_exceptions(policy, report, today, digests)
    findings = sorted_findings(counting)
    known, findings = _split(policy.baseline, findings)
    return evolve(
        report,
        findings=findings,
        waived=(*sorted(waived, key=_order), *known),
        unexamined=tuple(_accepted(report.unexamined, findings)),
        fail_on=policy.fail_on,
    )


def _accepted(
    unexamined: tuple[Unexamined, ...], findings: tuple[Finding, ...]
) -> Iterator[Unexamined]:
    """Files that the policy wants no finding of are left out because it says so."""
    counting = {f.location.path for f in findings if f.code == _NOT_EXAMINED}
    for part in unexamined:
        accepted = part.path is not None and part.path not in counting
        yield evolve(part, chosen=part.chosen or accepted)


def _order(waived: Waived) -> tuple[str, str, str]:
    place = waived.finding.location
    return place.path, waived.finding.code, place.inside


@frozen
class _Sieve:
    policy: Policy
    today: str
    digests: Mapping[str, str]
    _ignored: dict[str, Globs] = field(factory=dict, init=False)

    def waived(self, finding: Finding) -> Waived | None:
        """Why the finding does not count; None if it does."""
        rule, path = Named(finding.code, finding.name), finding.location.path
        if finding.code not in self._ignored:
            self._ignored[finding.code] = self.policy.ignored_places(rule)
        if (pattern := self._ignored[finding.code].first(path)) is not None:
            return Waived(finding, WaivedBy.PATH, pattern)
        for exception in self.policy.exceptions:
            if self._holds(exception, finding):
                reason = f"{exception.reason} (until {exception.expires})"
                return Waived(finding, WaivedBy.EXCEPTION, reason)
        return None

    def _holds(self, exception: LastingException, finding: Finding) -> bool:
        return (
            (exception.code, exception.path) == (finding.code, finding.location.path)
            and self.today <= exception.expires
            and self.digests.get(exception.path) == exception.sha256
        )


def _split(
    baseline: Baseline | None, findings: tuple[Finding, ...]
) -> tuple[tuple[Waived, ...], tuple[Finding, ...]]:
    """What the baseline knows, and what is new. Numbered before anything is taken out, as when the
    baseline was written."""
    if baseline is None:
        return (), findings
    able = [f for f in findings if may_be_known(f)]
    marks = {id(f): mark for f, mark in zip(able, fingerprints(able), strict=True)}
    known = [f for f in findings if marks.get(id(f)) in baseline.known]
    lifted = {id(f) for f in known}
    new = tuple(f for f in findings if id(f) not in lifted)
    return tuple(Waived(f, WaivedBy.BASELINE, "known before") for f in known), new


def _about_exceptions(
    policy: Policy, report: ValidationReport, today: str, digests: Mapping[str, str]
) -> Iterator[Finding]:
    for exception in policy.exceptions:
        said = _problem(exception, report, today, digests)
        if said is None or not is_on(Named.of(said[0]), policy.select, policy.ignore):
            continue
        rule, facts = said
        seen = Observation(Location(exception.path), {"code": exception.code, **facts})
        found = finding_of(rule, seen)
        yield evolve(found, severity=policy.severity(Named.of(rule), rule.severity))


def _problem(
    exception: LastingException, report: ValidationReport, today: str, digests: Mapping[str, str]
) -> tuple[Rule, dict[str, str]] | None:
    """What is wrong with an exception. One whose rule was not run may still be needed."""
    if today > exception.expires:
        return EXPIRED, {"expires": exception.expires}
    places = {f.location.path for f in report.findings if f.code == exception.code}
    if exception.path not in places:
        missing = exception.code in report.ran
        return (UNMATCHED, {"reason": "the rule found nothing in that file"}) if missing else None
    actual = digests.get(exception.path)
    if actual != exception.sha256:
        return OTHER_BYTES, {"expected": exception.sha256, "actual": actual or "no digest"}
    return None
