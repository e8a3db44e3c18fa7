"""PO: what is wrong with the policy itself. These are made when it is applied, not by a check."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.findings import Observation, Rule, Severity, Subject

_REVIEW = "look at the file again; then renew the exception, or remove it and repair the file"


def _expired(_subject: Subject) -> Iterator[Observation]:
    """An exception holds until a day; after it what it covered counts again."""
    yield from ()


def _unmatched(_subject: Subject) -> Iterator[Observation]:
    """An exception that covers nothing hides the next defect of its kind."""
    yield from ()


def _other_bytes(_subject: Subject) -> Iterator[Observation]:
    """An exception is for the bytes that somebody looked at, not for the name of the file."""
    yield from ()


EXPIRED = Rule("PO001", "exception-expired", Severity.WARNING,
               "the exception from {code} expired on {expires}", _REVIEW, _expired)  # fmt: skip
UNMATCHED = Rule("PO002", "exception-unmatched", Severity.WARNING,
                 "the exception from {code} covers nothing here: {reason}",
                 "remove the exception from the policy", _unmatched)  # fmt: skip
OTHER_BYTES = Rule("PO003", "exception-other-bytes", Severity.WARNING,
                   "the exception from {code} is for other bytes (sha256 {expected}); "
                   "these have {actual}", _REVIEW, _other_bytes)  # fmt: skip
POLICY_RULES = (EXPIRED, UNMATCHED, OTHER_BYTES)
