"""The dictionary that ``validate_model_artifacts`` has always promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from weighbridge.domain.errors import WeighbridgeError
from weighbridge.domain.findings import Finding, Severity, ValidationReport

_FAMILIES = {
    "config_valid": ("JS", "CF", "AD", "QT", "PE"),
    # What a header says of lengths and the file's size differ: truncated, padded, or no header.
    "reasonable_size": (
        *("FS014", "FS018", "ST001", "ST002", "ST019", "ST020", "ST022", "ST023", "ST024"),
    ),
    "no_placeholder_files": ("FS009", "ST003", "ST004"),
}


#: Of each list; the last line then says how many more there are.
_MOST_LINES = 1000


def _first(lines: Iterable[str]) -> list[str]:
    listed = list(lines)
    if len(listed) <= _MOST_LINES:
        return listed
    more = f"and {len(listed) - _MOST_LINES} more; weighbridge validate --format json lists all"
    return [*listed[:_MOST_LINES], more]


def _text(finding: Finding) -> str:
    return f"{finding.code} {finding.where}: {finding.message}"


def legacy_report(location: str, validate: Callable[[], ValidationReport]) -> dict[str, Any]:
    """The report of ``validate`` in the old shape."""
    try:
        report = validate()
    except (WeighbridgeError, OSError, ValueError) as error:
        return _nothing(str(error))
    missing = any("no such directory" in f.message or "not a directory" in f.message
                  for f in report.findings if f.code == "FS001")  # fmt: skip
    if missing:
        return _nothing(f"Directory does not exist: {location}")
    blocking = report.blocking
    checks = {"directory_exists": True, "has_model_files": report.kind is not None}
    for name, codes in _FAMILIES.items():
        checks[name] = report.kind is not None and not any(
            f.code.startswith(codes) for f in blocking
        )
    errors = [_text(f) for f in blocking] + [f"{c.code}: {c.error}" for c in report.crashed]
    errors += [f"{u.what}: {u.reason}" for u in report.unexamined if not u.chosen]
    warnings = [_text(f) for f in report.findings if f.severity is Severity.WARNING]
    return {
        "overall_valid": report.overall_valid,
        "checks": checks,
        "errors": _first(errors),
        "warnings": _first(warnings),
    }


def _nothing(error: str) -> dict[str, Any]:
    names = ("directory_exists", "has_model_files", *_FAMILIES)
    return {
        "overall_valid": False,
        "checks": dict.fromkeys(names, False),
        "errors": [error],
        "warnings": [],
    }
