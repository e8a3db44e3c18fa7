"""What a policy lets count, what it cannot turn off, and how it is read."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from weighbridge.domain.artifact import ModelArtifact, Scan
from weighbridge.domain.errors import UsageError
from weighbridge.domain.findings import (
    FailOn,
    Finding,
    Location,
    Observation,
    Rule,
    Severity,
    Subject,
    ValidationReport,
    Verdict,
    WaivedBy,
    judge,
)
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.models import Kind
from weighbridge.domain.policy.application import apply, wanted_digests
from weighbridge.domain.policy.baseline import Baseline, baseline_of
from weighbridge.domain.policy.globs import Globs, matches
from weighbridge.domain.policy.parsing import KEYS, from_table, overridden
from weighbridge.domain.policy.policy import LastingException, PathIgnore, Policy, SeverityChange
from weighbridge.domain.rulebook import Offer, rulebook
from weighbridge.domain.rules import CATALOGUE

TODAY, LATER, BEFORE = "2026-11-24", "2026-11-25", "2026-11-23"
SHA, OTHER_SHA = "a" * 64, "b" * 64
SUBJECT = Subject(ModelArtifact("run", Scan(())), kind=Kind.LORA)


def rule(code: str, *seen: Observation, severity: Severity = Severity.ERROR) -> Rule:
    def check(_subject: Subject) -> tuple[Observation, ...]:
        """Since it matters."""
        return seen

    name = f"rule-{code.lower()}"
    return Rule(code, name, severity, "is odd", "mend it", check)


def at(path: str, inside: str = "", **facts: Any) -> Observation:
    return Observation(Location(path, inside), facts)


FS, ST, WT = rule("FS001", at("a")), rule("ST001", at("w", "t")), rule("WT003", at("w"))
EX, SC = rule("EX002", at("m.py")), rule("SC001", at(".env"))
RULES = (FS, ST, WT, EX, SC)
WRITTEN: dict[str, Any] = {
    "code": "EX002", "path": "m.py", "sha256": SHA, "reason": "r", "expires": TODAY,
}  # fmt: skip


def judged(policy: Policy, *rules: Rule, **digests: str) -> ValidationReport:
    """As the use case does it."""
    report = judge(SUBJECT, policy.selected(rules or RULES))
    found = {p: digests[p.replace(".", "_")] for p in wanted_digests(policy, report)
             if p.replace(".", "_") in digests}  # fmt: skip
    return apply(policy, report, today=TODAY, digests=found)


def codes(report: ValidationReport) -> list[str]:
    return [f.code for f in report.findings]


@pytest.mark.parametrize(
    ("select", "ignore", "on"),
    [
        ((), (), "FS ST WT EX SC"),
        (("ST",), (), "ST EX SC"),
        (("S", "WT003"), (), "ST WT EX SC"),
        ((), ("FS", "rule-st001"), "WT EX SC"),
        (("FS001",), ("FS",), "FS EX SC"),
        (("FS",), ("FS001",), "EX SC"),
        (("FS001",), ("FS001",), "EX SC"),
        (("ALL",), ("ALL",), "EX SC"),
        (("FS",), ("E", "EX", "S", "ALL"), "FS EX SC"),
        (("FS",), ("EX002", "rule-sc001"), "FS"),
    ],
)
def test_which_rules_run(select: tuple[str, ...], ignore: tuple[str, ...], on: str) -> None:
    selected = Policy(select=select, ignore=ignore).selected(RULES)
    assert [r.code[:2] for r in selected] == on.split()


def test_a_package_s_code_that_begins_like_a_protected_family_is_not_protected() -> None:
    assert Policy(ignore=("ALL",)).selected([rule("SCAN001")]) == ()


@pytest.mark.parametrize(
    ("fail_on", "blocking", "verdict"),
    [
        (FailOn.ERROR, 1, Verdict.BLOCKED),
        (FailOn.WARNING, 2, Verdict.BLOCKED),
        (FailOn.INFO, 3, Verdict.BLOCKED),
        (FailOn.NEVER, 1, Verdict.BLOCKED),
    ],
)
def test_what_blocks(fail_on: FailOn, blocking: int, verdict: Verdict) -> None:
    rules = [rule(f"FS00{i}", at("a"), severity=s) for i, s in enumerate(Severity)]
    report = judged(Policy(fail_on=fail_on), *rules)
    assert len(report.blocking) == blocking and report.verdict is verdict
    mild = judged(Policy(fail_on=fail_on), rules[2])
    assert mild.overall_valid is (fail_on is not FailOn.INFO)


def test_the_most_exact_severity_counts_and_the_last_of_equals() -> None:
    policy = Policy(
        severities=(
            SeverityChange("FS001", Severity.INFO),
            SeverityChange("FS", Severity.WARNING),
            SeverityChange("ST", Severity.INFO),
            SeverityChange("ST", Severity.WARNING),
            SeverityChange("ALL", Severity.WARNING),
            SeverityChange("SC001", Severity.INFO),
        )
    )
    found = {f.code: f.severity for f in judged(policy).findings}
    assert found == {
        "EX002": Severity.ERROR,  # no prefix lowers it
        "ST001": Severity.WARNING,
        "WT003": Severity.WARNING,
        "FS001": Severity.INFO,
        "SC001": Severity.INFO,
    }


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.json", "a/b/config.json", True),
        ("a/*.json", "a/b/config.json", False),
        ("a/**", "a/b/config.json", True),
        ("a/**", "a", False),
        ("**/config.json", "config.json", True),
        ("**/b/*", "a/b/c", True),
        ("a?c", "abc", True),
        ("a?c/x", "a/c/x", False),
        ("[ab].txt", "a.txt", True),
        ("[!ab].txt", "a.txt", False),
        ("x/[!a]b", "x//b", False),
        (".", "", True),
        ("*", "", True),
        ("a.b", "axb", False),
        ("a(b|c)", "ab", False),
        ("config.json", "config.json.bak", False),
        ("**", "a/b", True),
        ("a/**/b", "a/b", True),
        ("**/a/**/b/*", "x/a/y/a/z/b/c", True),
        ("**/a/**/b/*", "x/a/y/b", False),
        ("*a*ab", "xaxxaab", True),
        ("a**b/c", "a/b/c", False),
        # What a file is called must not decide how long a policy takes.
        ("**/" * 12 + "x", "a/" * 63 + "y", False),
        ("*a" * 12 + "*b", "a" * 255, False),
    ],
)
def test_globs(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


@given(st.text(st.characters(exclude_characters="*?[]/"), min_size=1))
def test_a_plain_pattern_fits_itself_alone(text: str) -> None:
    assert matches(text, text) and not matches(text, text + "x")


def test_thousands_of_patterns_are_asked_at_once() -> None:
    globs = Globs(tuple(f"d{n}/**/x{n}*.txt" for n in range(3000)))
    assert globs.first("d2999/a/x2999.txt") == "d2999/**/x2999*.txt"
    assert all(globs.first(f"d{n}/a/y{n}.txt") is None for n in range(3000))


def test_ignored_paths_do_not_count_and_are_told() -> None:
    policy = Policy(path_ignores=(PathIgnore("w", ("ST",)), PathIgnore("*", ("EX002", "SC"))))
    report = judged(policy)
    assert codes(report) == ["SC001", "FS001", "EX002", "WT003"]
    (waived,) = report.waived
    assert (waived.finding.code, waived.by, waived.reason) == ("ST001", WaivedBy.PATH, "w")


EXCEPTION = LastingException("EX002", "m.py", SHA, "read", TODAY)


def test_an_exception_holds_for_the_bytes_until_its_last_day() -> None:
    report = judged(Policy(exceptions=(EXCEPTION,)), EX, m_py=SHA)
    assert report.findings == () and report.overall_valid
    assert report.waived[0].by is WaivedBy.EXCEPTION and "read" in report.waived[0].reason


@pytest.mark.parametrize(
    ("exception", "digest", "wanted"),
    [
        (evolve(EXCEPTION, expires=BEFORE), SHA, ["EX002", "PO001"]),
        (EXCEPTION, OTHER_SHA, ["EX002", "PO003"]),
        (EXCEPTION, "", ["EX002", "PO003"]),
        (evolve(EXCEPTION, path="n.py"), SHA, ["EX002", "PO002"]),
    ],
)
def test_an_exception_that_does_not_hold_is_a_finding(
    exception: LastingException, digest: str, wanted: list[str]
) -> None:
    report = judged(Policy(exceptions=(exception,)), EX, **({"m_py": digest} if digest else {}))
    assert codes(report) == wanted and not report.overall_valid
    about = report.findings[1]
    assert about.severity is Severity.WARNING and "EX002" in about.message
    assert about.location.path == exception.path


def test_an_exception_whose_rule_did_not_run_is_not_stale() -> None:
    assert judged(Policy(exceptions=(EXCEPTION,)), FS).findings == judged(Policy(), FS).findings


def test_what_is_said_of_exceptions_is_selected_and_weighed_as_any_rule() -> None:
    stale = evolve(EXCEPTION, path="n.py")
    assert codes(judged(Policy(exceptions=(stale,), ignore=("PO",)), EX)) == ["EX002"]
    raised = (SeverityChange("PO002", Severity.ERROR),)
    report = judged(Policy(exceptions=(stale,), severities=raised), EX)
    assert [f.severity for f in report.findings] == [Severity.ERROR, Severity.ERROR]


def test_only_what_is_new_counts() -> None:
    known = Baseline.parse(baseline_of(judged(Policy(), FS, ST)), "known.json")
    report = judged(Policy(baseline=known), FS, ST, WT)
    assert codes(report) == ["WT003"]
    assert [w.finding.code for w in report.waived] == ["FS001", "ST001"]
    again = baseline_of(report)
    assert [e["code"] for e in again["findings"]] == ["FS001", "ST001", "WT003"]


def test_no_baseline_covers_what_is_protected() -> None:
    document = baseline_of(judged(Policy()))
    assert {e["code"] for e in document["findings"]} == {"FS001", "ST001", "WT003"}
    (forged,) = fingerprints(judged(Policy(), EX).findings)
    assert codes(judged(Policy(baseline=Baseline(frozenset({forged}))), EX)) == ["EX002"]
    document["findings"].append({"code": "EX002", "fingerprint": forged})
    with pytest.raises(UsageError, match=r"known\.json: findings\[3\]: EX002 is about exec"):
        Baseline.parse(document, "known.json")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schema": "weighbridge/baseline/2", "findings": []},
        {"schema": "weighbridge/baseline/1"},
    ],
)
def test_what_is_no_baseline_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is no baseline"):
        Baseline.parse(document, "known.json")


def finding(path: str, **facts: Any) -> Finding:
    return Finding("FS001", "n", Severity.ERROR, Location(path), "m", "w", "r", facts)


def test_a_fingerprint_is_of_rule_place_and_words() -> None:
    marks = fingerprints(
        [
            finding("a", shard="x", size=1),
            finding("a", shard="x", size=2),  # numbered, as the numbers do not tell them apart
            finding("a", shard="y"),
            finding("b", shard="x"),
        ]
    )
    assert len(set(marks)) == 4
    assert fingerprints([finding("a", size=7, shard="x")]) == marks[:1]


# --- reading -------------------------------------------------------------------------------------


def test_every_key_is_read() -> None:
    table = {
        "select": ["ALL"],
        "ignore": ["FS", "rule-st001"],
        "fail-on": "warning",
        "severity": {"WT": "info", "EX002": "error"},
        "per-path-ignores": {"w/**": ["WT"]},
        "exceptions": [
            {"code": "rule-ex002", "path": "m.py", "sha256": SHA, "reason": "r", "expires": TODAY}
        ],
        "baseline": "known.json",
    }
    assert set(table) == set(KEYS)
    parsed = from_table(table, RULES, "weighbridge.toml")
    assert parsed.baseline == "known.json"
    assert parsed.policy == Policy(
        select=("ALL",),
        ignore=("FS", "rule-st001"),
        fail_on=FailOn.WARNING,
        severities=(SeverityChange("WT", Severity.INFO), SeverityChange("EX002", Severity.ERROR)),
        path_ignores=(PathIgnore("w/**", ("WT",)),),
        exceptions=(LastingException("EX002", "m.py", SHA, "r", TODAY),),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"ingore": []}, "ingore is no key; did you mean ignore?"),
        ({"fail_on": "error"}, "fail_on is no key; did you mean fail-on?"),
        ({"select": "ST"}, "select must be a list"),
        ({"select": [1]}, r"select\[0\] must be a rule"),
        ({"ignore": ["FS01"]}, r"ignore\[0\] is 'FS01', which names no rule; did you mean FS001?"),
        ({"ignore": ["rule-st01"]}, "did you mean rule-st001?"),
        ({"select": ["fs"]}, "did you mean FS?"),
        ({"ignore": ["EX"]}, r"ignore\[0\] is 'EX': rules on executable content"),
        ({"ignore": ["EX002"]}, "not turned off by a file"),
        ({"ignore": ["rule-sc001"]}, "not turned off by a file"),
        ({"per-path-ignores": {"*.py": ["EX002"]}}, r'per-path-ignores."\*.py"\[0\] is .EX002.: r'),
        ({"per-path-ignores": {"[z-a]": ["FS"]}}, "is no pattern"),
        ({"per-path-ignores": ["FS"]}, "per-path-ignores must be a table"),
        ({"severity": {"SC001": "warning"}}, r"severity.SC001 is .SC001.: rules on exec"),
        ({"severity": {"FS": "worning"}}, "did you mean warning?"),
        ({"severity": {"FS": ["error"]}}, r"severity.FS is \['error'\]"),
        ({"fail-on": True}, "fail-on is True; known are error"),
        ({"baseline": 3}, "baseline must be a text"),
        ({"exceptions": {}}, "exceptions must be a list"),
        ({"exceptions": [3]}, r"exceptions\[0\] must be a table"),
        (
            {"exceptions": [{"code": "EX"}]},
            r"exceptions\[0\].code is 'EX', which is no rule's code",
        ),
        ({"exceptions": [{"path": "../x"}]}, r"exceptions\[0\].path must be one file's path"),
        ({"exceptions": [{"sha256": "00"}]}, r"exceptions\[0\].sha256 must be the 64"),
        ({"exceptions": [{"expires": "soon"}]}, r"exceptions\[0\].expires must be a day"),
        ({"exceptions": [{"expire": TODAY}]}, "expire is no key; did you mean expires?"),
        ({"exceptions": [{}]}, r"exceptions\[0\].reason must say why"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(table: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        from_table(table, RULES, "weighbridge.toml")
    assert all(line.startswith("weighbridge.toml: ") for line in str(caught.value).splitlines())


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        from_table({"x": 1, "select": ["??"], "fail-on": 0}, RULES, "w.toml")
    assert len(str(caught.value).splitlines()) == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["EX002", "FS", TODAY]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner),
)


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_table_is_a_policy_or_a_usage_error(table: dict[str, Any]) -> None:
    with suppress(UsageError):
        policy = from_table(table, RULES, "w.toml").policy
        assert [r for r in policy.selected(RULES) if r in (EX, SC)] == [EX, SC]


def test_what_is_said_now_goes_before_the_file() -> None:
    filed = Policy(select=("FS",), ignore=("FS001",), fail_on=FailOn.WARNING,
                   severities=(SeverityChange("ST", Severity.INFO),))  # fmt: skip
    assert overridden(filed, RULES) == filed
    now = overridden(filed, RULES, select=["ST,WT", "SC"], ignore=["EX002"], fail_on="never",
                     severity=["ST=error,WT=info"])  # fmt: skip
    assert now.select == ("ST", "WT", "SC") and now.ignore == ("FS001", "EX002")
    assert now.fail_on is FailOn.NEVER and EX not in now.selected(RULES)
    assert now.severity(_named(ST), Severity.WARNING) is Severity.ERROR


def _named(of: Rule) -> Any:
    from weighbridge.domain.policy.selectors import Named

    return Named.of(of)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"ignore": ["EX"]}, "--ignore"),
        ({"select": ["XX"]}, "--select"),
        ({"severity": ["FS"]}, "expected RULE=LEVEL|expected CODE=LEVEL"),
        ({"severity": ["EX=info"]}, "rules on executable content"),
        ({"fail_on": "fatal"}, "--fail-on"),
    ],
)
def test_what_is_wrong_on_the_line(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        overridden(Policy(), RULES, **said)


def test_the_documented_configuration_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "choose-rules.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    table = tomllib.loads(block)["tool"]["weighbridge"]
    assert set(table) == set(KEYS)
    have = {r.code for r in CATALOGUE}
    named = [rule(c) for c in ("AD012", "EX002", "FS010", "WT001") if c not in have]
    assert from_table(table, (*CATALOGUE, *named), "w.toml").policy.exceptions[0].expires


# --- other packages' rules -----------------------------------------------------------------------


def test_sound_rules_of_a_package_are_taken_in() -> None:
    book = rulebook([Offer("b: x", [rule("ACME002")]), Offer("a: y", rule("ACME001"))])
    assert book.rules == (*CATALOGUE, rule("ACME001"), rule("ACME002")) and not book.refused
    assert book.find("acme001") == rule("ACME001") and book.find("PO001") is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (rule("ST999"), "Weighbridge's own"),
        (rule("ZZ001"), "Weighbridge's own"),
        (rule("EX"), "Weighbridge's own"),
        (rule("acme1"), "is no code"),
        (evolve(rule("ACME001"), name="symlink"), "is taken, by FS002 symlink"),
        (evolve(rule("ACME001"), name="Bad Name"), "needs a name"),
        (evolve(rule("ACME001"), remedy=" "), "needs a template and a remedy"),
        (evolve(rule("ACME001"), severity="error"), "needs a Severity"),
        (evolve(rule("ACME001"), check=lambda _s: ()), "docstring"),
        (evolve(rule("ACME001"), need="model"), "needs a Need"),
        (evolve(rule("ACME001"), kinds=None), "needs kinds"),
        (evolve(rule("ACME001"), kinds=["lora"]), "needs kinds"),
        ("rules", "is no rule, nor a list of rules, but str"),
        (ImportError("no acme"), "could not be loaded: ImportError: no acme"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_by_name(content: object, said: str) -> None:
    book = rulebook([Offer("acme: rules", [content, rule("ACME009")])])
    (refused,) = book.refused
    assert refused.code == "acme: rules" and said in refused.error
    assert book.rules[-1] == rule("ACME009")


def test_of_two_packages_with_one_code_the_first_by_name_has_it() -> None:
    first, second = Offer("a: x", rule("ACME001")), Offer("b: x", rule("ACME001"))
    assert rulebook([first, second]) == rulebook([second, first])
    assert [r.code for r in rulebook([second, first]).refused] == ["b: x"]


def crashing(error: BaseException) -> Rule:
    def check(_subject: Subject) -> Any:
        """Since."""
        yield at("before")
        raise error

    return evolve(rule("ACME001"), check=check)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), RecursionError()], ids=repr)
def test_a_crash_hides_nothing_and_is_no_pass(error: BaseException) -> None:
    mild = evolve(crashing(error), severity=Severity.INFO)
    report = judged(Policy(fail_on=FailOn.NEVER), mild, WT)
    assert codes(report) == ["WT003", "ACME001"] and [c.code for c in report.crashed] == ["ACME001"]
    alone = judged(Policy(), mild)
    assert alone.verdict is Verdict.INCOMPLETE and not alone.overall_valid


@pytest.mark.parametrize(
    "seen",
    [
        at("a", x=[1]),
        at("a", x=None),
        Observation(Location(3)),
        Observation(Location("a", b"b")),
        7,
    ],
)
def test_what_no_report_can_hold_is_a_crash_of_its_rule(seen: Any) -> None:
    report = judged(Policy(), rule("ACME001", seen), FS)
    assert codes(report) == ["FS001"] and len(report.crashed) == 1


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"ignore": [""]}, r"ignore\[0\] is '', which names no rule"),
        ({"select": [""]}, "names no rule"),
        ({"per-path-ignores": {"*": [""]}}, "names no rule"),
        ({"ignore": ["E"]}, "not turned off"),
        ({"per-path-ignores": {"!a": ["FS"]}}, "begins with !"),
        ({"per-path-ignores": {"/a": ["FS"]}}, "is absolute"),
        ({"per-path-ignores": {"C:/a": ["FS"]}}, "is absolute"),
        ({"per-path-ignores": {"../a": ["FS"]}}, "empty part"),
        ({"per-path-ignores": {"./a": ["FS"]}}, "empty part"),
        ({"per-path-ignores": {"a/": ["FS"]}}, "empty part"),
        ({"per-path-ignores": {"": ["FS"]}}, "empty part"),
        ({"per-path-ignores": {"a\\b": ["FS"]}}, "backslash"),
        ({"exceptions": [{**WRITTEN, "reason": 5}]}, r"exceptions\[0\]\.reason"),
        ({"exceptions": [{**WRITTEN, "path": ["a"]}]}, r"exceptions\[0\]\.path"),
        ({"exceptions": [{**WRITTEN, "sha256": int("1" * 64)}]}, r"exceptions\[0\]\.sha256"),
        ({"exceptions": [{**WRITTEN, "expires": "2027-02-29"}]}, r"exceptions\[0\]\.expires"),
    ],
)
def test_what_could_be_in_force_nowhere_is_no_policy(table: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_table(table, CATALOGUE, "weighbridge.toml")


def test_a_digest_in_capitals_is_the_same() -> None:
    table = {"exceptions": [{**WRITTEN, "sha256": "AB" * 32, "expires": "2028-02-29"}]}
    (found,) = from_table(table, CATALOGUE, "weighbridge.toml").policy.exceptions
    assert found.sha256 == "ab" * 32
