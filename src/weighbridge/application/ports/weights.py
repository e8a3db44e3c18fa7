"""What computes with weights: converts, makes, measures and compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from weighbridge.application.ports.files import Reader
from weighbridge.application.ports.progress import Buffer

if TYPE_CHECKING:
    from weighbridge.domain.checkpoints.checkpoint import PlannedWeight
    from weighbridge.domain.checkpoints.module_weights import Changed, Twins, Vectors
    from weighbridge.domain.measures import Alike, Measure, Offset
    from weighbridge.domain.proof import ProofStep
    from weighbridge.domain.survey import TensorStats
    from weighbridge.domain.tensor_plan import ConversionPlan
    from weighbridge.domain.tensors import Header, TensorSpec


class TensorSource(Protocol):
    """Bytes of the source's tensors, by name, as little-endian row-major data."""

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from byte ``offset`` of tensor ``name``."""


class Converter(Protocol):
    """Carries out a conversion plan."""

    def run(
        self, plan: ConversionPlan, source: TensorSource
    ) -> Iterator[tuple[TensorSpec, Iterator[Buffer]]]:
        """Each planned tensor in plan order, as chunks in row-major order.

        An operation that is not supported raises NotConvertible before the first yield. A chunk is
        valid until the next one is asked for; peak memory is bounded by a band, not by a tensor.
        """


@frozen
class Sources:
    """What a checkpoint is made from. ``changes`` has the patches' blocks, ``model`` all others."""

    model: TensorSource
    changes: TensorSource


class WeightMaker(Protocol):
    """Makes the tensors of a checkpoint. Arithmetic is in float32, rounded to nearest even."""

    def run(
        self, weights: Sequence[PlannedWeight], sources: Sources
    ) -> AbstractContextManager[Iterator[tuple[TensorSpec, Iterator[Buffer]]]]:
        """Each planned tensor in order, as chunks in row-major order.

        A chunk is valid until the next one is asked for. Raises NotConvertible, with the tensor,
        as soon as a value is not finite or too large for the target's dtype. Memory is a few bands
        of rows and the factors of one LoRA; of a weight that is stored transposed, one tensor.

        Leaving the context ends all work and reading, whatever was not asked for. (A generator
        with threads that the garbage collector finds would wait for them in any thread at all.)
        """


class WeightProver(Protocol):
    """Evidence that a checkpoint is what its plan says, from the files as written."""

    def prove(
        self, weights: Sequence[PlannedWeight], sources: Sources, written: TensorSource
    ) -> ProofStep:
        """The verdict with its figures; a wrong value is a failed step, not an exception.

        Computes a sample of the rows of every tensor anew, in float64, without the maker's code.
        """


class Surveyor(Protocol):
    """Statistics of weights in one pass."""

    def survey(
        self,
        reader: Reader,
        header: Header,
        *,
        advance: Callable[[int], None],
        sink: Callable[[memoryview], object] | None = None,
    ) -> Mapping[str, TensorStats]:
        """Statistics of every tensor, by name. ``advance`` is told of bytes read.

        ``sink`` is handed every byte of the file, in order: what it makes a digest of is what the
        statistics are of. What it is handed is valid until it returns.
        """


class ChangeMeter(Protocol):
    """How much a LoRA changes weights, and what became of that, from a sample of their rows."""

    def measure(
        self, changed: Sequence[Changed], sources: Sources, made: TensorSource | None = None
    ) -> Iterator[Measure]:
        """The sums for each, in order; ``made`` holds what was made of the weights.

        The same rows for the same shapes. What is not finite makes the sums so, and is no error.
        """

    def offsets(
        self, vectors: Sequence[Vectors], base: TensorSource, made: TensorSource
    ) -> Iterator[Offset]:
        """How each vector lies beside the base's, in order; of the whole vectors."""

    def likeness(
        self, matrices: Sequence[Twins], base: TensorSource, made: TensorSource
    ) -> Iterator[Alike]:
        """How each matrix is like the base's, in order."""


@frozen
class Distance:
    """How far a tensor moved: elements that ``changed``, the ``largest`` difference of a value, and
    the norm of all differences ``relative`` to the norm before. None where values mean nothing."""

    changed: int
    largest: float | None = None
    relative: float | None = None


class Comparer(Protocol):
    """Compares two tensors of one dtype and shape."""

    def distance(self, dtype: str, pairs: Iterable[tuple[bytes, bytes]]) -> Distance:
        """From chunks of whole elements, old and new, of equal length; each is read once."""
