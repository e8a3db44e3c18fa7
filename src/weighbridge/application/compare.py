"""Compare two published revisions: their files by digest, and their weights tensor by tensor.

Only files that differ are read, as streams, side by side: memory is one chunk of each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import BinaryIO

from attrs import define, field, frozen

from weighbridge.application.history import registry_of
from weighbridge.application.ports import Comparer, Distance, Progress, Registry, no_progress
from weighbridge.application.published import Published
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
from weighbridge.domain.errors import RegistryRejected
from weighbridge.domain.publication import Change, Destination, RemoteHead, changes_between
from weighbridge.domain.tensors import (
    MAX_HEADER_BYTES,
    HeaderInvalid,
    TensorSlot,
    TensorSpec,
    parse_header,
)

#: Divisible by the size of every element.
_CHUNK = 4 << 20


@frozen
class TensorChange:
    """One tensor that is not the same in both; ``distance`` if dtype and shape are."""

    name: str
    before: TensorSpec | None
    after: TensorSpec | None
    distance: Distance | None = None


@frozen
class Comparison:
    """What differs. ``equal`` counts the tensors of changed files that are the same all the same,
    ``unread`` names files of weights that could not be understood."""

    before: Destination
    after: Destination
    revisions: tuple[str, str]
    changes: tuple[Change, ...]
    tensors: tuple[TensorChange, ...]
    equal: int
    unread: tuple[str, ...] = ()


@frozen
class Compare:
    """The use case, over its ports."""

    registries: Mapping[type, Registry]
    comparer: Comparer

    def __call__(
        self, before: Destination, after: Destination, progress: Progress = no_progress
    ) -> Comparison:
        """Raises DestinationMissing, and the rest of the RegistryError family."""
        sides = [(place, *self._at(place)) for place in (before, after)]
        heads = (sides[0][2], sides[1][2])
        # The Hub knows small files by another digest than others do.
        later = Published(sides[1][1], after, heads[1].revision, heads[1].manifest)
        now = later.comparable(later.manifest, heads[0].manifest)
        changes = changes_between(heads[0].manifest, now)
        different = {c.path for c in changes if c.action != "keep"}
        with ExitStack() as opened:
            old, new = (
                opened.enter_context(_Weights(registry, place, head)).found(different)
                for place, registry, head in sides
            )
            compared = list(self._tensors(old, new, progress))
        return Comparison(
            before,
            after,
            (heads[0].revision, heads[1].revision),
            changes,
            tuple(each for each in compared if not _equal(each)),
            sum(map(_equal, compared)),
            tuple(sorted({*old.unread, *new.unread})),
        )

    def _at(self, place: Destination) -> tuple[Registry, RemoteHead]:
        registry = registry_of(self.registries, place)
        return registry, registry.recorded(place, place.revision)

    def _tensors(self, old: _Weights, new: _Weights, progress: Progress) -> Iterator[TensorChange]:
        total = sum(slot.spec.nbytes for _, slot in old.slots.values())
        done = 0
        for name, (_, slot) in old.slots.items():
            if name not in new.slots:
                yield TensorChange(name, slot.spec, None)
                continue
            after = new.slots[name][1].spec
            distance = None
            if after == slot.spec:
                pairs = zip(old.chunks(name), new.chunks(name), strict=True)
                distance = self.comparer.distance(slot.spec.dtype, pairs)
            done += slot.spec.nbytes
            progress("comparing", done, total)
            yield TensorChange(name, slot.spec, after, distance)
        for name, (_, slot) in new.slots.items():
            if name not in old.slots:
                yield TensorChange(name, None, slot.spec)


def _equal(change: TensorChange) -> bool:
    return change.distance is not None and change.distance.changed == 0


@define
class _Weights:
    """The tensors of one revision, by name, and one open file."""

    _registry: Registry
    _place: Destination
    _head: RemoteHead
    slots: dict[str, tuple[ArtifactPath, TensorSlot]] = field(factory=dict, init=False)
    unread: list[str] = field(factory=list, init=False)
    _path: ArtifactPath | None = field(default=None, init=False)
    _stream: BinaryIO | None = field(default=None, init=False)
    _at: int = field(default=0, init=False)

    def __enter__(self) -> _Weights:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def found(self, paths: set[ArtifactPath]) -> _Weights:
        """With the tensors of those files."""
        for entry in self._head.manifest.entries:
            if entry.path in paths and entry.path.text.endswith(".safetensors"):
                try:
                    self._read_header(entry)
                except HeaderInvalid:
                    self.unread.append(entry.path.text)
        return self

    def _read_header(self, entry: ManifestEntry) -> None:
        prefix = self._read(entry.path, 0, min(8, entry.size))
        if len(prefix) < 8:
            raise HeaderInvalid(())
        length = int(struct.unpack("<Q", prefix)[0])
        if length > min(MAX_HEADER_BYTES, entry.size - 8):
            raise HeaderInvalid(())
        header = parse_header(self._read(entry.path, 8, length), entry.size)
        self.slots |= {slot.spec.name: (entry.path, slot) for slot in header.slots}

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of one tensor."""
        path, slot = self.slots[name]
        end = slot.start + slot.spec.nbytes
        for at in range(slot.start, end, _CHUNK):
            yield self._read(path, at, min(_CHUNK, end - at))

    def _read(self, path: ArtifactPath, offset: int, length: int) -> bytes:
        stream = self._at_offset(path, offset)
        data = b"".join(_taken(stream.read, length))
        self._at += len(data)
        if len(data) != length:
            reason = f"{path} ends after {self._at} bytes, before its last tensor does"
            raise RegistryRejected(destination=str(self._place), reason=reason)
        return data

    def _at_offset(self, path: ArtifactPath, offset: int) -> BinaryIO:
        """The file's stream, there; a stream that cannot seek is read up to it, or opened anew."""
        stream = self._stream
        if stream is None or self._path != path or (offset < self._at and not stream.seekable()):
            if stream is not None:
                stream.close()
            stream = self._registry.open(self._place, self._head.revision, path)
            self._stream, self._path, self._at = stream, path, 0
        if offset != self._at and stream.seekable():
            self._at = stream.seek(offset)
        for passed in _taken(stream.read, offset - self._at):
            self._at += len(passed)
        return stream


def _taken(read: Callable[[int], bytes], length: int) -> Iterator[bytes]:
    """``length`` bytes, as they come; fewer at the end of the file."""
    while length > 0 and (data := read(min(length, _CHUNK))):
        length -= len(data)
        yield data
