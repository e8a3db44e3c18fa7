"""What counts for more once a file is to leave the machine.

A path below somebody's home is common in what a trainer writes, and harmless where it stays; so it
is a warning. In a file that ships as it is, it tells everybody a name.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve

from weighbridge.domain.findings import Finding, Severity, ValidationReport, sorted_findings
from weighbridge.domain.policy.policy import Policy

_HOMES = ("SC003", "home-path")


def about_to_leave(
    report: ValidationReport, ships: Collection[str], policy: Policy
) -> ValidationReport:
    """The report, in which home paths in files that ``ships`` are errors; unless the policy says
    what they count as."""
    if any(change.selector in _HOMES for change in policy.severities):
        return report
    return evolve(
        report,
        findings=sorted_findings(
            _raised(f) if f.code == _HOMES[0] and f.location.path in ships else f
            for f in report.findings
        ),
    )


def _raised(finding: Finding) -> Finding:
    remedy = f"{finding.remedy}; if it may be public, say --severity {finding.code}=warning"
    return evolve(finding, severity=Severity.ERROR, remedy=remedy)
