"""Every implementation of Registry under its contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.registry import RegistryContract, Subject
from tests.fakes.memory_registry import MemoryRegistry
from tests.hub_server import HubServer
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.hub import HubRegistry
from weighbridge.domain.publication import HubRepo, LocalRegistry


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


class TestHubRegistryOnABranch(RegistryContract):
    @pytest.fixture
    def subject(self, server: HubServer, request: pytest.FixtureRequest) -> Subject:
        name = f"acme/b{abs(hash(request.node.name))}"
        server.create_repo(name, private=True, files={"of-main.txt": b"stays on main"})
        place = HubRepo(name, "release")
        return Subject(HubRegistry(server.url, server.token), place, server.token)
