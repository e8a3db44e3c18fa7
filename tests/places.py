"""A new place in each kind of registry, with its real counterpart, for tests over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contracts.registry import Subject
from tests.docker_registry import DockerRegistry
from tests.fakes.memory_registry import MemoryRegistry
from tests.hub_server import HubServer
from tests.s3_server import bucket_server
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.hub import HubRegistry
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.s3_registry import S3Registry
from weighbridge.domain.publication import HubRepo, LocalRegistry, OciRepo, S3Prefix

Places = Callable[[], Subject]


@contextmanager
def _memory(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Places]:
    yield lambda: Subject(MemoryRegistry(), LocalRegistry("memory", "acme/m"))


@contextmanager
def _directory(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Places]:
    yield lambda: Subject(
        DirectoryRegistry(), LocalRegistry(str(folder / "shelf"), f"acme/{uuid4().hex}")
    )


@contextmanager
def _hub(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Places]:
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with HubServer(xet=False) as hub:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_TOKEN", hub.token)
        yield lambda: Subject(HubRegistry(hub.url, hub.token), HubRepo(f"acme/{uuid4().hex}"))


@contextmanager
def _oci(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Places]:
    with DockerRegistry(folder / "oci") as registry:
        yield lambda: Subject(OciRegistry(), OciRepo(registry.host, f"acme/{uuid4().hex}"))


@contextmanager
def _s3(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Places]:
    with bucket_server(patch) as bucket:
        yield lambda: Subject(S3Registry(), S3Prefix(bucket, uuid4().hex))


PLACES: Mapping[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Places]]] = {
    "memory": _memory,
    "directory": _directory,
    "hub": _hub,
    "oci": _oci,
    "s3": _s3,
}
