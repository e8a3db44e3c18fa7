"""Fuse and dequantise under a crash at every call: the output is the old one or the new one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.checkpoints import base_files, packed_files, run_files
from tests.fakes.exact_maker import ExactMaker
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.adapters.weight_prover import SamplingProver
from weighbridge.application.dequantise import Dequantise, DequantiseRequest
from weighbridge.application.fuse import Fuse, FuseRequest
from weighbridge.application.ports import WeightMaker
from weighbridge.domain.errors import StorageError


class Crash(BaseException):
    """The process dies here."""


def fuse(files: MemoryFiles, maker: WeightMaker) -> object:
    request = FuseRequest("run", "base", "out", force=True)
    return Fuse(files, maker, SamplingProver())(request)


def dequantise(files: MemoryFiles, maker: WeightMaker) -> object:
    request = DequantiseRequest("packed", "out", shard_bytes=1, force=True)
    return Dequantise(files, maker, SamplingProver())(request)


USE_CASES: dict[str, Callable[[MemoryFiles, WeightMaker], object]] = {
    "fuse": fuse,
    "dequantise": dequantise,
}


def seeded() -> MemoryFiles:
    files = MemoryFiles()
    files.seed("run", run_files(dora=True))
    files.seed("base", base_files(sharded=True))
    files.seed("packed", packed_files())
    files.seed("out", {"old": b"old"})
    return files


@pytest.mark.parametrize(
    "maker", [ExactMaker(), NumpyWeightMaker(threads=2)], ids=["exact", "numpy"]
)
@pytest.mark.parametrize("failure", [Crash(), StorageError(path="p", operation="o")], ids=repr)
@pytest.mark.parametrize("name", USE_CASES)
def test_every_call(name: str, failure: BaseException, maker: WeightMaker) -> None:
    use_case, counting = USE_CASES[name], seeded()
    before, threads = counting.contents(), threading.active_count()
    use_case(counting, maker)
    after, calls = counting.contents(), counting.calls
    assert calls > 20 and after != before
    for number in range(1, calls + 1):
        files = seeded()
        files.fail_at, files.failure = number, failure
        with pytest.raises(type(failure)):
            use_case(files, maker)
        assert files.contents() in (before, after), number
        assert threading.active_count() == threads, number
