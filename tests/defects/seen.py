"""What Weighbridge itself says of a directory."""

from __future__ import annotations

from pathlib import Path

from weighbridge.application.validate import ValidateRequest
from weighbridge.entrypoints.container import build


def codes(directory: Path, base: Path | None = None) -> set[str]:
    """The rules that found something; raises AssertionError if one crashed."""
    beside = None if base is None else str(base)
    report = build().validate()(ValidateRequest(str(directory), base=beside))
    assert report.crashed == ()
    return {finding.code for finding in report.findings}
