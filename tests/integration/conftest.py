"""Real registries that several modules talk to: one of each kind for a module; and what keeps the
machine's own settings away from the local Hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker_registry import DockerRegistry, Guard
from tests.docker_registry.faulty import FaultyWay


@pytest.fixture
def hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local Hub is reached directly; the machine's own login is not used."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("plain")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """One that demands a password."""
    with DockerRegistry(tmp_path_factory.mktemp("basic"), Guard.BASIC) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """One that demands a token."""
    with DockerRegistry(tmp_path_factory.mktemp("token"), Guard.TOKEN) as running:
        yield running


@pytest.fixture
def way(plain: DockerRegistry) -> Iterator[FaultyWay]:
    """A way to the plain registry on which things go wrong."""
    with FaultyWay(plain.host) as running:
        yield running
