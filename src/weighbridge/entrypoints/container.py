"""The composition root: the only module that names adapters.

Override a provider to put your own port behind the services; see docs/how-to/add-a-registry.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dependency_injector import containers, providers

from weighbridge.adapters.algebra_prover import AlgebraProver
from weighbridge.adapters.binding_prover import BindingProver
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.gguf_writer import GgufPackageWriter
from weighbridge.adapters.hub import HubFiles, HubRegistry
from weighbridge.adapters.local_files import LocalFiles
from weighbridge.adapters.located_files import LocatedFiles
from weighbridge.adapters.logits_prover import LogitsProver
from weighbridge.adapters.mlx_converter import MlxConverter
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.adapters.weight_prover import SamplingProver
from weighbridge.application.convert import Convert
from weighbridge.application.convert_gguf import ConvertGguf
from weighbridge.application.dequantise import Dequantise
from weighbridge.application.fuse import Fuse
from weighbridge.application.inspect import Inspect
from weighbridge.application.loadable_base import LoadableBase
from weighbridge.application.ports import Converter, Prover, Registry
from weighbridge.application.publish import Publish
from weighbridge.application.repair import Repair
from weighbridge.application.validate import Validate
from weighbridge.application.verify import Verify
from weighbridge.domain.errors import UsageError
from weighbridge.domain.publication import HubRepo, LocalRegistry
from weighbridge.entrypoints.settings import Settings


def _hub(settings: Settings) -> HubRegistry:
    if settings.transfer not in ("auto", "xet", "lfs"):
        raise UsageError(problem=f"transfer {settings.transfer!r} is not auto, xet or lfs")
    return HubRegistry(
        endpoint=settings.endpoint, token=settings.token, transfer=cast(Any, settings.transfer)
    )


def _hub_files(settings: Settings) -> HubFiles:
    return HubFiles(endpoint=settings.endpoint, token=settings.token)


def _converter(settings: Settings) -> Converter:
    """numpy is on every machine; MLX is chosen by WEIGHBRIDGE_CONVERTER=mlx."""
    match settings.converter:
        case "numpy":
            return NumpyConverter()
        case "mlx":
            return MlxConverter()
        case other:
            raise UsageError(problem=f"converter {other!r} is not numpy or mlx")


def _registries(directory: Registry, hub: Registry) -> Mapping[type, Registry]:
    return {LocalRegistry: directory, HubRepo: hub}


def _provers() -> tuple[Prover, ...]:
    return AlgebraProver(), BindingProver(), LogitsProver()


class Container(containers.DeclarativeContainer):
    """Services by name. Use an instance; overriding the class leaks into later instances."""

    settings = providers.Dependency(instance_of=Settings)

    local_files = providers.Singleton(LocalFiles)
    hub_files = providers.Singleton(_hub_files, settings)
    files = providers.Singleton(LocatedFiles, local=local_files, hub=hub_files)
    converter = providers.Singleton(_converter, settings)
    surveyor = providers.Singleton(NumpySurveyor)
    gguf = providers.Singleton(GgufPackageWriter, files=files)
    provers = providers.Singleton(_provers)
    weight_maker = providers.Singleton(NumpyWeightMaker)
    weight_prover = providers.Singleton(SamplingProver)
    directory_registry = providers.Singleton(DirectoryRegistry)
    hub_registry = providers.Singleton(_hub, settings)
    registries = providers.Singleton(_registries, directory_registry, hub_registry)

    inspect = providers.Factory(Inspect, files=files)
    validate = providers.Factory(Validate, files=files, surveyor=surveyor)
    convert = providers.Factory(
        Convert, files=files, converter=converter, algebra=provers.provided[0]
    )
    convert_gguf = providers.Factory(
        ConvertGguf, files=files, converter=converter, algebra=provers.provided[0], gguf=gguf
    )
    repair = providers.Factory(Repair, files=files, converter=converter, provers=provers)
    fuse = providers.Factory(Fuse, files=files, maker=weight_maker, prover=weight_prover)
    dequantize = providers.Factory(
        Dequantise, files=files, maker=weight_maker, prover=weight_prover
    )
    loadable = providers.Factory(LoadableBase, files=files, dequantise=dequantize)
    verify = providers.Factory(Verify, files=files, provers=provers, loadable=loadable)
    publish = providers.Factory(
        Publish,
        files=files,
        converter=converter,
        surveyor=surveyor,
        provers=provers,
        registries=registries,
        loadable=loadable,
    )


def build(settings: Settings | None = None) -> Container:
    """A container with the standard adapters."""
    return Container(settings=settings or Settings.from_environment())
