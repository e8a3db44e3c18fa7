"""A report as JUnit's XML: a case for each rule, which fails if a finding of it blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from weighbridge.domain.contents import Unexamined
from weighbridge.domain.findings import MOST_LISTED, Finding, Rule, ValidationReport
from weighbridge.domain.policy.selectors import family
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.places import said

# What even an escaped character of XML 1.0 may not be; ``visible`` has written out the others.
_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def xml(judged: ValidationReport, rules: Iterable[Rule]) -> str:
    """The document. ``rules`` are all that there are."""
    found: dict[str, list[Finding]] = {}
    for finding in judged.findings:
        found.setdefault(finding.code, []).append(finding)
    suite = Element("testsuite", name=_clean(judged.location))
    for rule in rules:
        if rule.code in judged.ran or found.get(rule.code):
            _case(suite, rule, found.get(rule.code, []), judged)
    names = {rule.code: rule.name for rule in rules}
    for skipped in judged.skipped:
        case = _new_case(suite, skipped.code, names.get(skipped.code, ""))
        _skipped(case, skipped.reason)
    for crash in judged.crashed:
        case = _new_case(suite, crash.code, names.get(crash.code, ""))
        SubElement(case, "error", message=_clean(crash.error), type="crash")
    for part in judged.unexamined[:MOST_LISTED]:
        _unexamined(suite, part)
    if (more := len(judged.unexamined) - MOST_LISTED) > 0:
        _unexamined(suite, Unexamined(f"{more} more", "see --format json"))
    return _document(suite)


def _new_case(suite: Element, code: str, name: str) -> Element:
    group = f"weighbridge.{family(code)}" if name else "weighbridge"
    return SubElement(suite, "testcase", classname=group, name=_clean(f"{code} {name}".strip()))


def _skipped(case: Element, reason: str) -> None:
    # As text: an attribute is unknown to the schema that JUnit's own reports are held against.
    SubElement(case, "skipped").text = _clean(reason)


def _case(suite: Element, rule: Rule, found: list[Finding], judged: ValidationReport) -> None:
    if any(crash.code == rule.code for crash in judged.crashed) and not found:
        return  # its case says that it crashed
    case = _new_case(suite, rule.code, rule.name)
    blocking = [f for f in found if judged.fail_on.blocks(f.severity)]
    if blocking:
        first = blocking[0]
        failure = SubElement(
            case, "failure", message=_clean(_line(first)), type=first.severity.value
        )
        failure.text = _text(blocking)
    milder = [f for f in found if not judged.fail_on.blocks(f.severity)]
    if milder:
        SubElement(case, "system-out").text = _text(milder)


def _line(finding: Finding) -> str:
    return f"{visible(finding.location.path) or '.'}: {said(finding)}"


def _text(found: list[Finding]) -> str:
    lines = [_line(finding) for finding in found[:MOST_LISTED]]
    lines += [f"and {len(found) - MOST_LISTED} more"] if len(found) > MOST_LISTED else []
    ends = [f"why: {found[0].why}", f"fix: {found[0].remedy}"]
    return _clean("\n".join([*lines, *ends]), keep_lines=True)


def _unexamined(suite: Element, part: Unexamined) -> None:
    case = _new_case(suite, f"examined: {part.what}", "")
    if part.chosen:
        _skipped(case, part.reason)
    else:
        SubElement(case, "error", message=_clean(part.reason), type="not examined")


def _clean(text: str, *, keep_lines: bool = False) -> str:
    shown = visible(text, keep_lines=keep_lines)
    return _IMPOSSIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", shown)


def _document(suite: Element) -> str:
    counts = {
        "tests": len(suite),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for name, count in counts.items():
        suite.set(name, str(count))
    root = Element("testsuites", name="weighbridge")
    root.append(suite)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode")
