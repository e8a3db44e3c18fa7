"""Findings, rules and reports: what a judgement of a model is made of.

A check yields facts; the message is the rule's template filled with them, so that JSON and text
cannot disagree. Policy decides what blocks, and is never read from the artifact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import UnionType
from typing import TypeAlias

from attrs import field, frozen

from weighbridge.domain.artifact import Manifest, ModelArtifact
from weighbridge.domain.contents import Unexamined
from weighbridge.domain.errors import StructureError
from weighbridge.domain.measures import BesideBase, Measure
from weighbridge.domain.models import FusedModel, Kind, LoraModel, Model, PeftModel
from weighbridge.domain.survey import WeightSurvey
from weighbridge.domain.templates import Template
from weighbridge.domain.tokenizer import TokenizerBuild, TokenizerView


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


class FailOn(Enum):
    """The mildest severity that blocks; NEVER leaves the exit code of ``validate`` alone, and
    blocks publication as ERROR does."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"

    def blocks(self, severity: Severity) -> bool:
        """True if a finding of ``severity`` blocks publication."""
        mildest = Severity.ERROR if self is FailOn.NEVER else Severity(self.value)
        return severity.rank <= mildest.rank


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
    BASE_WEIGHTS = "the base model's weights"


@frozen
class Subject:
    """Everything that rules may look at. ``base_config`` is the base's config.json if at hand,
    and ``base_licence`` what its card names;
    ``base_model`` and ``scale`` are what the caller said, and override the artifact.
    ``templates`` are the chat templates, examined; ``tokenizer`` is that of a sound tokenizer.json
    or vocab.json, ``tokenizer_build`` what comes of building it, ``tokenizer_files`` the bytes of
    merges.txt and tokenizer.model, and ``base_tokenizer`` the base's if at hand. With the base's
    weights, ``changes`` are those of an adapter, measured, and ``beside_base`` says how a whole
    model differs."""

    artifact: ModelArtifact
    kind: Kind | None = None
    model: Model | None = None
    structure_error: StructureError | None = None
    survey: WeightSurvey | None = None
    base_config: Mapping[str, object] | None = None
    base_model: str | None = None
    scale: float | None = None
    templates: tuple[Template, ...] = ()
    tokenizer: TokenizerView | None = None
    tokenizer_build: TokenizerBuild = field(factory=TokenizerBuild)
    tokenizer_files: Mapping[str, bytes] = field(factory=dict, repr=False)
    base_tokenizer: TokenizerView | None = None
    base_licence: str | None = None
    changes: tuple[Measure, ...] | None = None
    beside_base: BesideBase | None = None

    @property
    def lora(self) -> LoraModel:
        """The model, for rules of that kind alone."""
        assert isinstance(self.model, LoraModel)
        return self.model

    @property
    def fused(self) -> FusedModel:
        """The model, for rules of that kind alone."""
        assert isinstance(self.model, FusedModel)
        return self.model

    @property
    def peft(self) -> PeftModel:
        """The model, for rules of that kind alone."""
        assert isinstance(self.model, PeftModel)
        return self.model

    def beside_model(self, path: str) -> bool:
        """True for a file in the model's own directory. What else lies in a run is not published:
        people keep their data and scripts there, beside adapters/."""
        directory = self.model.directory if self.model else ""
        return not directory or path.startswith(f"{directory}/")

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
            case Need.BASE_WEIGHTS:
                return self.changes is not None or self.beside_base is not None


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
    """A rule that failed by itself, or could not be loaded (then ``code`` names who offers it);
    it blocks publication and hides no other finding."""

    code: str
    error: str


class WaivedBy(Enum):
    """What in the policy says that a finding does not count."""

    PATH = "per-path-ignores"
    EXCEPTION = "exception"
    BASELINE = "baseline"


@frozen
class Waived:
    """A finding that the policy does not count, and why."""

    finding: Finding
    by: WaivedBy
    reason: str


class Verdict(Enum):
    """INCOMPLETE says that nothing bad was found, but not everything could be looked at."""

    GOOD = "good"
    BLOCKED = "blocked"
    INCOMPLETE = "incomplete"


@frozen
class ValidationReport:
    """The judgement of one directory. Findings are sorted: the worst first, then by place.

    ``ran`` are the codes of the rules that were run, ``ignored`` of those that the policy left out.
    ``manifest`` has the files that were judged whole, with the digests of the bytes that were.
    """

    location: str
    kind: Kind | None
    findings: tuple[Finding, ...]
    rules_run: int
    skipped: tuple[Skipped, ...] = ()
    crashed: tuple[Crashed, ...] = ()
    waived: tuple[Waived, ...] = ()
    unexamined: tuple[Unexamined, ...] = ()
    ran: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.ERROR
    manifest: Manifest = field(factory=lambda: Manifest(()))

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that block publication."""
        return tuple(f for f in self.findings if self.fail_on.blocks(f.severity))

    @property
    def verdict(self) -> Verdict:
        """BLOCKED comes before INCOMPLETE."""
        if self.blocking:
            return Verdict.BLOCKED
        return Verdict.GOOD if self.complete else Verdict.INCOMPLETE

    @property
    def complete(self) -> bool:
        """True if no rule crashed and all was looked at that the caller did not leave out."""
        return not self.crashed and all(part.chosen for part in self.unexamined)

    @property
    def overall_valid(self) -> bool:
        """True if nothing blocks publication: no finding, no crash, nothing left unexamined."""
        return self.verdict is Verdict.GOOD

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many findings of each severity."""
        counts = Counter(f.severity for f in self.findings)
        return {severity: counts[severity] for severity in Severity}


#: No name of a tensor or key that anybody gave is longer; a hostile header has one of 25 MB.
_LONGEST = 1000


def shortened(text: str, most: int = _LONGEST) -> str:
    """``text``, or its beginning and how long it is."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _demand(values: Iterable[object], kind: type | UnionType) -> None:
    """What another package's rule gives has passed no type checker."""
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} in an observation is not {kind}")


def finding_of(rule: Rule, seen: Observation) -> Finding:
    """What ``rule`` says of what it saw. Raises TypeError if that is not what a rule may give."""
    location, facts = seen.location, dict(seen.facts)
    _demand((location.path, location.inside, *facts), str)
    _demand(facts.values(), str | int | float)
    location = Location(location.path, shortened(location.inside))
    facts = {k: shortened(v) if isinstance(v, str) else v for k, v in facts.items()}
    return Finding(
        rule.code,
        rule.name,
        rule.severity,
        location,
        rule.template.format(**facts),
        rule.why,
        rule.remedy,
        facts,
    )


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, then by place; the same for any order that they were found in."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                f.severity.rank,
                f.location.path,
                f.code,
                f.location.inside,
                f.message,
            ),
        )
    )


#: So many findings of one rule are listed; a hostile header alone can have a hundred thousand.
MOST_LISTED = 1000


def first_of_each(
    findings: Iterable[Finding], most: int = MOST_LISTED
) -> tuple[tuple[Finding, ...], Mapping[str, int]]:
    """The first findings of each rule, in order, and by code how many more there are."""
    counts: Counter[str] = Counter()
    shown = []
    for finding in findings:
        counts[finding.code] += 1
        if counts[finding.code] <= most:
            shown.append(finding)
    return tuple(shown), {code: n - most for code, n in sorted(counts.items()) if n > most}


def words_of(error: BaseException) -> str:
    """What went wrong in another's code, in a line or so, whatever its error says of itself."""
    name = type(error).__name__
    try:
        return shortened(f"{name}: {error}")
    except Exception:
        return f"{name}, which cannot be written"


def judge(subject: Subject, rules: Iterable[Rule]) -> ValidationReport:
    """Run every applicable rule. A crashing rule is reported and stops no other."""
    findings: list[Finding] = []
    skipped, crashed, ran = [], [], []
    for rule in rules:
        if subject.kind is not None and subject.kind not in rule.kinds:
            continue
        if not subject.has(rule.need):
            skipped.append(Skipped(rule.code, f"needs {rule.need.value}"))
            continue
        ran.append(rule.code)
        try:
            for seen in rule.check(subject):
                findings.append(finding_of(rule, seen))
        # A rule's bug must not hide what the others see, nor what it has seen itself so far; and
        # one that calls exit() must not decide how we end.
        except (Exception, SystemExit, GeneratorExit) as error:
            crashed.append(Crashed(rule.code, words_of(error)))
    return ValidationReport(
        subject.artifact.location,
        subject.kind,
        sorted_findings(findings),
        len(ran),
        tuple(skipped),
        tuple(crashed),
        ran=tuple(ran),
    )
