"""Random tensors made of pieces, for the contract of converters."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping

from weighbridge.domain.tensor_plan import Assemble, ConversionPlan, Grid, Piece, PlannedTensor
from weighbridge.domain.tensors import TensorSpec

#: Bits of the exponent's field and of the mantissa's.
_FIELDS = {"F32": (8, 23), "F16": (5, 10), "BF16": (8, 7)}
_FACTORS = (1.0, 1.0, 0.5, 20.0, 0.3, 1 / 3, 2.0**-16)


def assembly(seed: int) -> tuple[ConversionPlan, Mapping[str, bytes]]:
    """Some tensors of pieces that do not overlap, and the sources' bytes.

    Reads are whole, strided or transposed; writes are blocks, or columns taken in turn. Where
    there is arithmetic the values are finite and small enough for float32; elsewhere they are any.
    """
    chance = random.Random(seed)
    sources: dict[str, bytes] = {}
    planned = []
    for number in range(chance.randint(1, 3)):
        dtype = chance.choice(("F32", "F32", "F16", "BF16"))
        shape = (chance.randint(1, 40), chance.randint(1, 40))
        target = TensorSpec(f"target {number}", dtype, shape)
        pieces = []
        for grid in _regions(chance, *shape):
            if chance.random() < 0.8:  # the rest stays zero
                name = f"source {len(sources)}"
                piece, content = _piece(chance, name, dtype, grid)
                pieces.append(piece)
                sources[name] = content
        planned.append(PlannedTensor(target, Assemble(tuple(pieces))))
    return ConversionPlan(tuple(planned), {}, 1.0), sources


def _regions(chance: random.Random, rows: int, columns: int) -> Iterator[Grid]:
    """Grids that share no element: bands of rows, in each its columns side by side or in turn."""
    row = 0
    while row < rows:
        high = chance.randint(1, rows - row)
        parts = chance.randint(1, min(4, columns))
        if chance.random() < 0.5:
            for part in range(parts):
                wide = len(range(part, columns, parts))
                yield Grid(row * columns + part, high, wide, columns, parts)
        else:
            cuts = sorted(chance.sample(range(1, columns), parts - 1)) if parts > 1 else []
            for first, last in zip([0, *cuts], [*cuts, columns], strict=True):
                yield Grid(row * columns + first, high, last - first, columns)
        row += high


def _piece(chance: random.Random, name: str, dtype: str, write: Grid) -> tuple[Piece, bytes]:
    factor = chance.choice(_FACTORS) if dtype == "F32" else 1.0
    from_dtype = chance.choice(tuple(_FIELDS)) if dtype == "F32" else dtype
    start, apart = chance.randint(0, 9), chance.randint(1, 3)
    rows, columns = write.rows, write.columns
    read = chance.choice(
        (
            Grid(start, rows, columns, columns),
            Grid(start, rows, columns, columns * apart, apart),
            Grid(start, rows, columns, 1, rows),
            Grid(start, rows, columns, columns + apart),
        )
    )
    spec = TensorSpec(name, from_dtype, (read.last + 1 + chance.randint(0, 9),))
    if factor == 1.0 and from_dtype == dtype:
        return Piece(spec, read, write), chance.randbytes(spec.nbytes)
    return Piece(spec, read, write, factor), _finite(chance, spec)


def _finite(chance: random.Random, spec: TensorSpec) -> bytes:
    """Values of both signs, zeros and denormals among them, that no factor makes infinite."""
    exponents, mantissa = _FIELDS[spec.dtype]
    highest = 2**exponents - (8 if exponents == 8 else 2)
    code = "I" if spec.dtype == "F32" else "H"
    words = (
        chance.choice((0, 1)) << (exponents + mantissa)
        | chance.choice((0, 1, chance.randint(0, highest))) << mantissa
        | chance.choice((0, chance.getrandbits(mantissa)))
        for _ in range(spec.shape[0])
    )
    return b"".join(struct.pack(f"<{code}", word) for word in words)
