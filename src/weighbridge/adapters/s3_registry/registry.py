"""A prefix of a bucket as a registry: an OCI image layout whose index is written conditionally.

Decides the form, which other tools read too: what is copied from the bucket to a directory is a
layout that skopeo takes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define, field

from weighbridge.adapters.s3_registry.failures import translated
from weighbridge.adapters.s3_registry.push import Push, files_of
from weighbridge.adapters.s3_registry.store import Store
from weighbridge.domain import modelpack, oci_layout
from weighbridge.domain.artifact import Manifest
from weighbridge.domain.errors import (
    DestinationMissing,
    MissingExtra,
    RegistryRejected,
    UsageError,
)
from weighbridge.domain.publication import Destination, RemoteHead, S3Prefix

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath
    from weighbridge.domain.publication import PublicationPlan, Receipt


@define
class S3Registry:
    """A Registry for ``S3Prefix`` destinations.

    Endpoint, region and login are boto3's to find, as AWS_ENDPOINT_URL, AWS_PROFILE and the rest
    say. All methods raise MissingExtra if boto3 is not installed.
    """

    _client: Any = field(default=None, init=False, repr=False)
    _making: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def head(self, destination: Destination) -> RemoteHead | None:
        """What the index has for the name; None if there is no index or no such name.

        Raises DestinationMissing if there is no such bucket.
        """
        store = self._store(destination)
        index = store.index()
        try:
            revision = oci_layout.named(index.content if index else None, store.place.revision)
        except ValueError as error:
            raise RegistryRejected(destination=str(destination), reason=str(error)) from error
        return RemoteHead(revision, files_of(store, revision)) if revision else None

    def manifest(self, destination: Destination, revision: str) -> RemoteHead:
        """The manifest of that digest; a file whose blob is missing, or is of another size or
        checksum, is not in it."""
        store = self._store(destination)
        found = files_of(store, _digest(store.place, revision))
        there = (e for e in found.entries if store.has_blob(modelpack.blob_digest(e), e.size))
        return RemoteHead(revision, Manifest(there))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The blob of that file. A broken connection asks for the rest."""
        store = self._store(destination)
        entry = files_of(store, _digest(store.place, revision)).find(path)
        if entry is None:
            reason = f"no {path} in revision {revision}"
            raise DestinationMissing(destination=str(destination), reason=reason)
        return store.open_blob(modelpack.blob_digest(entry), entry.size)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Blobs first, the index last. A manifest has no place for ``message``: equal content has
        an equal digest."""
        store = self._store(plan.destination)
        return Push(store, store.place, plan, blobs, progress).run()

    def _store(self, destination: Destination) -> Store:
        if not isinstance(destination, S3Prefix):
            raise UsageError(problem=f"{destination} is not in S3")
        with self._making:
            if self._client is None:
                with translated(str(destination), "reading the login"):
                    self._client = _client()
        return Store(self._client, destination)


def _client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        problem = "s3:// needs boto3: pip install 'weighbridge[s3]'"
        raise MissingExtra(problem=problem, extra="s3") from error
    # What we send has its sha256; the sums that boto3 adds by itself are unknown to many stores.
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="weighbridge",
    )
    return boto3.session.Session().client("s3", config=config)


def _digest(place: S3Prefix, revision: str) -> str:
    """``revision`` if it can be one. Raises DestinationMissing: so it cannot lead elsewhere."""
    algorithm, _, value = revision.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise DestinationMissing(destination=str(place), reason=f"no revision {revision}")
    return revision
