"""Findings, rules and reports: what a judgement of a model is made of.

A check yields facts; the message is the rule's template filled with them, so that JSON and text
cannot disagree. Policy decides what blocks, and is never read from the artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from weighbridge.domain.artifact import ModelArtifact
from weighbridge.domain.errors import StructureError
from weighbridge.domain.models import FusedModel, Kind, Model
from weighbridge.domain.survey import WeightSurvey


class Severity(Enum):
    """ERROR blocks publication; WARNING and INFO do not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def blocks(self) -> bool:
        """True if a finding of this severity blocks publication."""
        return self is Severity.ERROR

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


Fact: TypeAlias = str | int | float


@frozen
class Location:
    """Where: a file of the artifact ('' is the directory), and a tensor or JSON key in it."""

    path: str = ""
    inside: str = ""

    def __str__(self) -> str:
        return (self.path or ".") + (f": {self.inside}" if self.inside else "")


@frozen
class Observation:
    """What a check saw: a place and the facts for its rule's template."""

    location: Location
    facts: Mapping[str, Fact] = field(factory=dict)


class Need(Enum):
    """What a rule must have to be run; without it the rule is skipped with the reason."""

    SCAN = "the list of files"
    MODEL = "a readable model"
    SURVEY = "statistics of the weights"
    BASE = "the base model's config.json"
    CONFIG = "a config.json of a whole model, its own or the base's"


@frozen
class Subject:
    """Everything that rules may look at. ``base_config`` is the base's config.json if at hand, and
    ``base_licence`` what its card names; ``base_model`` and ``scale`` are what the caller said, and
    override the artifact."""

    artifact: ModelArtifact
    kind: Kind | None = None
    model: Model | None = None
    structure_error: StructureError | None = None
    survey: WeightSurvey | None = None
    base_config: Mapping[str, object] | None = None
    base_model: str | None = None
    scale: float | None = None
    base_licence: str | None = None

    def has(self, need: Need) -> bool:
        """True if ``need`` is met."""
        match need:
            case Need.SCAN:
                return True
            case Need.MODEL:
                return self.model is not None
            case Need.SURVEY:
                return self.survey is not None and self.model is not None
            case Need.BASE:
                return self.base_config is not None and self.model is not None
            case Need.CONFIG:
                whole = isinstance(self.model, FusedModel) or self.base_config is not None
                return whole and self.model is not None


Check: TypeAlias = Callable[[Subject], Iterable[Observation]]


@frozen
class Rule:
    """One cause with one remedy. ``code`` is stable for ever; ``template`` uses the facts' names.

    The check's docstring says what it checks and why that matters.
    """

    code: str
    name: str
    severity: Severity
    template: str
    remedy: str
    check: Check = field(repr=False, eq=False)
    need: Need = Need.SCAN
    kinds: frozenset[Kind] = frozenset(Kind)

    @property
    def why(self) -> str:
        """The check's docstring, as one paragraph."""
        return " ".join((self.check.__doc__ or "").split())


@frozen
class Finding:
    """One thing that a rule saw."""

    code: str
    name: str
    severity: Severity
    location: Location
    message: str
    why: str
    remedy: str
    facts: Mapping[str, Fact] = field(factory=dict)

    @property
    def where(self) -> str:
        """The location as text."""
        return str(self.location)


@frozen
class Skipped:
    """A rule that was not run, and why."""

    code: str
    reason: str


@frozen
class Crashed:
    """A rule that failed by itself; it blocks publication and hides no other finding."""

    code: str
    error: str


@frozen
class ValidationReport:
    """The judgement of one directory. Findings are sorted: the worst first, then by place."""

    location: str
    kind: Kind | None
    findings: tuple[Finding, ...]
    rules_run: int
    skipped: tuple[Skipped, ...] = ()
    crashed: tuple[Crashed, ...] = ()

    @property
    def overall_valid(self) -> bool:
        """True if nothing blocks publication."""
        return not self.crashed and not any(f.severity.blocks for f in self.findings)

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many findings of each severity."""
        return {s: sum(f.severity is s for f in self.findings) for s in Severity}


def _finding(rule: Rule, seen: Observation) -> Finding:
    return Finding(
        rule.code,
        rule.name,
        rule.severity,
        seen.location,
        rule.template.format(**seen.facts),
        rule.why,
        rule.remedy,
        dict(seen.facts),
    )


def judge(subject: Subject, rules: Iterable[Rule]) -> ValidationReport:
    """Run every applicable rule. A crashing rule is reported and stops no other."""
    findings: list[Finding] = []
    skipped, crashed, run = [], [], 0
    for rule in rules:
        if subject.kind is not None and subject.kind not in rule.kinds:
            continue
        if not subject.has(rule.need):
            skipped.append(Skipped(rule.code, f"needs {rule.need.value}"))
            continue
        run += 1
        try:
            findings += [_finding(rule, seen) for seen in rule.check(subject)]
        except Exception as error:  # a rule's bug must not hide what the others see
            crashed.append(Crashed(rule.code, f"{type(error).__name__}: {error}"))
    findings.sort(key=lambda f: (f.severity.rank, f.location.path, f.code, f.location.inside))
    return ValidationReport(
        subject.artifact.location,
        subject.kind,
        tuple(findings),
        run,
        tuple(skipped),
        tuple(crashed),
    )
