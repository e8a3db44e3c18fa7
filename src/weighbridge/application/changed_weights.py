"""What a LoRA changes in its base, measured on the weights; what became of it when fused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

from attrs import frozen

from weighbridge.application.checkpoint import FilesSource, tensor_files, written_by_mlx
from weighbridge.application.load import Loaded, load
from weighbridge.application.ports import ChangeMeter, FileSystem, Sources, TensorSource
from weighbridge.domain.artifact import ModelArtifact, TensorFile
from weighbridge.domain.checkpoints.module_weights import (
    Changed,
    ModuleWeights,
    changed_weights,
    norms,
    peft_changed_weights,
    replaced_weights,
    twins,
)
from weighbridge.domain.errors import ArtifactError
from weighbridge.domain.measures import BesideBase, Measure
from weighbridge.domain.models import FusedModel, Kind, LoraModel, PeftModel
from weighbridge.domain.peft.selection import NotPeft
from weighbridge.domain.scale import effective_scale

_CHUNK = 1 << 20


@frozen
class Whole:
    """A whole model and its files of weights."""

    location: str
    model: FusedModel
    files: tuple[TensorFile, ...]

    @property
    def weights(self) -> ModuleWeights:
        """Its headers, to be asked."""
        return ModuleWeights(self.model.config, self.model.tensors, written_by_mlx(self.files))

    def source(self, files: FileSystem, opened: ExitStack) -> FilesSource:
        """Its tensors; ``opened`` closes the files."""
        return FilesSource.of(files, self.location, self.files, opened)


def whole(files: FileSystem, location: str) -> Whole:
    """The model at ``location``. Raises the ArtifactError family if it is no whole one."""
    loaded = load(files, location, Kind.FUSED)
    assert isinstance(loaded.model, FusedModel)
    return Whole(location, loaded.model, tensor_files(loaded, loaded.model.weights_paths))


@frozen
class MeasureChanges:
    """The measurements, over their ports."""

    files: FileSystem
    #: Made when weights are to be measured: most checks measure none, and it loads numpy.
    meter: Callable[[], ChangeMeter]

    def of_adapter(
        self,
        artifact: ModelArtifact,
        model: LoraModel | PeftModel,
        base: str,
        scale: float | None = None,
    ) -> tuple[Measure, ...] | None:
        """The change of every weight that is found in ``base``; None if that has no weights, or
        the adapter is none that could be computed with."""
        held, found = artifact.tensor_file(model.weights_path), None
        with suppress(ArtifactError):
            found = whole(self.files, base)
        if found is None or held is None or held.header is None:
            return None
        try:
            changed = tuple(_changed(model, scale, found.weights, None))
        except NotPeft:
            return None
        return self._measured(changed, artifact.location, held, found, None)

    def of_whole(self, artifact: ModelArtifact, model: FusedModel, base: str) -> BesideBase | None:
        """How a whole model lies beside its base; None if that has no weights."""
        try:
            other = whole(self.files, base)
        except ArtifactError:
            return None
        held = tuple(f for p in model.weights_paths if (f := artifact.tensor_file(p)) is not None)
        own = Whole(artifact.location, model, held)
        vectors = tuple(norms(other.weights, own.weights))
        with ExitStack() as opened:
            sources = other.source(self.files, opened), own.source(self.files, opened)
            offsets = tuple(self.meter().offsets(vectors, *sources))
            same = _same_weights(self.files, own, other)
            matrices = () if same else tuple(twins(other.weights, own.weights))
            alike = tuple(self.meter().likeness(matrices, *sources))
        return BesideBase(same, offsets, alike)

    def kept(
        self, run: Loaded, model: LoraModel, base: Whole, made: Whole, scale: float | None
    ) -> tuple[Measure, ...]:
        """The change of every weight that is found in ``base`` and in what was ``made`` of it."""
        before, after = base.weights, made.weights
        changed = (
            *_changed(model, scale, before, after),
            *replaced_weights(model.others, before, after),
        )
        held = run.artifact.tensor_file(model.weights_path)
        assert held is not None
        return self._measured(changed, run.artifact.location, held, base, made)

    def _measured(
        self,
        changed: tuple[Changed, ...],
        location: str,
        held: TensorFile,
        base: Whole,
        made: Whole | None,
    ) -> tuple[Measure, ...]:
        with ExitStack() as opened:
            changes = FilesSource.of(self.files, location, (held,), opened)
            sources = Sources(base.source(self.files, opened), changes)
            after = None if made is None else made.source(self.files, opened)
            return tuple(self.meter().measure(changed, sources, after))


def _changed(
    model: LoraModel | PeftModel,
    scale: float | None,
    base: ModuleWeights,
    made: ModuleWeights | None,
) -> Iterable[Changed]:
    if isinstance(model, PeftModel):
        return peft_changed_weights(model, base)
    scales = ((t, scale or effective_scale(model.config, t.rank).value) for t in model.targets)
    return changed_weights([(t, s) for t, s in scales if s is not None], base, made)


def _same_weights(files: FileSystem, own: Whole, other: Whole) -> bool:
    """True if all tensors are the same, bit for bit. Reads no further than a difference."""
    specs = {spec.name: spec for spec in own.model.tensors}
    if specs != {spec.name: spec for spec in other.model.tensors}:
        return False
    with ExitStack() as opened:
        mine, its = own.source(files, opened), other.source(files, opened)
        return all(_same(mine, its, spec.name, spec.nbytes) for spec in specs.values())


def _same(one: TensorSource, other: TensorSource, name: str, size: int) -> bool:
    rooms = [memoryview(bytearray(min(size, _CHUNK))) for _ in range(2)]
    for at in range(0, size, _CHUNK):
        mine, its = (room[: min(_CHUNK, size - at)] for room in rooms)
        one.read_into(name, mine, at)
        other.read_into(name, its, at)
        if mine != its:
            return False
    return True
