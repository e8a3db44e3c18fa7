"""Digests of what a stream or a file holds, read in chunks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.domain.artifact import ArtifactPath, Digest

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem

_CHUNK = 4 << 20


def feed(hasher: hashlib._Hash, stream: BinaryIO) -> int:
    """Take in all of ``stream``; how many bytes it had."""
    seen = 0
    while chunk := stream.read(_CHUNK):
        hasher.update(chunk)
        seen += len(chunk)
    return seen


def sha256_of(files: FileSystem, root: str, path: ArtifactPath) -> Digest:
    """The sha256 of one file. Raises StorageError if it cannot be read."""
    hasher = hashlib.sha256()
    with files.open_stream(root, path) as stream:
        feed(hasher, stream)
    return Digest("sha256", hasher.hexdigest())
