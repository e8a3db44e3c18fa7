"""The composition root: everything it names can be made, and anything can be replaced."""

from __future__ import annotations

import pytest
from dependency_injector import providers

from tests.builders import lora_files
from tests.fakes.memory_files import MemoryFiles
from weighbridge.domain.errors import UsageError
from weighbridge.domain.models import Kind
from weighbridge.domain.publication import HubRepo, LocalRegistry, OciRepo, S3Prefix
from weighbridge.entrypoints.container import Container, build
from weighbridge.entrypoints.settings import Settings


@pytest.mark.parametrize("name", sorted(Container.providers))
def test_every_provider_resolves(name: str) -> None:
    assert getattr(build(Settings()), name)() is not None


def test_use_cases_share_their_ports() -> None:
    container = build(Settings())
    assert container.inspect().files is container.publish().files
    assert container.convert().algebra is container.verify().provers[0]


def test_every_destination_has_a_registry() -> None:
    assert set(build(Settings()).registries()) == {HubRepo, LocalRegistry, OciRepo, S3Prefix}


def test_an_unknown_transfer_is_refused() -> None:
    with pytest.raises(UsageError, match="carrier"):
        build(Settings(transfer="carrier-pigeon")).hub_registry()


def test_a_port_of_your_own() -> None:
    files = MemoryFiles()
    files.seed("run", lora_files())
    container = build(Settings())
    container.files.override(providers.Object(files))
    assert container.inspect()("run").kind is Kind.LORA
    assert build(Settings()).files() is not files
