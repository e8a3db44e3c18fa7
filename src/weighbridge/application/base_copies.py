"""Which whole weights of a PEFT file are the base's own, by their values."""

from __future__ import annotations

import math
from contextlib import ExitStack

from weighbridge.application.changed_weights import whole
from weighbridge.application.checkpoint import FilesSource
from weighbridge.application.load import Loaded
from weighbridge.application.ports import FileSystem, TensorSource
from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.errors import ArtifactError
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.copies import whole_weights
from weighbridge.domain.tensors import TensorSpec

_ELEMENTS = 1 << 20
_COMPARABLE = {("F32", "F32"), ("F16", "F16"), ("BF16", "BF16"), ("F32", "BF16")}


def base_copies(
    files: FileSystem, loaded: Loaded, base: str | None, known: BaseModel
) -> frozenset[str]:
    """Their names; none if the base's weights are not in a directory of this machine."""
    model = loaded.model
    assert isinstance(model, PeftModel)
    pairs = [(mine, own) for mine, own in whole_weights(model, known) if mine.shape == own.shape]
    held = loaded.artifact.tensor_file(model.weights_path)
    if base is None or "://" in base or held is None or not pairs:
        return frozenset()
    try:
        there = whole(files, base)
    except ArtifactError:
        return frozenset()
    with ExitStack() as opened:
        here = FilesSource.of(files, loaded.artifact.location, (held,), opened)
        its = there.source(files, opened)
        return frozenset(mine.name for mine, own in pairs if _equal(here, mine, its, own))


def _equal(here: TensorSource, mine: TensorSpec, there: TensorSource, own: TensorSpec) -> bool:
    """True if all values are the same. Reads no further than a difference."""
    count = math.prod(mine.shape)
    return (mine.dtype, own.dtype) in _COMPARABLE and all(
        _read(here, mine, mine.dtype, at, count) == _read(there, own, mine.dtype, at, count)
        for at in range(0, count, _ELEMENTS)
    )


def _read(source: TensorSource, spec: TensorSpec, dtype: str, at: int, count: int) -> bytes:
    """Some elements from the one at ``at`` on, as ``dtype``."""
    width = spec.nbytes // count
    raw = bytearray(min(_ELEMENTS, count - at) * width)
    source.read_into(spec.name, memoryview(raw), at * width)
    if spec.dtype == dtype:
        return bytes(raw)
    # bfloat16, of which PEFT has float32 if the base was loaded so, is that number's first half.
    wide = bytearray(2 * len(raw))
    wide[2::4], wide[3::4] = raw[::2], raw[1::2]
    return bytes(wide)
