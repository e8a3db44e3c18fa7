"""What proves a conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from weighbridge.application.ports.progress import Progress, no_progress
from weighbridge.domain.base_model import BaseModel

if TYPE_CHECKING:
    from weighbridge.domain.proof import ProofLevel, ProofStep


@frozen
class ProofRequest:
    """What a prover gets: local directories, the scale that MLX applied, what the base is, and the
    name of MLX's weights in ``source``.

    ``full_base`` is the base in full precision, if ``base`` is quantised: what users will load.
    ``copies`` are tensors of the PEFT file that are the base's own.
    """

    source: str
    converted: str
    base: str | None
    scale: float
    known: BaseModel = field(factory=BaseModel, repr=False)
    weights: str = "adapters.safetensors"
    full_base: str | None = None
    copies: frozenset[str] = frozenset()


class Prover(Protocol):
    """Evidence at one level, obtained from the files as written, not from the converter."""

    @property
    def level(self) -> ProofLevel:
        """The level that it gives."""

    def obstacle(self, request: ProofRequest) -> str | None:
        """Why the level cannot be attempted here; None if it can. Imports no vendor."""

    def prove(self, request: ProofRequest, progress: Progress = no_progress) -> ProofStep:
        """The verdict with its figures. A bad conversion is a failed step, not an exception; a
        temporary directory that cannot be kept is a StorageError.

        What takes more than a second tells ``progress`` where it is, from the calling thread.
        """
