"""OCI registries as a registry: a tag is the head, the digest of a manifest is the revision.

Decides what a tag may hold for us to read it, or to publish over it: a model whose files are
layers, and nothing else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from attrs import field, frozen

from weighbridge.adapters.oci_registry.failures import Failures
from weighbridge.adapters.oci_registry.indexes import require_no_index
from weighbridge.adapters.oci_registry.log import Log, without_branches
from weighbridge.adapters.oci_registry.login import credential_for
from weighbridge.adapters.oci_registry.push import Push, point, require_head, turn
from weighbridge.adapters.oci_registry.repository import Repository, Stored
from weighbridge.adapters.oci_registry.session import Session
from weighbridge.adapters.oci_registry.tags import Tags
from weighbridge.adapters.oci_registry.transport import Transport
from weighbridge.application.ports import no_progress
from weighbridge.application.several import at_once
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import Archive, Manifest
from weighbridge.domain.errors import (
    DestinationMissing,
    ModelPacked,
    RegistryRejected,
    TagTaken,
    Unsupported,
    UsageError,
)
from weighbridge.domain.publication import (
    Destination,
    OciRepo,
    Receipt,
    RemoteHead,
    Revision,
    full_id,
    require_no_branch,
    tagged,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath
    from weighbridge.domain.publication import PublicationPlan


_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def _hosts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(n.removeprefix("http://").rstrip("/") for n in names)


@frozen
class OciRegistry:
    """A Registry for ``OciRepo`` destinations.

    ``logins`` are files as docker's config.json, of which the first that has a login for a place
    counts; ``plain_http`` are hosts, with port, that are spoken to without TLS. This machine is
    where nothing there speaks it. ``certificates`` are directories as docker's certs.d.
    """

    logins: Sequence[str] = ()
    plain_http: frozenset[str] = field(default=frozenset(), converter=_hosts)
    timeout: float = 60.0
    certificates: Sequence[str] = ()
    #: So that a token is asked for once, and not for each file.
    _known: dict[OciRepo, Repository] = field(factory=dict, init=False, repr=False, eq=False)
    _reading: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)
    _read: dict[tuple[OciRepo, str], Manifest] = field(
        factory=dict, init=False, repr=False, eq=False
    )

    def head(self, destination: Destination) -> RemoteHead | None:
        """What the tag names; None if there is no such tag or repository. Raises ModelPacked, as
        all that reads does but ``open``."""
        place = _oci(destination)
        repository = self._repository(place)
        stored = repository.manifest(place.revision)
        return RemoteHead(stored.digest, _files(place, repository, stored)) if stored else None

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """The manifest of that digest or tag."""
        place = _oci(destination)
        repository = self._repository(place)
        stored = _required(place, repository, revision)
        return RemoteHead(stored.digest, _files(place, repository, stored))

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """The manifest of that digest or tag; a file whose blob is not there is not in it."""
        place = _oci(destination)
        repository = self._repository(place)
        stored = _required(place, repository, revision)
        entries = _files(place, repository, stored).entries
        blobs = [*{(modelpack.blob_digest(e), e.size) for e in entries}]
        there = dict(zip(blobs, at_once(lambda b: repository.has_blob(*b), blobs), strict=True))
        return RemoteHead(
            stored.digest,
            Manifest(e for e in entries if there[modelpack.blob_digest(e), e.size]),
        )

    def _require_whole(self, place: OciRepo, digest: str) -> None:
        if self.manifest(place, digest) != self.recorded(place, digest):
            reason = f"files of revision {digest} are missing in the registry"
            raise RegistryRejected(destination=str(place), reason=reason)

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The blob of that file. A broken connection asks for the rest."""
        place = _oci(destination)
        repository = self._repository(place)
        entry = self._named(place, revision).find(path)
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
        """Blobs first, then the tag, then the log with ``message``: equal content has an equal
        digest. Raises UsageError for a digest, which nothing can be published to."""
        place = _tag(plan.destination)
        return Push(self._repository(place), place, plan, blobs, message, progress).run()

    def start(self, destination: Destination) -> RemoteHead | None:
        """A tag begins with nothing."""
        return None

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """That the registry answers and knows us; it tells the right to write by writing only."""
        if pull_request:
            reason = "OCI registries have no pull requests; publish to a tag of its own"
            raise Unsupported(destination=str(destination), reason=reason)
        place = _tag(destination)
        if writing:
            self._repository(place).manifest(place.revision)

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """The log that is kept beside the tag; what others pushed is in it without a date."""
        place = _oci(destination)
        repository = self._repository(place)
        head = repository.manifest(place.revision)
        told = Log(repository, place.revision).read(head.digest if head else None)
        return tagged(told[:limit], dict(self.tags(destination)) if told else {})

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The tags that nothing is published to, with the digest of each, which is asked for when
        it is wanted: a repository may have thousands."""
        place = _oci(destination)
        repository = self._repository(place)
        there = repository.tags()
        tags = without_branches(there)
        # What it is published to is a tag itself.
        branches = {*there} - {*tags, place.revision}
        require_no_branch(destination, wanted, branches.__contains__)
        return Tags((t for t in tags if t != place.revision), repository.manifest)

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """Not in one step with the look whether it is taken: OCI has no compare-and-swap."""
        place = _oci(destination)
        if not _TAG.fullmatch(name):
            raise UsageError(problem=f"{name!r} cannot be a tag of an OCI registry")
        repository = self._repository(place)
        wanted, now = _required(place, repository, revision), repository.manifest(name)
        if now is not None and now.digest != wanted.digest and not move:
            raise TagTaken(destination=str(place), tag=name, revision=now.digest)
        if now is None or now.digest != wanted.digest:
            repository.put_manifest(name, wanted.content)

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """The tag names the old manifest again; no blob is sent. A registry that has collected what
        no tag named any more raises DestinationMissing."""
        place = _tag(destination)
        repository = self._repository(place)
        with turn(place):
            before = require_head(repository, place, parent)
            wanted = _required(place, repository, revision)
            if wanted.digest != parent:
                self._require_whole(place, wanted.digest)
                point(repository, place, before, wanted.digest, wanted.content)
                Log(repository, place.revision).add(parent, wanted.digest, message)
        where = f"{place.host}/{place.name}@{wanted.digest}"
        return Receipt(destination, wanted.digest, wanted.digest != parent, where)

    def _named(self, place: OciRepo, revision: str) -> Manifest:
        """The files and archives of a revision. A digest names the same for ever, and is asked for
        once for all the files that are read one after another."""
        with self._reading:  # once, however many files are opened at a time
            found = self._read.get((place, revision))
            if found is None:
                repository = self._repository(place)
                stored = _required(place, repository, revision)
                files, archives = _contents(place, repository, stored)
                found = Manifest((*files.entries, *(each.entry for each in archives)))
                if ":" in revision:
                    self._read.clear()
                    self._read[place, revision] = found
        return found

    def _repository(self, place: OciRepo) -> Repository:
        if place not in self._known:
            transport = Transport(self.plain_http, self.timeout, self.certificates)
            login = partial(credential_for, place.host, place.name, self.logins)
            session = Session(place.host, place.name, transport, Failures(str(place)), login)
            self._known.setdefault(place, Repository(session, place.name))
        return self._known[place]


def _oci(destination: Destination) -> OciRepo:
    if not isinstance(destination, OciRepo):
        raise UsageError(problem=f"{destination} is not in an OCI registry")
    return destination


def _tag(destination: Destination) -> OciRepo:
    """A destination that can be published to."""
    place = _oci(destination)
    if not place.is_tag:
        raise UsageError(problem=f"{place} names a digest; publish to a tag")
    return place


def _required(place: OciRepo, repository: Repository, revision: str) -> Stored:
    stored = None
    if ":" not in revision or modelpack.is_digest(revision):  # of others some answer with 500
        stored = repository.manifest(revision)
    if stored is None and (full := full_id(_past(place, repository), revision)):
        stored = repository.manifest(full)
    if stored is None:
        raise DestinationMissing(destination=str(place), reason=f"no revision {revision}")
    return stored


def _past(place: OciRepo, repository: Repository) -> Iterator[str]:
    """What the tag named, as far as its log tells."""
    head = repository.manifest(place.revision)
    return (each.id for each in Log(repository, place.revision).read(head.digest if head else None))


def _files(place: OciRepo, repository: Repository, stored: Stored) -> Manifest:
    files, archives = _contents(place, repository, stored)
    if archives:
        raise ModelPacked(
            destination=str(place),
            reason="its files are packed in archives: a pull takes them apart, and nothing else is "
            "done with them, or published over them",
            revision=stored.digest,
            files=files,
            archives=archives,
        )
    return files


def _contents(
    place: OciRepo, repository: Repository, stored: Stored
) -> tuple[Manifest, tuple[Archive, ...]]:
    require_no_index(place, repository, stored)
    try:
        return modelpack.contents(stored.content)
    except ValueError as error:
        raise RegistryRejected(destination=str(place), reason=str(error)) from error
