"""Writes a planned checkpoint into a stage, file by file, and proves what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from attrs import frozen

from weighbridge.application.load import Loaded, read_header
from weighbridge.application.ports import (
    Buffer,
    FileSystem,
    Progress,
    Reader,
    Sources,
    Stage,
    TensorSource,
    WeightMaker,
    WeightProver,
    no_progress,
)
from weighbridge.domain.artifact import ArtifactPath, FileEntry, ManifestEntry, TensorFile
from weighbridge.domain.checkpoints.checkpoint import INDEX, CheckpointPlan, Shard
from weighbridge.domain.errors import ProofFailed
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep
from weighbridge.domain.shipping import documents
from weighbridge.domain.tensors import TensorSpec, encode_header

CONFIG = ArtifactPath("config.json")
#: What transformers writes itself; some of its versions refuse files without it.
METADATA = {"format": "pt"}
_CHUNK = 4 << 20


@frozen
class FilesSource:
    """The tensors of several open safetensors files, by name."""

    places: Mapping[str, tuple[Reader, int]]

    @classmethod
    def of(
        cls, files: FileSystem, location: str, found: Sequence[TensorFile], opened: ExitStack
    ) -> FilesSource:
        """Opens all files; ``opened`` closes them."""
        places: dict[str, tuple[Reader, int]] = {}
        for file in found:
            if file.header is not None:
                reader = opened.enter_context(files.open(location, file.path))
                places |= {s.spec.name: (reader, s.start) for s in file.header.slots}
        return cls(places)

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        """See ``TensorSource``."""
        reader, start = self.places[name]
        reader.read_into(buffer, start + offset)


def tensor_files(loaded: Loaded, paths: Sequence[str]) -> tuple[TensorFile, ...]:
    """The files of weights of a loaded model, whose headers are sound."""
    found = [loaded.artifact.tensor_file(path) for path in paths]
    return tuple(f for f in found if f is not None)


def specs_of(file: TensorFile) -> tuple[TensorSpec, ...]:
    """The tensors of a file in file order."""
    return () if file.header is None else tuple(slot.spec for slot in file.header.slots)


def written_by_mlx(found: Sequence[TensorFile]) -> bool:
    """True if the files say so."""
    return any(f.header.by_mlx for f in found if f.header is not None)


@frozen
class WriteCheckpoint:
    """Weights, index, config, and the documents of the model that it is made from."""

    files: FileSystem
    maker: WeightMaker
    prover: WeightProver

    def __call__(
        self,
        plan: CheckpointPlan,
        sources: Sources,
        stage: Stage,
        *,
        origin: Loaded,
        config: bytes,
        progress: Progress = no_progress,
        verb: str = "writing",
    ) -> tuple[tuple[ManifestEntry, ...], Proof]:
        """The entries written, and the proof that they are what ``plan`` says.

        ``origin`` is the model whose documents are taken over. Raises ProofFailed, NotConvertible
        if a value cannot be represented, or the StorageError family.
        """
        advance = _Advance(progress, verb, plan.total_bytes)
        entries = [self._shard(shard, sources, stage, advance) for shard in plan.shards]
        if (index := plan.index_bytes) is not None:
            entries.append(stage.write(ArtifactPath(INDEX), [index]))
        entries.append(stage.write(CONFIG, [config]))
        location = origin.artifact.location
        for entry in documents(origin.artifact.scan):
            copied = self._copied(location, entry)
            entries.append(stage.write(entry.path, copied, expected=entry.size))
        progress("proving", 0, 1)
        proof = Proof((self._prove(plan, sources, stage, entries),))
        progress("proving", 1, 1)
        if not proof.passed:
            raise ProofFailed(proof=proof)
        return tuple(sorted(entries, key=lambda e: e.path)), proof

    def _shard(
        self, shard: Shard, sources: Sources, stage: Stage, advance: _Advance
    ) -> ManifestEntry:
        with self.maker.run(shard.weights, sources) as tensors:
            chunks = self._chunks(shard, tensors, advance)
            size = sum(spec.nbytes for spec in shard.specs)
            return stage.write(ArtifactPath(shard.path), chunks, expected=size)

    def _chunks(
        self,
        shard: Shard,
        tensors: Iterator[tuple[TensorSpec, Iterator[Buffer]]],
        advance: _Advance,
    ) -> Iterator[Buffer]:
        yield encode_header(shard.specs, METADATA)
        for spec, chunks in tensors:
            written = 0
            for chunk in chunks:
                yield chunk
                written += memoryview(chunk).nbytes
            if written != spec.nbytes:  # a maker that breaks its contract is a bug
                raise RuntimeError(f"{spec.name}: {written} bytes written, {spec.nbytes} planned")
            advance.by(written)

    def _copied(self, location: str, entry: FileEntry) -> Iterator[Buffer]:
        with self.files.open(location, entry.path) as reader:
            for offset in range(0, reader.size, _CHUNK):
                buffer = bytearray(min(_CHUNK, reader.size - offset))
                reader.read_into(memoryview(buffer), offset)
                yield buffer

    def _prove(
        self, plan: CheckpointPlan, sources: Sources, stage: Stage, entries: list[ManifestEntry]
    ) -> ProofStep:
        sizes = {entry.path.text: entry.size for entry in entries}
        found = [
            read_header(self.files, stage.root, FileEntry(ArtifactPath(s.path), sizes[s.path]))
            for s in plan.shards
        ]
        wrong = tuple(
            f"{file.path}: its header is not the planned one"
            for shard, file in zip(plan.shards, found, strict=True)
            if specs_of(file) != shard.specs
        )
        if wrong:
            return ProofStep(ProofLevel.ALGEBRA, passed=False, problems=wrong)
        with ExitStack() as opened:
            written: TensorSource = FilesSource.of(self.files, stage.root, found, opened)
            return self.prover.prove(plan.weights, sources, written)


class _Advance:
    """Tells a progress callback of bytes, over all files."""

    def __init__(self, progress: Progress, verb: str, total: int) -> None:
        self._progress, self._verb, self._total, self._done = progress, verb, total, 0

    def by(self, count: int) -> None:
        self._done += count
        self._progress(self._verb, self._done, self._total)
