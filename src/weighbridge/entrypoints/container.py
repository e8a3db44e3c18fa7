"""The composition root: the only module that names adapters.

Override a provider to put your own port behind the services; see docs/how-to/add-a-registry.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from weighbridge.domain.errors import UsageError
from weighbridge.domain.publication import HubRepo, LocalRegistry, OciRepo, S3Prefix
from weighbridge.entrypoints.injection import containers, providers
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.adapters.hub import HubFiles
    from weighbridge.application.compare import Compare
    from weighbridge.application.convert import Convert
    from weighbridge.application.convert_gguf import ConvertGguf
    from weighbridge.application.copy import Copy
    from weighbridge.application.dequantise import Dequantise
    from weighbridge.application.fuse import Fuse
    from weighbridge.application.history import Log, RollBack
    from weighbridge.application.inspect import Inspect
    from weighbridge.application.loadable_base import LoadableBase
    from weighbridge.application.ports import Converter, Prover, Registry, Signatures
    from weighbridge.application.publish import Publish
    from weighbridge.application.pull import Pull
    from weighbridge.application.repair import Repair
    from weighbridge.application.validate import Validate
    from weighbridge.application.verify import Verify
    from weighbridge.application.verify_release import VerifyRelease


_ENDPOINT = re.compile(
    r"https?://([^\s/?#@]*@)?([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[^\s?#]*)?",
    re.IGNORECASE,
)
_Maker: TypeAlias = "Callable[[], Registry]"


def _later(path: str) -> Callable[..., Any]:
    """The class of that path in the package, imported with the first object: no verb needs all."""
    module, _, name = path.rpartition(".")
    return lambda **ports: getattr(import_module(f"weighbridge.{module}"), name)(**ports)


def _hub(settings: Settings) -> Registry:
    from weighbridge.adapters.hub import HubRegistry
    from weighbridge.adapters.hub.client import make_ready_meanwhile

    if settings.transfer not in ("auto", "xet", "lfs"):
        raise UsageError(problem=f"transfer {settings.transfer!r} is not auto, xet or lfs")
    make_ready_meanwhile()
    return HubRegistry(
        endpoint=_endpoint(settings),
        token=settings.token,
        transfer=cast(Any, settings.transfer),
        timeout=settings.timeout,
    )


def _hub_files(settings: Settings) -> HubFiles:
    from weighbridge.adapters.hub import HubFiles

    return HubFiles(endpoint=_endpoint(settings), token=settings.token, timeout=settings.timeout)


def _endpoint(settings: Settings) -> str | None:
    if settings.endpoint is None:
        return None
    if not _ENDPOINT.fullmatch(settings.endpoint):
        expected = "https://host, or http://host:port"
        raise UsageError(problem=f"HF_ENDPOINT is not an address; expected {expected}")
    return settings.endpoint.rstrip("/")


def _converter(settings: Settings) -> Converter:
    """numpy is on every machine; MLX is chosen by WEIGHBRIDGE_CONVERTER=mlx."""
    match settings.converter:
        case "numpy":
            from weighbridge.adapters.numpy_converter import NumpyConverter

            return NumpyConverter()
        case "mlx":
            from weighbridge.adapters.mlx_converter import MlxConverter

            return MlxConverter()
        case other:
            raise UsageError(problem=f"converter {other!r} is not numpy or mlx")


def _oci(settings: Settings) -> Registry:
    from weighbridge.adapters.oci_registry import OciRegistry

    return OciRegistry(
        logins=settings.registry_logins,
        plain_http=settings.plain_http,
        certificates=settings.registry_certificates,
        timeout=settings.timeout,
    )


def _s3(settings: Settings) -> Registry:
    from weighbridge.adapters.s3_registry import S3Registry

    return S3Registry(timeout=settings.timeout, also=settings.s3)


def _signatures(settings: Settings) -> Signatures:
    from weighbridge.adapters.key_signatures import KeySignatures

    return KeySignatures(settings.passphrase, settings.ask_passphrase)


class _Registries(Mapping[type, "Registry"]):
    """By the type of their destinations. Each is made when it is asked for: no verb needs all."""

    def __init__(self, directory: _Maker, hub: _Maker, oci: _Maker, s3: _Maker) -> None:
        self._makers = {LocalRegistry: directory, HubRepo: hub, OciRepo: oci, S3Prefix: s3}

    def __getitem__(self, kind: type) -> Registry:
        return self._makers[kind]()

    def __iter__(self) -> Iterator[type]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _scratch() -> tuple[str, int]:
    from weighbridge.adapters.local_files import scratch_room

    return scratch_room()


def _version() -> str:
    import weighbridge

    return weighbridge.__version__


def _today() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).date().isoformat()


def _provers(*provers: Prover) -> tuple[Prover, ...]:
    return provers


class Container(containers.DeclarativeContainer):
    """Services by name. Use an instance; overriding the class leaks into later instances."""

    settings = providers.Dependency(instance_of=Settings)

    local_files = providers.Singleton(_later("adapters.local_files.LocalFiles"))
    hub_files = providers.Singleton(_hub_files, settings)
    files = providers.Singleton(
        _later("adapters.located_files.LocatedFiles"),
        local=local_files,
        hub=hub_files.provider,
    )
    converter = providers.Singleton(_converter, settings)
    surveyor = providers.Singleton(_later("adapters.numpy_survey.NumpySurveyor"))
    templates = providers.Singleton(_later("adapters.jinja_templates.JinjaTemplateReader"))
    tokenizers = providers.Singleton(_later("adapters.tokenizer_builder.PackageTokenizerBuilder"))
    gguf = providers.Singleton(_later("adapters.gguf_writer.GgufPackageWriter"), files=files)
    algebra = providers.Singleton(_later("adapters.algebra_prover.AlgebraProver"))
    binding = providers.Singleton(_later("adapters.binding_prover.BindingProver"))
    logits = providers.Singleton(_later("adapters.logits_prover.LogitsProver"))
    provers = providers.Singleton(_provers, algebra, binding, logits)
    weight_maker = providers.Singleton(_later("adapters.numpy_weights.NumpyWeightMaker"))
    comparer = providers.Singleton(_later("adapters.numpy_comparison.NumpyComparer"))
    weight_prover = providers.Singleton(_later("adapters.weight_prover.SamplingProver"))
    directory_registry = providers.Singleton(
        _later("adapters.directory_registry.DirectoryRegistry")
    )
    hub_registry = providers.Singleton(_hub, settings)
    oci_registry = providers.Singleton(_oci, settings)
    s3_registry = providers.Singleton(_s3, settings)
    registries = providers.Singleton(
        _Registries,
        directory_registry.provider,
        hub_registry.provider,
        oci_registry.provider,
        s3_registry.provider,
    )
    rules = providers.Singleton(_later("entrypoints.rulebook.installed_rulebook"))
    clock = providers.Object(_today)

    inspect: providers.Factory[Inspect] = providers.Factory(
        _later("application.inspect.Inspect"), files=files
    )
    change_meter = providers.Singleton(_later("adapters.change_meter.NumpyChangeMeter"))
    measure = providers.Factory(
        _later("application.changed_weights.MeasureChanges"),
        files=files,
        meter=change_meter.provider,
    )
    validate: providers.Factory[Validate] = providers.Factory(
        _later("application.validate.Validate"),
        files=files,
        surveyor=surveyor,
        templates=templates,
        measure=measure,
        tokenizers=tokenizers,
        rules=rules.provided.rules,
        unavailable=rules.provided.refused,
        clock=clock,
    )
    convert: providers.Factory[Convert] = providers.Factory(
        _later("application.convert.Convert"),
        files=files,
        converter=converter,
        algebra=algebra,
    )
    convert_gguf: providers.Factory[ConvertGguf] = providers.Factory(
        _later("application.convert_gguf.ConvertGguf"),
        files=files,
        converter=converter,
        algebra=algebra,
        gguf=gguf,
    )
    repair: providers.Factory[Repair] = providers.Factory(
        _later("application.repair.Repair"),
        files=files,
        converter=converter,
        provers=provers,
    )
    fuse: providers.Factory[Fuse] = providers.Factory(
        _later("application.fuse.Fuse"),
        files=files,
        maker=weight_maker,
        prover=weight_prover,
    )
    dequantize: providers.Factory[Dequantise] = providers.Factory(
        _later("application.dequantise.Dequantise"),
        files=files,
        maker=weight_maker,
        prover=weight_prover,
    )
    loadable: providers.Factory[LoadableBase] = providers.Factory(
        _later("application.loadable_base.LoadableBase"),
        files=files,
        dequantise=dequantize.provider,
    )
    verify: providers.Factory[Verify] = providers.Factory(
        _later("application.verify.Verify"),
        files=files,
        provers=provers,
        loadable=loadable,
        measure=measure,
    )
    signatures = providers.Singleton(_signatures, settings)
    identities = providers.Singleton(
        _later("adapters.sigstore_identities.SigstoreIdentities"),
        token=settings.provided.identity_token,
        config=settings.provided.sigstore_config,
        timeout=settings.provided.timeout,
    )
    attest = providers.Factory(
        _later("application.attest.Attest"),
        tool=providers.Callable(_version),
        signatures=signatures,
        identities=identities,
    )
    log: providers.Factory[Log] = providers.Factory(
        _later("application.history.Log"), registries=registries
    )
    rollback: providers.Factory[RollBack] = providers.Factory(
        _later("application.history.RollBack"), registries=registries
    )
    diff: providers.Factory[Compare] = providers.Factory(
        _later("application.compare.Compare"), registries=registries, comparer=comparer
    )
    publish: providers.Factory[Publish] = providers.Factory(
        _later("application.publish.Publish"),
        files=files,
        converter=converter,
        validate=validate,
        provers=provers,
        registries=registries,
        attest=attest,
        loadable=loadable,
    )
    verify_release: providers.Factory[VerifyRelease] = providers.Factory(
        _later("application.verify_release.VerifyRelease"),
        files=files,
        registries=registries,
        signatures=signatures,
        identities=identities,
    )
    pull: providers.Factory[Pull] = providers.Factory(
        _later("application.pull.Pull"), files=files, registries=registries
    )
    copy: providers.Factory[Copy] = providers.Factory(
        _later("application.copy.Copy"), registries=registries, scratch=_scratch
    )


def build(settings: Settings | None = None) -> Container:
    """A container with the standard adapters."""
    return Container(settings=settings or Settings.from_environment())
