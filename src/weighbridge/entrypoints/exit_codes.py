"""The one place that decides exit codes. docs/exit-codes.md lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.domain.errors import (
    ArtifactChanged,
    NotAnOutput,
    NotConvertible,
    OutputExists,
    ProofFailed,
    PublicationBlocked,
    UsageError,
    WeighbridgeError,
)

if TYPE_CHECKING:
    from weighbridge.domain.findings import ValidationReport
    from weighbridge.domain.publication import PublicationPlan

GOOD, BLOCKED, USAGE, UNREADABLE, STORAGE, INCOMPLETE, PENDING = 0, 1, 2, 3, 4, 5, 6


def exit_code(error: WeighbridgeError) -> int:
    """1 blocked by findings or proof, 2 usage, 3 no readable model, 4 storage or registry, 5 if
    nothing bad was found but not everything could be checked."""
    from weighbridge.domain.errors import ArtifactError

    match error:
        case PublicationBlocked(report=report) if not report.blocking:
            return INCOMPLETE
        case PublicationBlocked() | ProofFailed() | NotConvertible():
            return BLOCKED
        case ArtifactChanged():  # A plan stays out of date; else whoever tries again may succeed.
            return BLOCKED if error.planned else STORAGE
        case UsageError() | OutputExists() | NotAnOutput():
            return USAGE
        case ArtifactError():
            return UNREADABLE
        case _:
            return STORAGE


def plan_code(plan: PublicationPlan) -> int:
    """The exit code of ``plan --detailed-exitcode``: 6 if there is something to do."""
    return GOOD if plan.does_nothing else PENDING


def report_code(report: ValidationReport) -> int:
    """The exit code of ``validate``: what is bad comes before what could not be checked, and
    ``--fail-on never`` lifts only the former."""
    from weighbridge.domain.findings import FailOn, Verdict

    if report.kind is None:
        return UNREADABLE
    match report.verdict:
        case Verdict.GOOD:
            return GOOD
        case Verdict.BLOCKED if report.fail_on is not FailOn.NEVER:
            return BLOCKED
        case Verdict.BLOCKED:
            return GOOD if report.complete else INCOMPLETE
        case Verdict.INCOMPLETE:
            return INCOMPLETE
