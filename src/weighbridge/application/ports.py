"""The ports: what the use cases demand of the outside. The docstrings are the contract.

Every implementation, fakes included, runs the contract suites in ``tests/contracts``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from attrs import field, frozen

from weighbridge.domain.base_model import BaseModel

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry, Scan
    from weighbridge.domain.checkpoints.checkpoint import PlannedWeight
    from weighbridge.domain.checkpoints.module_weights import Changed, Twins, Vectors
    from weighbridge.domain.measures import Alike, Measure, Offset
    from weighbridge.domain.proof import ProofLevel, ProofStep
    from weighbridge.domain.publication import (
        Destination,
        PublicationPlan,
        Receipt,
        RemoteHead,
        Revision,
    )
    from weighbridge.domain.signature import Identity, Signed
    from weighbridge.domain.survey import TensorStats
    from weighbridge.domain.templates import Hazard
    from weighbridge.domain.tensor_plan import ConversionPlan
    from weighbridge.domain.tensors import Header, TensorSpec
    from weighbridge.domain.tokenizer import TokenizerBuild

Buffer: TypeAlias = bytes | bytearray | memoryview
#: Called with a stage's name, what is done and what there is to do, in bytes or items. The same
#: again is a sign of life, and a stage that stops short of its total gives way to the next.
Progress: TypeAlias = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


class Reader(Protocol):
    """One open file; reads are exact or fail."""

    @property
    def size(self) -> int:
        """Bytes at the time of opening."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset``. Raises StorageError if so many bytes are not there."""


class Stage(Protocol):
    """A directory in the making: invisible until committed, gone if not."""

    @property
    def root(self) -> str:
        """Where the staged files can be scanned and read, as any other directory."""

    def require_names(self, paths: Iterable[ArtifactPath]) -> None:
        """Raise now what ``write`` would raise later for any of these names, in an empty stage.

        PathConflict also if two of them, different as they are, are one to this file system.
        """

    def require_room(self, size: int) -> None:
        """Raise StorageFull now if ``size`` bytes in all are more than there is room for, besides
        what can be taken over from a stage before."""

    def write(
        self,
        path: ArtifactPath,
        chunks: Iterable[Buffer],
        *,
        digest: bool = False,
        expected: int = 0,
        known: Digest | None = None,
    ) -> ManifestEntry:
        """Write one file, consuming ``chunks`` once and keeping none of them.

        Returns path and size of what was written, and its sha256 if ``digest``. ``expected`` bytes,
        if so many are known to come, may be set aside before the first is asked for. If ``chunks``
        raises, the error passes through and the file is not part of the stage. Raises PathConflict
        if the path, or a prefix of it, is already a file there; StorageFull, StorageDenied.

        If a stage that this one resumes left ``expected`` bytes at the path whose sha256 is
        ``known``, they are taken over, and ``chunks`` are not asked for.
        """

    def keep(self) -> None:
        """If there is no commit, leave the files that are whole to the next stage that resumes."""

    def commit(self, *, replace: bool = False, only: ArtifactPath | None = None) -> None:
        """Make the whole directory appear at the target, by one rename; or ``only`` one file of it.

        With ``replace`` an existing target is exchanged for it. What returned survives a power
        failure, and one in the middle leaves the old state or the new. Raises PathConflict if the
        target exists and ``replace`` is False; then nothing has changed.
        """


class FileSystem(Protocol):
    """Directories by location; files by artifact path below one. Never follows a symlink."""

    def scan(self, root: str) -> Scan:
        """All files below ``root``, sorted. Symlinks and special files are reported as irregular.

        Raises PathMissing if there is nothing, PathConflict if it is no directory.
        """

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``offset``, exactly; -1 means to the end.

        Raises PathMissing, or StorageError if so many bytes are not there.
        """

    def open(self, root: str, path: ArtifactPath) -> AbstractContextManager[Reader]:
        """The file for ranged reads. Raises PathMissing."""

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        """The file as a new binary stream, which the caller closes. Raises PathMissing."""

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        """A stage that commits to ``target``; None gives scratch room that is never committed.

        Leaving the context without a commit removes everything, whatever the exception, but for
        what is kept. With ``resume`` it can take over what was kept for the target before, or left
        by a process that died; without it, both are removed.
        """


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


class TokenizerBuilder(Protocol):
    """Builds tokenizers as loaders do, to see if they can."""

    def build(self, raw: bytes) -> TokenizerBuild:
        """What comes of a tokenizer.json; hostile bytes are a problem, never an exception.

        Time and memory are bounded.
        """


class TemplateReader(Protocol):
    """Reads a chat template without running it."""

    def hazards(self, text: str) -> Iterable[Hazard]:
        """What its syntax tree shows; hostile text is a hazard too, never an exception.

        Time is linear in the size, of which the caller bounds the most.
        """


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


class GgufType(Enum):
    """Number format of a GGUF file's tensors, by the name that llama.cpp's converter gives it."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"


@frozen
class GgufRequest:
    """``converted``: a directory with a PEFT LoRA; ``base``: one with the base's config.json.

    ``name`` is what the file calls the model if the card does not; None: the directory's name.
    """

    converted: str
    base: str
    name: str | None = None
    outtype: GgufType = GgufType.F32


class GgufWriter(Protocol):
    """Makes the GGUF file that llama.cpp and Ollama load as a LoRA."""

    def obstacle(self) -> str | None:
        """Why no GGUF can be made here, with what to install; None if it can. Imports no vendor."""

    def render(self, request: GgufRequest) -> Iterator[Buffer]:
        """The bytes of the file, in order; the same for the same request.

        Raises before it returns: MissingExtra; NotConvertible for whatever llama.cpp has no exact
        form of, with the reasons and the way out; ArtifactUnreadable; StorageError if a file is
        missing. The chunks raise StorageError, and NotConvertible for a value that float16 cannot
        hold. A chunk is valid until the next one is asked for; memory is one tensor of the output.
        """


class Signatures(Protocol):
    """Signs with a private key and verifies with a public one; each is named by its file."""

    def require(self, key: str) -> None:
        """Find out now whether ``sign`` can use that key. Raises as ``sign``."""

    def sign(self, payload: bytes, key: str) -> Signed:
        """The same for the same payload and key, if the library can.

        Raises MissingExtra; UsageError for what is no such key, or for one that is encrypted with
        another passphrase than is known; StorageError if it is unreadable.
        """

    def problem(self, signed: Signed, key: str) -> str | None:
        """Why this is no signature by that key; None if it is. Raises as ``sign``."""


class Identities(Protocol):
    """Signs as whoever runs this, vouched for by an identity provider, and verifies that."""

    def require(self) -> None:
        """Raises, of what ``sign`` does, all that can be known before there is something to sign:
        that the package is missing, and that nobody is there to sign as, or with a token that is
        none, has expired or is for another service."""

    def sign(self, payload: bytes, earlier: bytes | None) -> bytes:
        """The bundle of a new signature, which is logged for everybody to see; ``earlier``, as it
        is, if that is a valid one of the same payload by the same identity.

        Raises MissingExtra; UsageError if there is nobody to sign as; StorageError; the
        RegistryError family for what the services answer.
        """

    def problem(self, bundle: bytes, identity: Identity) -> str | None:
        """Why this is no signature by that identity; None if it is. Raises MissingExtra, and
        RegistryUnreachable if nobody tells now whom to believe."""


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


@frozen
class Blob:
    """Content to publish; ``open`` gives a new stream each time, since uploads retry.

    ``held`` is a place of a registry where it is already: a registry may take it over from there.
    """

    entry: ManifestEntry
    open: Callable[[], BinaryIO] = field(repr=False)
    held: Destination | None = None


class Registry(Protocol):
    """A remote place that models are published to. Errors are the RegistryError family.

    A revision is named by its id, by a tag or by a branch, wherever one is asked for.
    """

    def head(self, destination: Destination) -> RemoteHead | None:
        """What is there now: revision, manifest, visibility. None if there is nothing yet."""

    def start(self, destination: Destination) -> RemoteHead | None:
        """What the branch would begin with, if ``head`` gives None; None if with nothing."""

    def check(self, destination: Destination, *, pull_request: bool = False) -> None:
        """Raise now what would refuse a publication later, as far as the registry tells.

        AuthenticationFailed, PermissionDenied; Unsupported if it has no pull requests. Writes
        nothing.
        """

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Carry out ``plan`` as one atomic revision; ``blobs`` hold every added or changed path.

        Raises RevisionConflict if the head is no longer ``plan.parent``; then nothing is visible.
        A push of what is already there is a no-op (``created`` is False). A failure at any point
        leaves the previous revision visible. No error text holds a token.

        With ``plan.pull_request`` the head stays where it is, and the receipt's url is where the
        revision waits for its review; raises Unsupported before any byte if there is no such thing.
        Tags are not set here.
        """

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """What that revision holds by the registry's own records: no file is read for it.

        The beginning of an id, of seven digits or more, is enough where it is that of one only.
        Raises DestinationMissing if there is none of that name.
        """

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """What that revision holds, read anew from the registry, for the read-back.

        Raises DestinationMissing if there is none of that name. ``progress`` is told where that
        takes long.
        """

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """One published file as a new stream from its first byte, which the caller closes.

        Raises DestinationMissing if there is no such revision or no such file in it, here and not
        with the first read. A read raises the RegistryError family; bytes that are missing at the
        end are an error, never a short file. Memory is bounded, whatever the size. What comes is
        not compared with any digest: that is the caller's to do.
        """

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """At most ``limit`` publications of the branch, newest first; () if there is nothing."""

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The revision that each tag of the model names; empty if there is nothing.

        Raises UsageError if one that is ``wanted`` is the name of a branch.
        """

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """Make a tag name a revision; a no-op if it does.

        Raises TagTaken if it names another and ``move`` is False, DestinationMissing if there is no
        such revision.
        """

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """Make the head what ``revision`` holds, sending no large file anew, as one step.

        Raises RevisionConflict if the head is no longer ``parent``, DestinationMissing if there is
        no such revision. A no-op (``created`` is False) if the head holds just that.
        """
