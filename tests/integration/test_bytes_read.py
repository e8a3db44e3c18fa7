"""How often each byte of a model is read: at the port, and by the command's own process.

Once to be judged and hashed, once more to be sent (checked in passing), once more from a directory
registry to be read back; and never to go back, or to be named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from attrs import frozen
from dependency_injector import providers

from tests.builders import FUSED_CONFIG, TOKENIZER, encode, write
from tests.fakes.memory_registry import MemoryRegistry
from tests.hub_server import HubServer
from weighbridge.adapters.local_files import LocalFiles
from weighbridge.application.ports import FileSystem, Reader, Stage
from weighbridge.application.publish import PublishRequest
from weighbridge.domain.artifact import ArtifactPath, Scan
from weighbridge.domain.publication import LocalRegistry
from weighbridge.domain.tensors import TensorSpec, encode_header
from weighbridge.entrypoints.container import build

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
#: Headers, which are read more often, and small files.
SMALL = 64 << 10
MIB = 1 << 20


def fused_model(root: Path, size: int) -> Path:
    """A model of some ``size`` bytes in two shards of random F32."""
    rows, noise = size // 2 // 64, np.random.default_rng(size)
    shards = {
        f"model-0000{n}-of-00002.safetensors": TensorSpec(name, "F32", (rows, 16))
        for n, name in enumerate(("model.embed_tokens.weight", "lm_head.weight"), 1)
    }
    norm = TensorSpec("model.norm.weight", "F32", (16,))
    files = {}
    for name, spec in shards.items():
        listed = (spec, norm) if "00001-of" in name else (spec,)
        count = sum(each.nbytes for each in listed) // 4
        files[name] = encode_header(listed) + noise.standard_normal(count, np.float32).tobytes()
    weight_map = {spec.name: name for name, spec in shards.items()} | {norm.name: min(shards)}
    documents = {
        "config.json": encode(FUSED_CONFIG | {"tie_word_embeddings": False, "vocab_size": rows}),
        "tokenizer.json": encode(TOKENIZER),
        "model.safetensors.index.json": encode({"metadata": {}, "weight_map": weight_map}),
    }
    return write(root, files | documents)


# --- at the port ---------------------------------------------------------------------------------


@frozen
class _CountedReader:
    inner: Reader
    path: str
    read: Counter[str]

    @property
    def size(self) -> int:
        return self.inner.size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        self.read[self.path] += buffer.nbytes
        self.inner.read_into(buffer, offset)


class _CountedStream:
    def __init__(self, inner: BinaryIO, path: str, read: Counter[str]) -> None:
        self._inner, self._path, self._read = inner, path, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> _CountedStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._read[self._path] += len(data)
        return data


class CountedFiles(FileSystem):
    """The local disk, and how many bytes of each file were read."""

    def __init__(self) -> None:
        self.read_bytes: Counter[str] = Counter()
        self._inner = LocalFiles()

    def scan(self, root: str) -> Scan:
        return self._inner.scan(root)

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        data = self._inner.read(root, path, offset, length)
        self.read_bytes[path.text] += len(data)
        return data

    @contextmanager
    def open(self, root: str, path: ArtifactPath) -> Iterator[Reader]:
        with self._inner.open(root, path) as reader:
            yield _CountedReader(reader, path.text, self.read_bytes)

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        stream = self._inner.open_stream(root, path)
        return _CountedStream(stream, path.text, self.read_bytes)  # type: ignore[return-value]

    def stage(self, target: str | None) -> AbstractContextManager[Stage]:
        return self._inner.stage(target)


def test_the_port_is_read_once_to_judge_and_once_to_send(tmp_path: Path) -> None:
    model = fused_model(tmp_path / "model", 4 * MIB)
    files, registry, container = CountedFiles(), MemoryRegistry(), build()
    container.files.override(providers.Object(files))
    container.directory_registry.override(providers.Object(registry))
    request = PublishRequest(str(model), LocalRegistry("shelf", "acme/bot"))
    for times in (2, 1):
        files.read_bytes.clear()
        container.publish()(request)
        for shard in model.glob("*.safetensors"):
            extra = files.read_bytes[shard.name] - times * shard.stat().st_size
            assert 0 <= extra < SMALL, (times, shard.name, extra)
    assert registry.pushes == 1
    changed = fused_model(model, 2 * MIB)
    second = container.publish()(PublishRequest(str(changed), request.destination)).receipt
    first = registry.history(request.destination, limit=2)[1].id
    files.read_bytes.clear()
    container.rollback()(request.destination, first)
    assert second is not None
    registry.tag(request.destination, "v1", second.revision)
    assert not files.read_bytes


# --- by the process ------------------------------------------------------------------------------

_MEASURE = """
import resource, subprocess, sys
def read():
    return next(int(l.split()[1]) for l in open("/proc/self/io") if l.startswith("rchar"))
before = read()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(read() - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads are counted by Linux' /proc")


@frozen
class Place:
    """Where the command publishes to: ``name`` is filled in."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, verb: str, *before: str, name: str, after: tuple[str, ...] = ()) -> list[int]:
        """Bytes read, and resident at most, of a command that succeeds."""
        where = [each.format(name=name) for each in self.arguments]
        command = [WEIGHBRIDGE, verb, "-q", *before, *where, *after]
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, *command],
            env={**os.environ, **self.environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [int(each) for each in done.stdout.split()]


@pytest.fixture(params=["lfs", "xet", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "directory":
        yield Place((str(tmp_path / "shelf"), "--name", "acme/{name}"), {})
        return
    xet = request.param == "xet"
    with HubServer(xet=xet, keep_content=False) as hub:
        environment = {
            "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "0" if xet else "1", "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip
        yield Place(("hf://acme/{name}",), environment)


@linux
def test_the_process_reads_no_byte_more_often_than_it_must(place: Place, tmp_path: Path) -> None:
    """By the difference of two models, in which the program's own files cancel out."""
    sizes = (2 * MIB, 34 * MIB)
    models = [fused_model(tmp_path / str(size), size) for size in sizes]
    read_back = 0 if place.environment else 1
    for times in (2 + read_back, 1 + read_back):
        small, large = (place.run("publish", str(m), name=m.name)[0] for m in models)
        ratio = (large - small) / (sizes[1] - sizes[0])
        assert times - 0.05 < ratio < times + 0.05


@linux
def test_going_back_reads_no_model(place: Place, tmp_path: Path) -> None:
    """But what a directory registry itself holds of it, once, for the read-back."""
    names, read = ("small", "large"), []
    sizes = (2 * MIB, 34 * MIB)
    for name, size in zip(names, sizes, strict=True):
        model = fused_model(tmp_path / name, size)
        place.run("publish", str(model), name=name)
        fused_model(model, size + MIB)
        place.run("publish", str(model), name=name, after=("--tag", "v2"))
        history = subprocess.run(
            [WEIGHBRIDGE, "log", "--format", "json",
             *(each.format(name=name) for each in place.arguments)],
            env={**os.environ, **place.environment}, capture_output=True, check=True,
        )  # fmt: skip
        first = _revisions(history.stdout)[1]
        read.append(place.run("rollback", name=name, after=("--to", first))[0])
    times = 0 if place.environment else 1
    assert abs((read[1] - read[0]) / (sizes[1] - sizes[0]) - times) < 0.05


def _revisions(output: bytes) -> list[str]:
    return [each["revision"] for each in json.loads(output)["revisions"]]


@linux
@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(place: Place, tmp_path: Path) -> None:
    """Xet buffers what it sends, up to a bound of its own that is far above these models."""
    if place.environment.get("HF_HUB_DISABLE_XET") == "0":
        pytest.skip("what Xet holds is Xet's")
    sizes = (16 * MIB, 256 * MIB)
    models = [fused_model(tmp_path / str(size), size) for size in sizes]
    small, large = (place.run("publish", str(m), name=m.name)[1] for m in models)
    assert large < 150_000_000
    assert large - small < 40_000_000
