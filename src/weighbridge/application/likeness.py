"""Compare tensors of a broken adapter with those of the original it was made from, byte by byte.

One pass over each file, and one that transposes; a tensor is never in memory as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from weighbridge.application.ports import Buffer, Converter, TensorSource
from weighbridge.domain.conversion import CONVERTIBLE_DTYPES
from weighbridge.domain.repairing.recovery import Likeness, Match
from weighbridge.domain.tensor_plan import ConversionPlan, PlannedTensor, Transpose
from weighbridge.domain.tensors import TensorSpec

_CHUNK = 4 << 20


def copied(source: TensorSource, spec: TensorSpec) -> Iterator[Buffer]:
    """The bytes of a tensor, in chunks; each is valid until the next is asked for."""
    room = memoryview(bytearray(min(spec.nbytes, _CHUNK)))
    for at in range(0, spec.nbytes, _CHUNK):
        part = room[: min(_CHUNK, spec.nbytes - at)]
        source.read_into(spec.name, part, at)
        yield part


def turning(pairs: Iterable[tuple[TensorSpec, TensorSpec]]) -> ConversionPlan:
    """A plan that does nothing but transpose: of each pair, the second becomes the first."""
    return ConversionPlan(
        tuple(PlannedTensor(target, Transpose(source)) for target, source in pairs), {}, 1.0
    )


def compare(
    converter: Converter,
    matched: tuple[Match, ...],
    broken: TensorSource,
    original: TensorSource,
) -> Mapping[str, Likeness]:
    """How each matched tensor of the broken adapter is like its counterpart, by its name."""
    listed = [m for m in matched if _comparable(m)]
    wanted = {m.held.name: _digest(copied(original, m.original)) for m in listed}
    found = {m.held.name: _digest(copied(broken, m.held)) for m in listed}
    turned = _turned(converter, listed, broken)
    likeness = {m.held.name: Likeness.OTHER for m in matched}
    for match in listed:
        name = match.held.name
        same = {Likeness.AS_MLX: found[name], Likeness.TRANSPOSED: turned.get(name)}
        # What is equal both ways (zeros, rank 1) is what its shape says.
        order = sorted(same, key=lambda kind: (kind is Likeness.AS_MLX) == _transposed(match))
        alike = next((kind for kind in order if same[kind] == wanted[name]), None)
        likeness[name] = alike or Likeness.OTHER
    return likeness


def _comparable(match: Match) -> bool:
    held, spec = match.held, match.original
    return held.dtype == spec.dtype in CONVERTIBLE_DTYPES and held.nbytes == spec.nbytes


def _transposed(match: Match) -> bool:
    return match.held.shape == match.original.shape[::-1]


def _turned(
    converter: Converter, listed: Iterable[Match], broken: TensorSource
) -> dict[str, bytes]:
    matrices = [m for m in listed if len(m.original.shape) == 2]
    plan = turning(
        (m.original, TensorSpec(m.held.name, m.original.dtype, m.original.shape[::-1]))
        for m in matrices
    )
    made = converter.run(plan, broken)
    return {m.held.name: _digest(chunks) for m, (_, chunks) in zip(matrices, made, strict=True)}


def _digest(chunks: Iterable[Buffer]) -> bytes:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()
