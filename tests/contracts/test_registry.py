"""Every implementation of Registry under its contract."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pytest
from attrs import evolve, field, frozen

from tests.contracts.registry import RegistryContract, Subject
from tests.docker_registry import DockerRegistry, Guard
from tests.docker_registry.server import PASSWORD
from tests.fakes.memory_registry import MemoryRegistry
from tests.hub_server import HubServer
from tests.s3_server import SECRET_KEY, bucket_server, moto_bucket
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.hub import HubRegistry
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.s3_registry import S3Registry
from weighbridge.application.ports import Blob
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.publication import (
    HubRepo,
    LocalRegistry,
    OciRepo,
    PublicationPlan,
    Receipt,
    S3Prefix,
)


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    """A Hub without Xet, so that the client's choice of protocol is exercised too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        with HubServer(xet=False, page_size=3, part_size=200_000) as running:
            yield running


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return Subject(MemoryRegistry(), LocalRegistry("memory", "acme/m"))


class TestDirectoryRegistry(RegistryContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(DirectoryRegistry(), LocalRegistry(str(tmp_path / "cache"), "acme/m"))


class TestDirectoryRegistryOnABranch(RegistryContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        place = LocalRegistry(str(tmp_path / "cache"), "acme/m", "feature/x")
        return Subject(DirectoryRegistry(), place)


class TestHubRegistry(RegistryContract):
    @pytest.fixture
    def subject(self, server: HubServer, request: pytest.FixtureRequest) -> Subject:
        name = f"acme/m{abs(hash(request.node.name))}"
        return Subject(HubRegistry(server.url, server.token), HubRepo(name), server.token)


@frozen
class OfFiles(Subject):
    """Whose blobs are files where they can be: Xet sends no others."""

    folder: Path = field(kw_only=True)

    def push(self, plan: PublicationPlan, blobs: Mapping[ArtifactPath, Blob]) -> Receipt:
        """Carry out the plan with the contents in files."""
        return super().push(plan, {path: self._filed(blob) for path, blob in blobs.items()})

    def _filed(self, blob: Blob) -> Blob:
        def opened() -> BinaryIO:
            stream = blob.open()
            if type(stream) is not io.BytesIO:
                return stream
            file = self.folder / uuid4().hex
            file.write_bytes(stream.getvalue())
            return file.open("rb")

        return evolve(blob, open=opened)


class TestHubRegistryByXet(RegistryContract):
    @pytest.fixture
    def subject(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name in ("HF_HOME", "HF_XET_CACHE"):
            monkeypatch.setenv(name, str(tmp_path / "home"))
        with HubServer() as hub:
            registry = HubRegistry(hub.url, hub.token, "xet")
            yield OfFiles(registry, HubRepo("acme/x"), hub.token, folder=tmp_path)


class TestHubRegistryOnABranch(RegistryContract):
    @pytest.fixture
    def subject(self, server: HubServer, request: pytest.FixtureRequest) -> Subject:
        name = f"acme/b{abs(hash(request.node.name))}"
        server.create_repo(name, private=True, files={"of-main.txt": b"stays on main"})
        place = HubRepo(name, "release")
        return Subject(HubRegistry(server.url, server.token), place, server.token)


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry that wants tokens, which are to be had for a password."""
    with DockerRegistry(tmp_path_factory.mktemp("oci"), Guard.TOKEN) as running:
        yield running


class TestOciRegistry(RegistryContract):
    @pytest.fixture
    def subject(self, oci: DockerRegistry) -> Subject:
        place = OciRepo(oci.host, f"acme/{uuid4().hex}")
        return Subject(OciRegistry(oci.logins), place, PASSWORD)


class TestOciRegistryWithAnotherTag(RegistryContract):
    @pytest.fixture
    def subject(self, oci: DockerRegistry) -> Subject:
        registry, name = OciRegistry(oci.logins), f"acme/{uuid4().hex}"
        Subject(registry, OciRepo(oci.host, name)).publish({"config.json": b"stays"})
        return Subject(registry, OciRepo(oci.host, name, "v1.0"), PASSWORD)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket in a store that people run."""
    with pytest.MonkeyPatch.context() as patch, bucket_server(patch) as name:
        yield name


class TestS3Registry(RegistryContract):
    @pytest.fixture
    def subject(self, bucket: str) -> Subject:
        return Subject(S3Registry(), S3Prefix(bucket, f"models/{uuid4().hex}"), SECRET_KEY)


class TestS3RegistryWithAnotherName(RegistryContract):
    @pytest.fixture
    def subject(self, bucket: str) -> Subject:
        registry, prefix = S3Registry(), f"models/{uuid4().hex}"
        Subject(registry, S3Prefix(bucket, prefix)).publish({"config.json": b"stays"})
        return Subject(registry, S3Prefix(bucket, prefix, "v1.0"), SECRET_KEY)


@pytest.fixture(scope="module")
def other_bucket() -> Iterator[str]:
    """A bucket in a store that keeps no sums of what it stores."""
    with pytest.MonkeyPatch.context() as patch, moto_bucket(patch) as name:
        yield name


class TestS3RegistryWithoutSums(RegistryContract):
    @pytest.fixture
    def subject(self, other_bucket: str) -> Subject:
        return Subject(S3Registry(), S3Prefix(other_bucket, f"models/{uuid4().hex}"), SECRET_KEY)
