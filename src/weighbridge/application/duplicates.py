"""Tensors of the same bytes: told from the survey's figures, then compared, and only those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.tensors import TensorSlot

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.artifact import ModelArtifact
    from weighbridge.domain.survey import TensorStats

#: Below it, the same bytes are no news: small tensors are often never trained.
_LEAST_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_Place: TypeAlias = tuple[str, TensorSlot]
Groups: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]


def find_duplicates(
    files: FileSystem, artifact: ModelArtifact, found: Mapping[str, Mapping[str, TensorStats]]
) -> Groups:
    """Groups of two and more, each as (path, tensor). Reads again what the figures cannot tell
    apart, as long as it is the same."""
    alike: dict[object, list[_Place]] = defaultdict(list)
    for path, stats in found.items():
        file = artifact.tensor_file(path)
        for slot in file.header.slots if file is not None and file.header is not None else ():
            one = stats[slot.spec.name]
            if one.marks and not one.zero and not one.constant and _matters(slot):
                alike[slot.spec.dtype, slot.spec.shape, one.marks].append((path, slot))
    return tuple(
        tuple((path, slot.spec.name) for path, slot in group)
        for places in alike.values()
        for group in _groups(files, artifact.location, places)
    )


def _matters(slot: TensorSlot) -> bool:
    spec = slot.spec  # of bytes there are too few to tell two tensors apart by
    return len(spec.shape) > 1 and spec.nbytes >= _LEAST_BYTES and spec.dtype != "U8"


def _groups(files: FileSystem, root: str, places: list[_Place]) -> list[list[_Place]]:
    first, group = places[0], places[:1]
    group += [other for other in places[1:] if _same(files, root, first, other)]
    return [group] if len(group) > 1 else []


def _same(files: FileSystem, root: str, one: _Place, other: _Place) -> bool:
    size = one[1].spec.nbytes
    for at in range(0, size, _CHUNK_BYTES):
        length = min(_CHUNK_BYTES, size - at)
        a, b = (
            files.read(root, ArtifactPath(path), slot.start + at, length)
            for path, slot in (one, other)
        )
        if a != b:
            return False
    return True
