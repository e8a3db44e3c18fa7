"""Selectors: how a policy names rules, as people know it from ruff.

A selector is a code (ST021), the beginning of one (ST, ST0), a rule's name (tensor-overlap), or
ALL. Of two that fit, the more exact one wins.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from weighbridge.domain.findings import Rule

ALL = "ALL"
#: Rules on executable content and on secrets: they always run, no baseline, no ignored path and no
#: prefix covers them, and nothing lowers them but their own code said by the caller, or a lasting
#: exception for one file's digest.
PROTECTED_FAMILIES = frozenset({"EX", "SC"})
_EXACT = 1000


def family(code: str) -> str:
    """The letters of a code."""
    return code.rstrip("0123456789")


def is_protected(code: str) -> bool:
    """True for the rules that no file of a policy can turn off."""
    return family(code) in PROTECTED_FAMILIES


@frozen
class Named:
    """A rule by what selectors go by."""

    code: str
    name: str

    @classmethod
    def of(cls, rule: Rule) -> Named:
        """What selectors see of ``rule``."""
        return cls(rule.code, rule.name)


def exactness(selector: str, rule: Named) -> int:
    """How exactly ``selector`` names the rule; negative if it does not."""
    if selector in (rule.code, rule.name):
        return _EXACT
    if selector == ALL:
        return 0
    return len(selector) if selector and rule.code.startswith(selector) else -1


def most_exact(selectors: Iterable[str], rule: Named) -> int:
    """The exactness of the best of them; negative if none names the rule."""
    return max((exactness(s, rule) for s in selectors), default=-1)


def names_any(selector: str, rules: Iterable[Named]) -> bool:
    """True if ``selector`` names at least one of the rules."""
    return any(exactness(selector, rule) >= 0 for rule in rules)


def names_only_protected(selector: str, rules: Iterable[Named]) -> bool:
    """True if every rule that it names is one that no file of a policy can turn off."""
    return all(is_protected(r.code) for r in rules if exactness(selector, r) >= 0)


def is_on(rule: Named, select: Iterable[str], ignore: Iterable[str]) -> bool:
    """True if the rule is to be run. An empty ``select`` is ALL; what is as exactly ignored as
    selected is ignored."""
    unwanted = most_exact(ignore, rule)
    if is_protected(rule.code):
        return unwanted < _EXACT
    return most_exact(tuple(select) or (ALL,), rule) > unwanted
