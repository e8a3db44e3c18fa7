"""A prefix of a bucket as a registry: an OCI image layout whose index is written conditionally.

Decides the form, which other tools read too: what is copied from the bucket to a directory is a
layout that skopeo takes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define, field

from weighbridge.adapters.s3_registry.failures import configured
from weighbridge.adapters.s3_registry.names import Goal, Names, files_of, manifest_of
from weighbridge.adapters.s3_registry.push import Push
from weighbridge.adapters.s3_registry.store import Store
from weighbridge.application.ports import no_progress
from weighbridge.application.several import at_once
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import Manifest
from weighbridge.domain.errors import (
    DestinationMissing,
    MissingExtra,
    PermissionDenied,
    RegistryRejected,
    RevisionConflict,
    TagTaken,
    Unsupported,
    UsageError,
)
from weighbridge.domain.publication import (
    Destination,
    Receipt,
    RemoteHead,
    Revision,
    S3Prefix,
    full_id,
    require_no_branch,
    tagged,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath
    from weighbridge.domain.publication import PublicationPlan


@define
class S3Registry:
    """A Registry for ``S3Prefix`` destinations.

    Endpoint, region and login are boto3's to find, as AWS_ENDPOINT_URL, AWS_PROFILE and the rest
    say. For ``timeout`` seconds a store may be silent, each time that boto3 asks. ``also`` is what
    every request says that knows it, by boto3's names: how to encrypt, who pays. All methods
    raise MissingExtra if boto3 is not installed.
    """

    timeout: float = 60.0
    also: Mapping[str, str] = field(factory=dict)
    _client: Any = field(default=None, init=False, repr=False)
    _making: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _reading: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)
    _read: dict[tuple[S3Prefix, str], Manifest] = field(
        factory=dict, init=False, repr=False, eq=False
    )

    def head(self, destination: Destination) -> RemoteHead | None:
        """What the index has for the name; None if there is no index or no such name.

        Raises DestinationMissing if there is no such bucket.
        """
        store = self._store(destination)
        revision = Names(store).of(store.index(), store.place.revision)
        return RemoteHead(revision, files_of(store, revision)) if revision else None

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """The manifest of that digest or name."""
        store = self._store(destination)
        revision = _digest(store, revision)
        return RemoteHead(revision, files_of(store, revision))

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """The manifest of that digest or name; a file whose blob is missing, or has another size or
        checksum, is not in it."""
        store = self._store(destination)
        revision = _digest(store, revision)
        found = files_of(store, revision)
        blobs = [*{(modelpack.blob_digest(e), e.size) for e in found.entries}]
        there = dict(zip(blobs, at_once(lambda b: store.has_blob(*b), blobs), strict=True))
        return RemoteHead(
            revision, Manifest(e for e in found.entries if there[modelpack.blob_digest(e), e.size])
        )

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The blob of that file. A broken connection asks for the rest."""
        store = self._store(destination)
        entry = self._named(store, revision).find(path)
        if entry is None:
            reason = f"no {path} in revision {revision}"
            raise DestinationMissing(destination=str(destination), reason=reason)
        return store.open_blob(modelpack.blob_digest(entry), entry.size)

    def start(self, destination: Destination) -> RemoteHead | None:
        """A name begins with nothing."""
        return None

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """That the bucket is there, can be read and written, and that its store knows conditions:
        by a write on one that does not hold."""
        _require_name(destination)
        if pull_request:
            reason = "S3 has no pull requests; publish to a name of its own, and tag or copy it"
            raise Unsupported(destination=str(destination), reason=reason)
        store = self._store(destination)
        store.index()
        with suppress(*(() if writing else (PermissionDenied,))):
            store.try_conditions()

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """What the index says of the name's past."""
        store = self._store(destination)
        names, index = Names(store), store.index()
        return tagged(names.log(index, store.place.revision)[:limit], names.tags(index))

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The names of the index that nothing is published to."""
        store = self._store(destination)
        names, index = Names(store), store.index()
        tags, known = names.tags(index), {store.place.revision, *names.all(index)}
        require_no_branch(destination, wanted, (known - tags.keys()).__contains__)
        return tags

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """One conditional write of the index."""
        store = self._store(destination)
        names, index = Names(store), store.index()
        found, now = _digest(store, revision), names.of(index, name)
        if now == found:
            return
        content = manifest_of(store, found)
        if now is not None and not move:
            raise TagTaken(destination=str(destination), tag=name, revision=now)
        store.require_conditions()
        names.move(index, now, Goal(name, found, len(content), None))

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """One conditional write of the index; no blob is sent."""
        _require_name(destination)
        store = self._store(destination)
        names, index = Names(store), store.index()
        head = names.of(index, store.place.revision)
        if head != parent:
            raise RevisionConflict(destination=str(destination), expected=parent, actual=head)
        found = _digest(store, revision)
        content = manifest_of(store, found)
        if found != head:
            if self.manifest(destination, found) != self.recorded(destination, found):
                reason = f"files of revision {found} are missing in the bucket"
                raise RegistryRejected(destination=str(destination), reason=reason)
            store.require_conditions()
            names.move(index, head, Goal(store.place.revision, found, len(content), message))
        return Receipt(destination, found, found != head, store.address)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Blobs first, the index last; ``message`` is in the index: equal content has an equal
        digest."""
        _require_name(plan.destination)
        store = self._store(plan.destination)
        return Push(store, store.place, plan, blobs, message, progress).run()

    def _named(self, store: Store, revision: str) -> Manifest:
        """The files of a revision. A digest names the same for ever, and is asked for once for all
        the files that are read one after another."""
        with self._reading:  # once, however many files are opened at a time
            found = self._read.get((store.place, revision))
            if found is None:
                found = files_of(store, _digest(store, revision))
                if ":" in revision:
                    self._read.clear()
                    self._read[store.place, revision] = found
        return found

    def _store(self, destination: Destination) -> Store:
        if not isinstance(destination, S3Prefix):
            raise UsageError(problem=f"{destination} is not in S3")
        with self._making:
            if self._client is None:
                with configured(str(destination)):
                    self._client = _client(self.timeout, self.also)
        return Store(self._client, destination)


def _client(timeout: float, also: Mapping[str, str]) -> Any:
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
        connect_timeout=timeout,
        read_timeout=timeout,
    )
    client = boto3.session.Session().client("s3", config=config)

    def add(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
        known = model.input_shape.members if model.input_shape else ()
        return {name: value for name, value in also.items() if name in known} | params

    client.meta.events.register("provide-client-params.s3", add)
    return client


def _require_name(destination: Destination) -> None:
    if isinstance(destination, S3Prefix) and not destination.is_name:
        raise UsageError(problem=f"{destination} names a digest; publish to a name")


def _digest(store: Store, revision: str) -> str:
    """The digest that ``revision`` is, or is a name or the beginning of. Raises DestinationMissing:
    so nothing else can lead to another object."""
    algorithm, _, value = revision.partition(":")
    if algorithm == "sha256" and len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return revision
    names, index = Names(store), store.index()
    told = (e.id for name in names.all(index) for e in names.log(index, name))
    found = names.of(index, revision) or full_id(told, revision)
    if found is None:
        raise DestinationMissing(destination=str(store.place), reason=f"no revision {revision}")
    return found
