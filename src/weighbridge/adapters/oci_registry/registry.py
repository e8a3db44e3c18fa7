"""OCI registries as a registry: a tag is the head, the digest of a manifest is the revision.

Decides what a tag may hold for us to read it, or to publish over it: a model whose files are
layers, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from attrs import field, frozen

from weighbridge.adapters.oci_registry.failures import Failures
from weighbridge.adapters.oci_registry.login import credential_for
from weighbridge.adapters.oci_registry.push import Push
from weighbridge.adapters.oci_registry.repository import Repository, Stored
from weighbridge.adapters.oci_registry.session import Session
from weighbridge.adapters.oci_registry.transport import Transport
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import Manifest
from weighbridge.domain.errors import DestinationMissing, RegistryRejected, UsageError
from weighbridge.domain.publication import Destination, OciRepo, RemoteHead

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath
    from weighbridge.domain.publication import PublicationPlan, Receipt


def _hosts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class OciRegistry:
    """A Registry for ``OciRepo`` destinations.

    ``docker_config`` is the directory of docker's config.json, where the login is; ``plain_http``
    are hosts, with port, that are spoken to without TLS. This machine always is.
    """

    docker_config: str | None = None
    plain_http: frozenset[str] = field(default=frozenset(), converter=_hosts)
    timeout: float = 60.0
    #: So that a token is asked for once, and not for each file.
    _known: dict[OciRepo, Repository] = field(factory=dict, init=False, repr=False, eq=False)

    def head(self, destination: Destination) -> RemoteHead | None:
        """What the tag names; None if there is no such tag or repository."""
        place = _oci(destination)
        stored = self._repository(place).manifest(place.revision)
        return RemoteHead(stored.digest, _files(place, stored)) if stored else None

    def manifest(self, destination: Destination, revision: str) -> RemoteHead:
        """The manifest of that digest or tag; a file whose blob is not there is not in it."""
        place = _oci(destination)
        repository = self._repository(place)
        stored = _required(place, repository, revision)
        entries = _files(place, stored).entries
        there = {d for d, size in {(modelpack.blob_digest(e), e.size) for e in entries}
                 if repository.has_blob(d, size)}  # fmt: skip
        return RemoteHead(
            stored.digest, Manifest(e for e in entries if modelpack.blob_digest(e) in there)
        )

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The blob of that file. A broken connection asks for the rest."""
        place = _oci(destination)
        repository = self._repository(place)
        entry = _files(place, _required(place, repository, revision)).find(path)
        if entry is None:
            reason = f"no {path} in revision {revision}"
            raise DestinationMissing(destination=str(place), reason=reason)
        return repository.open_blob(modelpack.blob_digest(entry), entry.size)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Blobs first, the tag last. A manifest has no place for ``message``: equal content has
        an equal digest. Raises UsageError for a digest, which nothing can be published to."""
        place = _oci(plan.destination)
        if not place.is_tag:
            raise UsageError(problem=f"{place} names a digest; publish to a tag")
        return Push(self._repository(place), place, plan, blobs, progress).run()

    def _repository(self, place: OciRepo) -> Repository:
        if place not in self._known:
            transport = Transport(self.plain_http, self.timeout)
            login = partial(credential_for, place.host, self.docker_config)
            session = Session(place.host, transport, Failures(str(place)), login)
            self._known[place] = Repository(session, place.name)
        return self._known[place]


def _oci(destination: Destination) -> OciRepo:
    if not isinstance(destination, OciRepo):
        raise UsageError(problem=f"{destination} is not in an OCI registry")
    return destination


def _required(place: OciRepo, repository: Repository, revision: str) -> Stored:
    stored = repository.manifest(revision)
    if stored is None:
        raise DestinationMissing(destination=str(place), reason=f"no revision {revision}")
    return stored


def _files(place: OciRepo, stored: Stored) -> Manifest:
    try:
        return modelpack.unpack(stored.content)
    except ValueError as error:
        raise RegistryRejected(destination=str(place), reason=str(error)) from error
