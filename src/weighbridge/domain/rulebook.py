"""The rules that are in force: the catalogue, and those that other packages offer.

A package's rule must be told from ours for ever: two letters are ours, its codes have three or
more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from attrs import field, frozen

from weighbridge.domain.findings import Crashed, Need, Rule, Severity, words_of
from weighbridge.domain.models import Kind
from weighbridge.domain.policy.rules import POLICY_RULES
from weighbridge.domain.rules import CATALOGUE

_CODE = re.compile(r"[A-Z]{3,8}\d{3}")
_RESERVED = re.compile(r"[A-Z]{1,2}\d*")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class _Unsound(Exception):
    """A rule that cannot be taken in."""


@frozen
class Offer:
    """What an entry point gave: rules, a single one, or the error of loading it."""

    source: str
    content: object


@frozen
class Rulebook:
    """``rules`` are run; ``policy_rules`` are said about a policy; ``refused`` could not be taken
    in, which blocks publication as a crash does."""

    rules: tuple[Rule, ...] = field(default=CATALOGUE, repr=False)
    policy_rules: tuple[Rule, ...] = field(default=POLICY_RULES, repr=False)
    refused: tuple[Crashed, ...] = ()

    @property
    def all(self) -> tuple[Rule, ...]:
        """Every rule that a report may name."""
        return (*self.rules, *self.policy_rules)

    def find(self, key: str) -> Rule | None:
        """The rule of that code or name."""
        wanted = key.strip()
        return next((r for r in self.all if wanted.upper() == r.code or wanted == r.name), None)


def rulebook(offers: Iterable[Offer] = ()) -> Rulebook:
    """The catalogue with the sound ones of what is offered, whatever the order of the offers."""
    rules, refused = list(CATALOGUE), []
    for offer in sorted(offers, key=lambda o: o.source):
        for rule in _rules(offer.content):
            try:
                rules.append(_sound(rule, (*rules, *POLICY_RULES)))
            except _Unsound as problem:
                refused.append(Crashed(offer.source, str(problem)))
    return Rulebook(tuple(rules), POLICY_RULES, tuple(refused))


def _rules(content: object) -> tuple[object, ...]:
    return tuple(content) if isinstance(content, list | tuple) else (content,)


def _sound(rule: object, taken: Iterable[Rule]) -> Rule:
    """``rule`` if it can be taken in. Raises _Unsound; no type checker has seen it."""
    if isinstance(rule, BaseException):
        raise _Unsound(f"could not be loaded: {words_of(rule)}")
    if not isinstance(rule, Rule):
        raise _Unsound(f"is no rule, nor a list of rules, but {type(rule).__name__}")
    _check_code(rule.code)
    for other in taken:
        if other.code == rule.code or other.name == rule.name:
            raise _Unsound(f"{rule.code} {rule.name} is taken, by {other.code} {other.name}")
    _check_texts(rule.code, rule.name, rule.template, rule.remedy)
    _check_types(rule.code, rule.severity, rule.check)
    _check_subject(rule.code, rule.need, rule.kinds)
    return rule


def _check_code(code: object) -> None:
    if isinstance(code, str) and _CODE.fullmatch(code):
        return
    reserved = isinstance(code, str) and _RESERVED.fullmatch(code)
    said = "is in a family of Weighbridge's own" if reserved else "is no code"
    raise _Unsound(
        f"{code!r} {said}; a package's codes are three or more capital letters and three digits"
    )


def _check_texts(code: str, name: object, *texts: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Unsound(f"{code} needs a name such as tensor-overlap")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _Unsound(f"{code} needs a template and a remedy")


def _check_types(code: str, severity: object, check: object) -> None:
    if not isinstance(severity, Severity):
        raise _Unsound(f"{code} needs a Severity")
    if not callable(check) or not (check.__doc__ or "").strip():
        raise _Unsound(f"{code} needs a check, whose docstring says why it matters")


def _check_subject(code: str, need: object, kinds: object) -> None:
    if not isinstance(need, Need):
        raise _Unsound(f"{code} needs a Need, such as Need.MODEL")
    if not isinstance(kinds, Collection) or not all(isinstance(kind, Kind) for kind in kinds):
        raise _Unsound(f"{code} needs kinds, such as frozenset({{Kind.LORA}})")
