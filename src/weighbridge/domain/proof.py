"""What a proof is: evidence, level by level, that a conversion kept the function.

Decides nothing about how a level is obtained; that is the business of the provers behind
``weighbridge.application.ports.Prover``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from attrs import frozen

Figure: TypeAlias = int | float | str


class ProofLevel(IntEnum):
    """How strong the evidence is; a higher level is stronger.

    ALGEBRA: every weight change computed from the written files equals the source's.
    BINDING: PEFT attaches every tensor to a module of the base's architecture.
    LOGITS: MLX with the LoRA and transformers with PEFT answer alike.
    """

    ALGEBRA = 1
    BINDING = 2
    LOGITS = 3

    @classmethod
    def parse(cls, name: str) -> ProofLevel:
        """The level of that (lower case) name. Raises KeyError for any other."""
        return cls[name.upper()]

    @property
    def label(self) -> str:
        """The lower-case name that reports and options use."""
        return self.name.lower()


@frozen
class ProofStep:
    """One level that was attempted: its verdict, its figures, and what went wrong."""

    level: ProofLevel
    passed: bool
    figures: tuple[tuple[str, Figure], ...] = ()
    problems: tuple[str, ...] = ()


@frozen
class Unattempted:
    """One level that could not be attempted here, and why."""

    level: ProofLevel
    reason: str


@frozen
class Proof:
    """All levels of one proof, attempted or not, weakest first."""

    steps: tuple[ProofStep, ...]
    unattempted: tuple[Unattempted, ...] = ()

    @property
    def passed(self) -> bool:
        """True if at least one level was attempted and none failed."""
        return bool(self.steps) and all(step.passed for step in self.steps)

    @property
    def level(self) -> ProofLevel | None:
        """The strongest level that passed; None if none did or any failed."""
        return max((step.level for step in self.steps), default=None) if self.passed else None

    def reaches(self, wanted: ProofLevel) -> bool:
        """True if the proof passed at ``wanted`` or a stronger level."""
        return self.level is not None and self.level >= wanted
