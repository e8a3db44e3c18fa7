"""Digests of content, and which of them names a blob.

Decides the name of a blob as the Hub's ETag would be: the sha256 of a large file, the git blob id
of a small one. Loaders compare that name with what the Hub tells them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.domain.artifact import Digest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer

CHUNK = 1 << 20
_LARGE = 10 << 20


def naming_algorithm(path: str, size: int) -> str:
    """The algorithm whose digest names the blob of that file."""
    return "sha256" if path.endswith(".safetensors") or size > _LARGE else "git-sha1"


def digest_of_name(name: str) -> Digest | None:
    """The digest that a blob's name is; None if it is no digest."""
    algorithm = {40: "git-sha1", 64: "sha256"}.get(len(name))
    if algorithm is None or set(name) - set("0123456789abcdef"):
        return None
    return Digest(algorithm, name)


class Hashes:
    """Both digests of a content whose size is known before (git's digest starts with it)."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, chunk: Buffer) -> None:
        """Take in the next bytes."""
        self.count += len(chunk)
        self._sha256.update(chunk)
        self._git.update(chunk)

    def digests(self) -> tuple[Digest, ...]:
        """The digests of all bytes so far."""
        return (
            Digest("sha256", self._sha256.hexdigest()),
            Digest("git-sha1", self._git.hexdigest()),
        )

    def check(self, entry: ManifestEntry) -> None:
        """Raise ArtifactChanged unless the bytes are those that ``entry`` describes."""
        actual = ManifestEntry(entry.path, self.count, self.digests())
        if not entry.same_content(actual):
            raise ArtifactChanged(
                path=entry.path.text, expected=_describe(entry), actual=_describe(actual)
            )


def read_through(stream: BinaryIO, hashes: Hashes, sink: Callable[[bytes], object]) -> None:
    """Read ``stream`` to its end, into the hashes and the sink."""
    while chunk := stream.read(CHUNK):
        hashes.update(chunk)
        sink(chunk)


def _describe(entry: ManifestEntry) -> str:
    return f"{entry.size} bytes " + ", ".join(map(str, entry.digests))
