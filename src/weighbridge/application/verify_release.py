"""Is a release still what its statement and its signature say? Reads what was published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import evolve, field, frozen

from weighbridge.application.digests import feed
from weighbridge.application.ports import no_progress
from weighbridge.application.published import Published
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import UsageError
from weighbridge.domain.provenance import (
    MOST_BYTES,
    SIGNATURE,
    STATEMENT,
    NoStatement,
    Statement,
    is_left_by_download,
    parse_statement,
    release_differences,
)
from weighbridge.domain.signature import (
    MOST_BYTES as MOST_SIGNATURE_BYTES,
    NoSignature,
    parse_bundle,
    signed_differences,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import (
        FileSystem,
        Identities,
        Progress,
        Registry,
        Signatures,
    )
    from weighbridge.domain.publication import Destination
    from weighbridge.domain.signature import Identity


@frozen
class ReleaseVerdict:
    """What was found of one revision; ``facts`` are what the statement says of its making.

    ``signature`` is "valid", "invalid", "unverified" if neither key nor identity was given, or
    "none".
    """

    location: str
    revision: str | None
    files: int
    facts: Mapping[str, Any]
    signature: str
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """True if every file is as stated, and as signed if it was said by whom."""
        return not self.problems


@frozen
class _Release:
    """One revision: its files, and how to read them."""

    location: str
    revision: str | None
    manifest: Manifest
    open: Callable[[ArtifactPath], BinaryIO] = field(repr=False)
    #: What is there and cannot be of a release.
    odd: tuple[str, ...] = ()

    def read(self, path: ArtifactPath, most: int) -> bytes | None:
        """A small file, whole; None if it is not there or larger than ``most``."""
        entry = self.manifest.find(path)
        if entry is None or entry.size > most:
            return None
        with self.open(path) as stream:
            return stream.read(most + 1)

    def lacking(self, path: ArtifactPath, what: str) -> str:
        """Why ``read`` gave nothing."""
        entry = self.manifest.find(path)
        if entry is None:
            return f"{path}: there is no {what}"
        return f"{path}: has {entry.size} bytes, and is no {what}"


@frozen
class VerifyRelease:
    """The use case, over its ports."""

    files: FileSystem
    registries: Mapping[type, Registry]
    signatures: Signatures
    identities: Identities

    def __call__(
        self,
        source: Destination | str,
        *,
        key: str | None = None,
        identity: Identity | None = None,
        progress: Progress = no_progress,
    ) -> ReleaseVerdict:
        """Judge a published revision, or a directory that holds one.

        ``key`` is the PEM file of a public key; with it, or with an ``identity``, a release without
        its signature by that is not sound. A digest that the registry itself states is taken from
        there; every other file is read. Raises DestinationMissing, PathMissing, MissingExtra, or
        the families of what is read.
        """
        found = (
            self._directory(source)
            if isinstance(source, str)
            else self._published(source, progress)
        )
        release = evolve(found, manifest=_hashed(found, progress))
        statement, problems = _statement(release)
        signature, more = self._signature(release, key, identity)
        return ReleaseVerdict(
            release.location,
            release.revision,
            len(release.manifest.entries),
            statement.facts() if statement else {},
            signature,
            (*problems, *more, *release.odd),
        )

    def _published(self, destination: Destination, progress: Progress) -> _Release:
        registry = self.registries.get(type(destination))
        if registry is None:
            raise UsageError(problem=f"no registry is configured for {destination}")
        published = Published.at(registry, destination)
        stored = registry.manifest(destination, published.revision, progress=progress)
        return _Release(str(destination), published.revision, stored.manifest, published.open)

    def _directory(self, root: str) -> _Release:
        scan = self.files.scan(root)
        entries = (
            ManifestEntry(e.path, e.size, ())
            for e in scan.files
            if not is_left_by_download(e.path.text)
        )
        odd = (
            f"{e.name}: is no file of a release: {e.oddity.value} {e.detail}".rstrip()
            for e in scan.irregular
            if not is_left_by_download(e.name)
        )
        manifest = Manifest(entries)
        return _Release(
            root, None, manifest, lambda path: self.files.open_stream(root, path), tuple(odd)
        )

    def _signature(
        self, release: _Release, key: str | None, identity: Identity | None
    ) -> tuple[str, tuple[str, ...]]:
        raw = release.read(SIGNATURE, MOST_SIGNATURE_BYTES)
        if raw is None:
            return "none", (release.lacking(SIGNATURE, "signature"),) if key or identity else ()
        if key is None and identity is None:
            return "unverified", ()
        try:
            signed = parse_bundle(raw)
            wrong = self.signatures.problem(signed, key) if key is not None else None
            if identity is not None and wrong is None:
                wrong = self.identities.problem(raw, identity)
            found = (wrong,) if wrong else signed_differences(signed.payload, release.manifest)
        except NoSignature as error:
            found = (str(error),)
        return "invalid" if found else "valid", tuple(f"{SIGNATURE}: {each}" for each in found)


def _statement(release: _Release) -> tuple[Statement | None, tuple[str, ...]]:
    raw = release.read(STATEMENT, MOST_BYTES)
    if raw is None:
        lacking = release.lacking(STATEMENT, "statement")
        return None, (f"{lacking}; this was not published by Weighbridge",)
    try:
        statement = parse_statement(raw)
    except NoStatement as error:
        return None, (f"{STATEMENT}: {error}",)
    return statement, release_differences(statement, release.manifest)


def _hashed(release: _Release, progress: Progress) -> Manifest:
    """The manifest with the sha256 of every file."""
    unknown = [e for e in release.manifest.entries if e.digest("sha256") is None]
    total, done, more = sum(e.size for e in unknown), 0, {}
    for entry in unknown:
        hasher = hashlib.sha256()
        with release.open(entry.path) as stream:
            feed(hasher, stream)
        more[entry.path] = Digest("sha256", hasher.hexdigest())
        done += entry.size
        progress("hashing", done, total)
    return release.manifest.with_digests(more)
