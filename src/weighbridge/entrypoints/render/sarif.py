"""A report as SARIF 2.1.0, as GitHub's code scanning takes it.

It shows a place only with a line, and weights have none: every region is the first line, and the
tensor or key is a logical location. It takes 5,000 results at most; the worst come first. What it
says of a rule it cuts at 1,024 characters, and it takes 10 MB at most, packed by gzip.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import metadata
from itertools import islice
from typing import Any

from weighbridge.domain.findings import (
    MOST_LISTED,
    Finding,
    Rule,
    Severity,
    ValidationReport,
    first_of_each,
    shortened,
)
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.policy.selectors import family
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.places import file_path, said, uri

_MOST_RESULTS = 5000
_LONGEST = 990
_LONGEST_NAME, _LONGEST_NOTE = 250, 500
#: gzip makes four fifths of the worst that ASCII can hold.
_MOST_BYTES = 11_000_000
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
#: How bad an error of these families is, from 0 to 10; GitHub sorts security alerts by it.
_SECURITY = {"EX": "9.5", "SC": "9.0", "CT": "8.0"}
_MILDER = {Severity.WARNING: "5.0", Severity.INFO: "2.0"}


def document(judged: ValidationReport, rules: Iterable[Rule], root: str = "") -> dict[str, Any]:
    """The log with one run. ``rules`` are all that there are; ``root`` see ``report_root``."""
    named = set(judged.ran) | {f.code for f in judged.findings}
    listed = [rule for rule in rules if rule.code in named]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(judged, listed, root)]}


def _run(judged: ValidationReport, rules: Sequence[Rule], root: str) -> dict[str, Any]:
    about = metadata("weighbridge")
    addresses = dict(_project_urls(about.get_all("Project-URL") or ()))
    home = addresses.get("Documentation", "")
    index = {rule.code: number for number, rule in enumerate(rules)}
    results = list(_fitting(_result(f, mark, index.get(f.code), root)
                            for f, mark in _marked(judged.findings)))  # fmt: skip
    driver: dict[str, Any] = {
        "name": "Weighbridge",
        "semanticVersion": about["Version"],
        "rules": [_rule(rule, home) for rule in rules],
    }
    if "Homepage" in addresses:
        driver["informationUri"] = addresses["Homepage"]
    return {
        "tool": {"driver": driver},
        "invocations": [_invocation(judged, len(results))],
        "results": results,
        "columnKind": "unicodeCodePoints",
    }


def _listed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """As many as are taken; the commonest rule leaves room for all others."""
    most = max(Counter(f.code for f in findings).values(), default=0)
    return first_of_each(findings, max(MOST_LISTED, _MOST_RESULTS - len(findings) + most))[0]


def _marked(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    """The findings that are listed, with their fingerprints among all."""
    listed = _listed(findings)
    marks = {id(f): mark for f, mark in zip(findings, fingerprints(findings), strict=True)}
    return [(finding, marks[id(finding)]) for finding in listed]


def _fitting(results: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """As many as are taken, by number and size."""
    left = _MOST_BYTES
    for result in islice(results, _MOST_RESULTS):
        left -= len(json.dumps(result))
        if left < 0:
            return
        yield result


def _waived(judged: ValidationReport) -> Iterator[str]:
    """What the policy waives, and who says so. No results with ``suppressions``: code scanning
    knows none, and would show each as an open alert."""
    found = Counter((w.finding.code, w.by.value, w.reason) for w in judged.waived)
    for (code, by, reason), count in sorted(found.items()):
        yield f"{count} x {code} waived, {by}: {reason}"


def _project_urls(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        label, _, address = line.partition(",")
        yield label.strip(), address.strip()


def _rule(rule: Rule, home: str) -> dict[str, Any]:
    fix = f"To fix it: {rule.remedy}"
    described: dict[str, Any] = {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": f"{rule.name.replace('-', ' ').capitalize()}."},
        "fullDescription": {"text": shortened(rule.why, _LONGEST)},
        "help": {
            "text": f"{rule.why} {fix}",
            "markdown": f"{rule.why}\n\n**How to fix it:** {rule.remedy}\n\n"
            f"`weighbridge explain {rule.code}` prints this.",
        },
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": _properties(rule),
    }
    if home:
        anchor = f"{rule.code}-{rule.name}".lower()
        described["helpUri"] = f"{home.rstrip('/')}/rules.md#{anchor}"
    return described


def _properties(rule: Rule) -> dict[str, Any]:
    secure = _SECURITY.get(family(rule.code))
    if secure is None:
        return {"tags": ["model"]}
    secure = _MILDER.get(rule.severity, secure)
    return {"tags": ["model", "security"], "security-severity": secure}


def _result(finding: Finding, mark: str, index: int | None, root: str) -> dict[str, Any]:
    place = finding.location
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri(file_path(root, place.path))},
            "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1},
        }
    }
    if place.inside:
        name = shortened(visible(place.inside), _LONGEST_NAME)
        location["logicalLocations"] = [{"name": name, "fullyQualifiedName": name}]
    result = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": _plain(f"{shortened(said(finding))}. To fix it: {finding.remedy}")},
        "locations": [location],
        # GitHub knows only the first of these names.
        "partialFingerprints": {"primaryLocationLineHash": f"{mark}:1", "weighbridge/v1": mark},
    }
    return result if index is None else result | {"ruleIndex": index}


def _bounded(notes: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(notes) - MOST_LISTED
    return [*notes[:MOST_LISTED], *([("warning", f"and {more} more")] if more > 0 else [])]


def _plain(text: str) -> str:
    """No text of an artifact makes a link: in SARIF's messages brackets do."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _invocation(judged: ValidationReport, listed: int) -> dict[str, Any]:
    notes = [("error", f"{c.code} could not be run: {c.error}") for c in judged.crashed]
    notes += [
        ("note" if part.chosen else "warning", f"not examined: {part.what}: {part.reason}")
        for part in judged.unexamined
    ]
    notes = [*_bounded(notes), *_bounded([("note", said) for said in _waived(judged)])]
    if (more := len(judged.findings) - listed) > 0:
        notes.append(("warning", f"{more} more findings are not listed"))
    said = [
        {"level": level, "message": {"text": _plain(shortened(visible(text), _LONGEST_NOTE))}}
        for level, text in notes
    ]
    return {"executionSuccessful": judged.complete, "toolExecutionNotifications": said}
