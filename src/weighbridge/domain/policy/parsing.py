"""From what a file or a command line says to a policy; every problem at once, with its place.

Reads nothing: the caller parses TOML and loads the baseline that ``baseline`` names.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from attrs import define, evolve, field, frozen

from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import UsageError
from weighbridge.domain.findings import FailOn, Rule, Severity
from weighbridge.domain.policy.globs import problem_with
from weighbridge.domain.policy.policy import (
    LastingException,
    PathIgnore,
    Policy,
    SeverityChange,
)
from weighbridge.domain.policy.selectors import (
    Named,
    family,
    names_any,
    names_only_protected,
)

KEYS = ("baseline", "exceptions", "fail-on", "ignore", "per-path-ignores", "select", "severity")
_EXCEPTION_KEYS = ("code", "expires", "path", "reason", "sha256")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAY = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}")
_WORDS = re.compile(r"[\s,]+")


@frozen
class Parsed:
    """A policy, and the baseline that a file names beside it."""

    policy: Policy
    baseline: str | None = None


def from_table(table: Mapping[str, Any], rules: Iterable[Rule], place: str) -> Parsed:
    """The policy of a table such as ``[tool.weighbridge]``; ``place`` says where that is.

    Raises UsageError with every unknown key, unknown rule and wrong type.
    """
    reader = _Reader(tuple(map(Named.of, rules)), place, in_file=True)
    for key in table.keys() - set(KEYS):
        reader.problem(str(key), f"is no key{_nearest(key, KEYS)}; known are {', '.join(KEYS)}")
    policy = Policy(
        select=reader.selectors(table.get("select", []), "select"),
        ignore=reader.selectors(table.get("ignore", []), "ignore", lifts=True),
        fail_on=reader.word(table.get("fail-on", "error"), FailOn, "fail-on") or FailOn.ERROR,
        severities=reader.severities(table.get("severity", {})),
        path_ignores=reader.path_ignores(table.get("per-path-ignores", {})),
        exceptions=reader.exceptions(table.get("exceptions", [])),
    )
    baseline = reader.text(table["baseline"], "baseline") if "baseline" in table else None
    reader.finish()
    return Parsed(policy, baseline)


def overridden(
    policy: Policy,
    rules: Iterable[Rule],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: str | FailOn | None = None,
    severity: Sequence[str] = (),
) -> Policy:
    """``policy`` with what the caller says now: ``select`` and ``fail_on`` replace, ``ignore`` and
    ``severity`` (CODE=LEVEL) add. Raises UsageError as ``from_table``."""
    reader = _Reader(tuple(map(Named.of, rules)), "", in_file=False)
    chosen = reader.selectors(_split(select), "--select")
    more = reader.selectors(_split(ignore), "--ignore", lifts=True)
    changes = tuple(reader.change(text) for text in _split(severity))
    level = fail_on if isinstance(fail_on, FailOn) else policy.fail_on
    if isinstance(fail_on, str):
        level = reader.word(fail_on, FailOn, "--fail-on") or level
    reader.finish()
    return evolve(
        policy,
        select=chosen or policy.select,
        ignore=(*policy.ignore, *more),
        fail_on=level,
        severities=(*policy.severities, *(c for c in changes if c is not None)),
    )


def _split(given: Iterable[str]) -> list[str]:
    """``A,B`` and ``A`` ``B`` are the same."""
    return [word for text in given for word in _WORDS.split(text) if word]


def _nearest(word: object, known: Iterable[str]) -> str:
    names = list(known)
    close = [name for name in names if name.lower() == str(word).lower()]
    close = close or get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _is_day(text: str) -> bool:
    """True for a day that there is, as YYYY-MM-DD."""
    if not _DAY.fullmatch(text):
        return False
    year, month, day = map(int, text.split("-"))
    return 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]


@define
class _Reader:
    """Takes values apart and gathers what is wrong with them."""

    rules: tuple[Named, ...]
    place: str
    in_file: bool
    problems: list[str] = field(factory=list)

    def problem(self, key: str, what: str) -> None:
        """Keep one problem for ``finish``."""
        self.problems.append(f"{self.place}: {key} {what}" if self.place else f"{key}: {what}")

    def finish(self) -> None:
        """Raises UsageError if there were problems."""
        if self.problems:
            raise UsageError(problem="\n".join(sorted(self.problems)))

    def text(self, value: object, key: str) -> str:
        """A text that is not empty."""
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f"must be a text, not {value!r}")
            return ""
        return value

    def word(self, value: object, words: type[Any], key: str) -> Any:
        """A member of an enumeration, or None."""
        known = [str(each.value) for each in words]
        if value in known:
            return words(value)
        self.problem(key, f"is {value!r}{_nearest(value, known)}; known are {', '.join(known)}")
        return None

    def _listed(self, value: object, key: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, list):
            self.problem(key, f"must be a list, not {value!r}")
            return
        yield from ((f"{key}[{index}]", each) for index, each in enumerate(value))

    def _table(self, value: object, key: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.problem(key, f"must be a table, not {value!r}")
        return {}

    def selectors(self, value: object, key: str, *, lifts: bool = False) -> tuple[str, ...]:
        """Selectors that name rules; those that lift rules may not name protected ones."""
        checked = (self.selector(v, where, lifts=lifts) for where, v in self._listed(value, key))
        return tuple(found for found in checked if found is not None)

    def selector(self, value: object, key: str, *, lifts: bool = False) -> str | None:
        """One selector."""
        if not isinstance(value, str):
            self.problem(key, f'must be a rule, such as "ST021", not {value!r}')
            return None
        if not names_any(value, self.rules):
            words = [w for r in self.rules for w in (r.code, r.name, family(r.code))]
            near = _nearest(value, words) or _nearest(value.upper(), words)
            self.problem(key, f"is {value!r}, which names no rule{near}")
            return None
        return value if not lifts or self._may_lift(value, key) else None

    def _may_lift(self, selector: str, key: str) -> bool:
        """Rules on executable content and secrets are lifted by their own code, said now."""
        exact = next((r for r in self.rules if selector in (r.code, r.name)), None)
        if not names_only_protected(selector, self.rules) or (exact and not self.in_file):
            return True
        self.problem(
            key,
            f"is {selector!r}: rules on executable content and secrets are not turned off "
            "by a file or a prefix; use an exception for that file's sha256, or --ignore CODE",
        )
        return False

    def severities(self, value: object) -> tuple[SeverityChange, ...]:
        """The table of severities."""
        table = self._table(value, "severity")
        found = [self._severity(s, level, f"severity.{s}") for s, level in table.items()]
        return tuple(change for change in found if change is not None)

    def change(self, text: str) -> SeverityChange | None:
        """CODE=LEVEL, as on a command line."""
        selector, equals, level = text.partition("=")
        if not equals:
            self.problem("--severity", f"is {text!r}; expected CODE=LEVEL")
            return None
        return self._severity(selector, level, f"--severity {selector}")

    def _severity(self, selector: str, level: object, key: str) -> SeverityChange | None:
        severity = self.word(level, Severity, key)
        lowers = severity is not None and severity is not Severity.ERROR
        named = self.selector(selector, key, lifts=lowers)
        return SeverityChange(named, severity) if named and severity else None

    def path_ignores(self, value: object) -> tuple[PathIgnore, ...]:
        """The table of patterns and what is ignored there."""
        found = []
        for pattern, selectors in self._table(value, "per-path-ignores").items():
            key = f'per-path-ignores."{pattern}"'
            if problem := problem_with(pattern):
                self.problem(key, problem)
            found.append(PathIgnore(pattern, self.selectors(selectors, key, lifts=True)))
        return tuple(found)

    def exceptions(self, value: object) -> tuple[LastingException, ...]:
        """The list of lasting exceptions."""
        return tuple(self._exception(v, key) for key, v in self._listed(value, "exceptions"))

    def _exception(self, value: object, key: str) -> LastingException:
        table = self._table(value, key)
        for each in table.keys() - set(_EXCEPTION_KEYS):
            self.problem(f"{key}.{each}", f"is no key{_nearest(each, _EXCEPTION_KEYS)}")
        said = {k: self._said(table, k) for k in _EXCEPTION_KEYS}
        code = self._code(said["code"], f"{key}.code")
        if ArtifactPath.problem_with(said["path"]):
            self.problem(f"{key}.path", "must be one file's path inside the artifact")
        sha256 = said["sha256"].lower()  # PowerShell writes capitals
        if not _SHA256.fullmatch(sha256):
            self.problem(f"{key}.sha256", "must be the 64 hexadecimal digits of that file's sha256")
        if not said["reason"].strip():
            self.problem(f"{key}.reason", "must say why")
        if not _is_day(said["expires"]):
            self.problem(f"{key}.expires", "must be a day, such as 2027-03-31")
        return LastingException(code, said["path"], sha256, said["reason"], said["expires"])

    def _said(self, table: Mapping[str, Any], key: str) -> str:
        """A text of an exception; '' for anything else, which says nothing."""
        value = table.get(key, "")
        # TOML has days of its own, and times, which are written otherwise.
        return str(value) if isinstance(value, str) or key == "expires" else ""

    def _code(self, value: str, key: str) -> str:
        """The code of exactly one rule, said by code or name."""
        for rule in self.rules:
            if value in (rule.code, rule.name):
                return rule.code
        near = _nearest(value, (r.code for r in self.rules))
        self.problem(key, f"is {value!r}, which is no rule's code or name{near}")
        return ""
