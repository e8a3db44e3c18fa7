"""What is published somewhere, read file by file: the common part of pulling and copying.

Decides which revision is read (one, asked for once) and what a file must be to be taken over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from weighbridge.application.several import of_files
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import ContentMismatch
from weighbridge.domain.publication import SERVER_OWNED, Destination

if TYPE_CHECKING:
    from weighbridge.application.ports import Registry

_CHUNK = 1 << 20
_ALL = ("sha256", "git-sha1")


def _unheard(_: int) -> None:
    """The listener that does not care how many bytes came."""


@frozen
class Published:
    """One revision in a registry; what the server itself put there is no part of it."""

    registry: Registry
    place: Destination
    revision: str
    manifest: Manifest

    @classmethod
    def at(cls, registry: Registry, place: Destination) -> Published:
        """What ``place`` names now: a branch or tag, or a revision by its own name.

        Raises DestinationMissing if it names nothing.
        """
        head = registry.head(place) or registry.recorded(place, place.revision)
        ours = (e for e in head.manifest.entries if e.path.text not in SERVER_OWNED)
        return cls(registry, place, head.revision, Manifest(ours))

    def open(self, path: ArtifactPath) -> BinaryIO:
        """One file of that revision, whatever was published since."""
        return self.registry.open(self.place, self.revision, path)

    def chunks(
        self, entry: ManifestEntry, advance: Callable[[int], None] = _unheard
    ) -> Generator[bytes, None, None]:
        """All bytes of a file. Raises ContentMismatch after the last if they are not those that
        ``entry`` tells of: whoever keeps them must be able to forget them."""
        came = _Digests(entry.size, {d.algorithm for d in entry.digests})
        with self.open(entry.path) as stream:
            # What is longer than announced is wrong already, and may never end.
            while came.size <= entry.size and (chunk := stream.read(_CHUNK)):
                came.update(chunk)
                advance(len(chunk))
                yield chunk
        self._check(entry, came.entry(entry.path))

    def known_by_all(self, entry: ManifestEntry) -> ManifestEntry:
        """``entry`` with its digest by every algorithm, for which the file is read once.

        Raises ContentMismatch if it is not what the registry says.
        """
        came = _Digests(entry.size, _ALL)
        with self.open(entry.path) as stream:
            while came.size <= entry.size and (chunk := stream.read(_CHUNK)):
                came.update(chunk)
        found = came.entry(entry.path)
        self._check(entry, found)
        return found

    def comparable(self, manifest: Manifest, other: Manifest) -> Manifest:
        """``manifest``, of files of this revision, with a digest of each that ``other`` has too."""
        apart = (
            e for e in manifest.entries
            if (there := other.find(e.path)) and there.size == e.size and not e.comparable(there)
        )  # fmt: skip
        return self.knowing(manifest, apart)

    def knowing(self, manifest: Manifest, unknown: Iterable[ManifestEntry]) -> Manifest:
        """``manifest``, with all digests of the ``unknown``, which are read for that."""
        more = {e.path: e.digests for e in of_files(self.known_by_all, unknown)}
        return Manifest(
            ManifestEntry(e.path, e.size, more.get(e.path, e.digests)) for e in manifest.entries
        )

    def _check(self, announced: ManifestEntry, came: ManifestEntry) -> None:
        if not announced.same_content(came):
            raise ContentMismatch(
                destination=str(self.place),
                path=announced.path.text,
                expected=_described(announced),
                actual=_described(came),
            )


class _Digests:
    """Digests of a content whose size is announced (git's starts with it)."""

    def __init__(self, size: int, algorithms: Iterable[str]) -> None:
        self.size = 0
        self._hashers = {name: hashlib.new(_KNOWN[name]) for name in algorithms if name in _KNOWN}
        if "git-sha1" in self._hashers:
            self._hashers["git-sha1"].update(b"blob %d\0" % size)

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(chunk)
        for hasher in self._hashers.values():
            hasher.update(chunk)

    def entry(self, path: ArtifactPath) -> ManifestEntry:
        """What came."""
        digests = (Digest(name, h.hexdigest()) for name, h in self._hashers.items())
        return ManifestEntry(path, self.size, tuple(digests))


_KNOWN = {"sha256": "sha256", "git-sha1": "sha1"}


def _described(entry: ManifestEntry) -> str:
    return f"{entry.size} bytes {', '.join(map(str, entry.digests)) or 'without digest'}"
