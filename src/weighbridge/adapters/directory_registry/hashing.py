"""Digests of content, and which of them names a blob.

Decides the name of a blob as the Hub's ETag would be: the sha256 of a large file, the git blob id
of a small one. Loaders compare that name with what the Hub tells them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.domain.artifact import Digest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer

CHUNK = 1 << 20
BOTH = ("sha256", "git-sha1")
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


def wanted_algorithms(path: str, size: int) -> tuple[str, ...]:
    """What a file is hashed by: a large one, whose name no other digest can be, only once."""
    return ("sha256",) if naming_algorithm(path, size) == "sha256" else BOTH


class Hashes:
    """Digests of a content whose size is known before (git's digest starts with it)."""

    def __init__(self, size: int, algorithms: Iterable[str] = BOTH) -> None:
        self.count = 0
        self._hashers = {name: _begun(name, size) for name in algorithms}

    def update(self, chunk: Buffer) -> None:
        """Take in the next bytes."""
        self.count += len(chunk)
        for hasher in self._hashers.values():
            hasher.update(chunk)

    def digests(self) -> tuple[Digest, ...]:
        """The digests of all bytes so far."""
        return tuple(Digest(name, each.hexdigest()) for name, each in self._hashers.items())

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


def has_content(file: Path, entry: ManifestEntry, tell: Callable[[int], object]) -> bool:
    """Whether a file is there and has the bytes of ``entry``. It is read for that, as far as
    ``tell`` is told."""
    if not file.is_file() or file.stat().st_size != entry.size:
        return False
    hashes = Hashes(entry.size, wanted_algorithms(entry.path.text, entry.size))
    with file.open("rb") as stream:
        read_through(stream, hashes, lambda _: tell(hashes.count))
    return entry.same_content(ManifestEntry(entry.path, hashes.count, hashes.digests()))


def _begun(algorithm: str, size: int) -> hashlib._Hash:
    if algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _describe(entry: ManifestEntry) -> str:
    return f"{entry.size} bytes " + ", ".join(map(str, entry.digests))
