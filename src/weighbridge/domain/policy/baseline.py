"""The baseline: findings that were there before, so that only new ones block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.errors import UsageError
from weighbridge.domain.findings import Finding, ValidationReport, WaivedBy, sorted_findings
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.policy.selectors import is_protected

SCHEMA = "weighbridge/baseline/1"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


@frozen
class Baseline:
    """The fingerprints of known findings."""

    known: frozenset[str]

    @classmethod
    def parse(cls, document: Mapping[str, Any], place: str) -> Baseline:
        """Raises UsageError if it is no baseline, or holds what no baseline may."""
        entries = document.get("findings")
        if document.get("schema") != SCHEMA or not isinstance(entries, list):
            raise UsageError(
                problem=f"{place}: is no baseline ({SCHEMA}); write one with --write-baseline"
            )
        return cls(frozenset(_known(entry, f"{place}: findings[{i}]")
                             for i, entry in enumerate(entries)))  # fmt: skip


def _known(entry: object, place: str) -> str:
    code = entry.get("code") if isinstance(entry, dict) else None
    known = entry.get("fingerprint") if isinstance(entry, dict) else None
    if not isinstance(code, str) or not isinstance(known, str) or not _FINGERPRINT.fullmatch(known):
        raise UsageError(
            problem=f"{place}: needs a code, and a fingerprint of 32 hexadecimal digits"
        )
    if is_protected(code):
        raise UsageError(
            problem=f"{place}: {code} is about executable content or secrets, which no baseline "
            "covers; remove the entry, and what it is about"
        )
    return known


def baseline_of(report: ValidationReport) -> dict[str, Any]:
    """The document that makes everything in ``report`` known, apart from what no baseline may hold.

    What an earlier baseline waived stays known.
    """
    old = (w.finding for w in report.waived if w.by is WaivedBy.BASELINE)
    kept = [f for f in sorted_findings((*report.findings, *old)) if may_be_known(f)]
    return {
        "schema": SCHEMA,
        "findings": [
            {
                "code": finding.code,
                "path": finding.location.path,
                "inside": finding.location.inside,
                "message": finding.message,
                "fingerprint": mark,
            }
            for finding, mark in zip(kept, fingerprints(kept), strict=True)
        ],
    }


def may_be_known(finding: Finding) -> bool:
    """False for what no baseline covers."""
    return not is_protected(finding.code) and not finding.code.startswith("PO")
