"""Reports for programs: whatever a name in the artifact holds, each stays what it is."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import jsonschema
import pytest
from attrs import evolve
from hypothesis import example, given, strategies as st
from lxml import etree

from weighbridge.domain.contents import Unexamined
from weighbridge.domain.errors import PublicationBlocked
from weighbridge.domain.findings import (
    MOST_LISTED,
    Crashed,
    Finding,
    Location,
    Observation,
    Rule,
    Severity,
    Skipped,
    ValidationReport,
    Waived,
    WaivedBy,
    finding_of,
)
from weighbridge.domain.models import Kind
from weighbridge.domain.rules import CATALOGUE
from weighbridge.entrypoints.render import github, json as as_json, junit, markdown, sarif
from weighbridge.entrypoints.render.places import report_root
from weighbridge.entrypoints.render.report_text import report as as_text

HERE = Path(__file__).parents[1]
SARIF = jsonschema.Draft202012Validator(
    json.loads((HERE / "schemas" / "sarif-2.1.0.json").read_text())
)
JUNIT = [etree.XMLSchema(etree.parse(HERE / "schemas" / f"{name}.xsd"))
         for name in ("jenkins-junit", "junit-10")]  # fmt: skip
REPORT = jsonschema.Draft202012Validator(
    json.loads((HERE.parent / "schemas" / "v1" / "report.schema.json").read_text())
)
HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    "abc\u202edcba\u2066",
    "line\nbreak\r\n::error::fake",
    "::stop-commands::x",
    "  ::add-mask::x",
    "##[error]fake",
    "a::b,c=d%0A",
    "a|b\\|c||",
    "<script>alert(1)</script><!-- -->",
    "]]> & <a b='c'>",
    "`` ` ``` code",
    "`",
    "[click](https://evil.example) ![x](y)",
    "\\[click\\](https://evil.example)",
    "@everyone #1 www.evil.example",
    "\x00\ud800\uffff\ufffe",
    "../../etc/passwd",
    "/etc/passwd",
    " ",
]
BY_CODE = {rule.code: rule for rule in CATALOGUE}


def finding(
    code: str = "ST021", path: str = "w.safetensors", inside: str = "", said: str = "is odd",
    severity: Severity = Severity.ERROR,
) -> Finding:  # fmt: skip
    name = BY_CODE[code].name
    return Finding(code, name, severity, Location(path, inside), said, "Since.", "mend it",
                   {"name": said})  # fmt: skip


def judged(*findings: Finding, **more: Any) -> ValidationReport:
    ran = ("ST020", "ST021", "ST022", "FS017")
    return ValidationReport("run", Kind.LORA, findings, len(ran), ran=ran, **more)


def hostile(text: str) -> ValidationReport:
    found = finding(path=text, inside=text, said=text)
    return evolve(
        judged(
            found,
            crashed=(Crashed(text, text),),
            skipped=(Skipped("ST022", text),),
            unexamined=(Unexamined(text, text), Unexamined("x", text, chosen=True)),
            waived=(Waived(found, WaivedBy.EXCEPTION, text),),
        ),
        location=text,
    )


anything = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters()),
    st.lists(st.sampled_from([*HOSTILE, "a"])).map("".join),
)


def worst(test: Any) -> Any:
    """Each hostile name as it is, whatever Hypothesis draws."""
    for text in HOSTILE:
        test = example(text)(test)
    return test


def controls(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}


@worst
@given(anything)
def test_text_is_no_command_to_a_terminal_or_a_runner(text: str) -> None:
    shown = as_text(hostile(text), everything=True)
    ours = re.sub(r"\x1b\[\d*m", "", shown)
    assert not controls(ours) and "##[" not in ours
    assert not any(line.lstrip().startswith("::") for line in ours.splitlines())
    ours.encode()


@worst
@given(anything)
def test_json_is_ascii_and_says_exactly_what_was_found(text: str) -> None:
    said = as_json.dumps(as_json.report(hostile(text)))
    said.encode("ascii")
    assert "##" not in said
    document = json.loads(said)
    REPORT.validate(document)
    assert document["findings"][0]["path"] == text == document["location"]
    assert document["waived"][0]["reason"] == text


@worst
@given(anything)
def test_sarif_fits_the_schema_and_leads_nowhere_else(text: str) -> None:
    document = sarif.document(hostile(text), CATALOGUE, "models/a b")
    as_json.dumps(document).encode("ascii")
    SARIF.validate(document)
    [result] = document["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"models/a%20b(/[\w.~%-]+)*", uri, re.ASCII) and "/../" not in f"{uri}/"
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    assert unquote(uri, errors="surrogatepass") == "/".join(["models/a b", *parts])
    message = result["message"]["text"]
    assert not controls(message) and "\n" not in message
    # Every bracket has an odd number of backslashes before it.
    assert not re.search(r"(?<!\\)(\\\\)*[\[\]]", message)


@worst
@given(anything)
def test_junit_is_xml_with_one_case_for_each_thing(text: str) -> None:
    said = junit.xml(hostile(text), CATALOGUE)
    for schema in JUNIT:
        schema.assertValid(etree.fromstring(said.encode()))
    root = ElementTree.fromstring(said.encode())
    (suite,) = root
    cases = list(suite)
    assert len(cases) == int(suite.attrib["tests"]) == 4 + 1 + 1 + 2
    assert suite.attrib["failures"] == "1" and suite.attrib["errors"] == "2"
    assert suite.attrib["skipped"] == "2"
    assert not controls("".join(root.itertext())) and not controls(suite.attrib["name"])


@worst
@given(anything)
def test_annotations_are_ours_alone(text: str) -> None:
    lines = github.commands(hostile(text), "models").split("\n")
    assert len(lines) == 4
    for line in lines:
        assert re.fullmatch(r"::(error|warning|notice) [^\n\r]*", line)
        properties = line.split("::", 2)[1].split(" ", 1)[1]
        named = re.fullmatch(r"(file=([^,:]*),)?title=([^,:]*)", properties)
        assert named, properties
    assert all(not controls(line) for line in lines)
    assert not any("##[" in line for line in lines)


@worst
@given(anything)
def test_markdown_holds_it_in_code_spans(text: str) -> None:
    page = markdown.page(hostile(text))
    assert not controls(page)
    rows = [line for line in page.split("\n") if line.startswith("| error")]
    (row,) = rows
    assert row.count("|") == 5  # nothing ends a cell early
    # Without its code spans, as CommonMark finds them, the page is our own words.
    rest = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "CODE", page)
    assert "`" not in rest.replace("\\`", "")
    for word in ("<", "script", "http", "@", "::", "[click"):
        assert word not in rest


def secret(code: str, severity: Severity = Severity.ERROR) -> Rule:
    return evolve(BY_CODE["ST021"], code=code, name=f"n-{code.lower()}", severity=severity)


def test_sarif_as_code_scanning_wants_it() -> None:
    rules = [*CATALOGUE, secret("EX001"), secret("SC001", Severity.WARNING)]
    found = judged(finding(inside="t"), finding(inside="u", severity=Severity.INFO))
    document = sarif.document(evolve(found, ran=(*found.ran, "EX001", "SC001")), rules, "m")
    SARIF.validate(document)
    (run,) = document["runs"]
    described = {r["id"]: r for r in run["tool"]["driver"]["rules"]}
    assert set(described) == {"ST020", "ST021", "ST022", "FS017", "EX001", "SC001"}
    assert described["ST021"]["help"]["markdown"]
    assert described["ST021"]["defaultConfiguration"] == {"level": "error"}
    assert described["EX001"]["properties"]["security-severity"] == "9.5"
    assert described["SC001"]["properties"]["security-severity"] == "5.0"
    assert "security-severity" not in described["ST021"]["properties"]
    first, second = run["results"]
    assert [r["level"] for r in run["results"]] == ["error", "note"]
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == "ST021"
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "m/w.safetensors"},
        "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1},
    }
    assert first["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "t"
    assert first["partialFingerprints"] != second["partialFingerprints"]
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_keeps_to_what_code_scanning_takes() -> None:
    many = judged(*(finding(inside=str(i)) for i in range(5003)))
    (run,) = sarif.document(many, CATALOGUE)["runs"]
    assert len(run["results"]) == 5000
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert notes[0]["message"]["text"].startswith("3 more findings")


def test_sarif_is_what_code_scanning_takes_packed() -> None:
    """10 MB at most; names that nothing makes smaller, each another one."""
    chance = random.Random(1)

    def name(length: int) -> str:
        return base64.b64encode(chance.randbytes(length)).decode()

    codes = list(BY_CODE)
    found = [finding(codes[n % len(codes)], name(150), name(750), name(750)) for n in range(5000)]
    left_out = tuple(Unexamined.at(name(3000), name(3000)) for _ in range(1000))
    document = sarif.document(judged(*found, unexamined=left_out), CATALOGUE)
    assert len(gzip.compress(json.dumps(document, indent=2).encode(), 6)) < 10_000_000
    [run] = document["runs"]
    assert 3000 < len(run["results"]) < 5000
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert f"{5000 - len(run['results'])} more findings are not listed" in str(notes)


def test_sarif_says_what_could_not_be_checked() -> None:
    report = judged(crashed=(Crashed("ACME001", "boom"),))
    (invocation,) = sarif.document(report, CATALOGUE)["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "boom" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_a_case_of_junit_fails_only_if_it_blocks() -> None:
    report = judged(finding(), finding("FS017", severity=Severity.WARNING))
    suite = ElementTree.fromstring(junit.xml(report, CATALOGUE))[0]
    cases = {case.attrib["name"]: case for case in suite}
    assert list(cases) == [
        f"{code} {BY_CODE[code].name}" for code in ("FS017", "ST020", "ST021", "ST022")
    ]
    failed = cases[f"ST021 {BY_CODE['ST021'].name}"].find("failure")
    assert failed is not None and "fix: mend it" in (failed.text or "")
    milder = cases[f"FS017 {BY_CODE['FS017'].name}"]
    assert milder.find("failure") is None and milder.find("system-out") is not None


def test_annotations_are_ten_of_each_level_and_lose_nothing() -> None:
    found = [finding(path=f"{i:03}.safetensors") for i in range(25)]
    found += [finding(path="w", inside=f"t{i}", severity=Severity.WARNING) for i in range(30)]
    lines = github.commands(judged(*found)).split("\n")
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == 10 and len(lines) == 11
    assert errors[-1] == "::error title=16 more::16 x ST021 tensor-overlap"
    assert "t4: is odd%0Aand 25 more%0Afix: mend it" in lines[-1]


def test_markdown_is_cut_before_a_summary_is_full() -> None:
    many = judged(*(finding(inside="x" * 5000 + str(i)) for i in range(2000)))
    page = markdown.page(many)
    assert "and 1500 more" in page and len(page.encode()) < 1 << 20


@pytest.mark.parametrize(
    ("location", "root"),
    [
        ("runs/a", "runs/a"),
        ("./runs//a/", "runs/a"),
        ("/srv/here/runs/a", "runs/a"),
        (".", ""),
        ("..", ""),
        ("../a", ""),
        ("/elsewhere/a", ""),
        ("hf://acme/bot", ""),
    ],
)
def test_paths_are_told_from_where_one_stands_and_never_of_a_machine(
    location: str, root: str
) -> None:
    assert report_root(location, "/srv/here") == root


def many(count: int) -> ValidationReport:
    found = [finding(inside=f"t{n:06}") for n in range(count)]
    return judged(*found, finding("FS017", severity=Severity.WARNING))


def test_of_very_many_findings_the_first_are_listed_and_all_are_counted() -> None:
    report = many(MOST_LISTED + 7)
    document = as_json.report(report)
    assert document["counts"] == {"error": MOST_LISTED + 7, "warning": 1, "info": 0}
    assert len(document["findings"]) == MOST_LISTED + 1
    assert document["more_findings"] == {"ST021": 7}
    log = sarif.document(report, CATALOGUE)["runs"][0]
    assert len(log["results"]) == MOST_LISTED + 8
    log = sarif.document(many(7000), CATALOGUE)["runs"][0]
    assert len(log["results"]) == 5000 and log["results"][-1]["ruleId"] == "FS017"
    (note,) = log["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "2001 more findings are not listed"
    assert "and 7 more" in junit.xml(report, CATALOGUE)
    assert "and 987 more of ST021" in str(PublicationBlocked(report=report))


@pytest.mark.parametrize("render", [
    as_json.report, lambda r: sarif.document(r, CATALOGUE), lambda r: junit.xml(r, CATALOGUE),
    lambda r: str(PublicationBlocked(report=r)),
])  # fmt: skip
def test_a_report_does_not_grow_with_its_findings(render: Callable[[Any], Any]) -> None:
    begun = time.monotonic()
    sizes = [len(str(render(many(count)))) for count in (6 * MOST_LISTED, 30 * MOST_LISTED)]
    assert sizes[1] - sizes[0] < 100 and time.monotonic() - begun < 20


def test_waived_findings_are_notes_of_sarif_and_no_results() -> None:
    """Code scanning would show each as an open alert."""
    odd, known = finding(inside="odd"), finding(inside="known")
    waived = (Waived(odd, WaivedBy.EXCEPTION, "seen by B."), Waived(known, WaivedBy.BASELINE, "k"))
    document = sarif.document(judged(finding(inside="new"), waived=waived), CATALOGUE)
    SARIF.validate(document)
    [run] = document["runs"]
    assert len(run["results"]) == 1
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert {(n["level"], n["message"]["text"]) for n in notes} == {
        ("note", f"1 x {odd.code} waived, exception: seen by B."),
        ("note", f"1 x {odd.code} waived, baseline: k"),
    }


def test_a_summary_of_names_in_any_script_is_below_a_mebibyte() -> None:
    found = [
        finding(path="\U0001d54f" * 60, inside="\U0001d54f" * 5000 + str(n)) for n in range(900)
    ]
    left_out = tuple(Unexamined.at("\u6f22" * 900 + str(n), "deep") for n in range(30_000))
    report = judged(*found, unexamined=left_out)
    page = markdown.page(report)
    assert len(page.encode()) < 1 << 20 and "and 29900 more" in page and "| and " in page
    assert "### How to fix it" in page


def test_nothing_is_cut_from_an_annotation_by_the_runner() -> None:
    report = judged(*(finding(inside="n" * 9000 + str(n)) for n in range(9)))
    (line,) = github.commands(report).split("\n")
    message = line.split("::", 2)[2].replace("%0A", "\n")
    assert len(message) < 4096 and message.endswith("and 4 more\nfix: mend it")


def test_what_was_not_examined_is_counted_when_there_is_very_much_of_it() -> None:
    report = judged(unexamined=tuple(Unexamined.at(f"d/{n}", "deep") for n in range(50_000)))
    text = as_text(report)
    assert "and 49990 more not examined" in text and len(text) < 2000
    assert len(junit.xml(report, CATALOGUE)) < 300_000
    assert len(as_json.dumps(sarif.document(report, CATALOGUE))) < 300_000


def test_a_name_of_a_mebibyte_is_cut_where_the_finding_is_made() -> None:
    seen = Observation(Location("w", "n" * (1 << 20)), {"name": "n" * (1 << 20)})
    made = finding_of(evolve(BY_CODE["ST021"], template="{name}"), seen)
    assert made.location.inside.endswith("... (1048576 characters)")
    assert len(made.message) + len(made.location.inside) < 2100
