"""The parts of an object whose upload is not finished, in a folder of their own.

Decides what a part's ETag is, and that parts are one object only if the client names each as it
was answered and together they have the digest it claims. A store that keeps no content hashes
each part on top of the one before, so parts must come in order there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.hub_server.lfs import CHUNK, ObjectStore, Pointer, feed

#: The sha256 after each part, by object and part: hashers cannot be put into files.
_hashed: dict[tuple[Path, int], hashlib._Hash] = {}


class Parts:
    """The parts of the object ``oid`` that are here so far."""

    def __init__(self, folder: Path, oid: str, *, keep: bool) -> None:
        self._folder = folder / oid
        self._oid = oid
        self._keep = keep

    def put(self, number: int, body: IO[bytes]) -> str:
        """Take one part in; its ETag."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._path(number)
        if self._keep:
            with part.open("wb") as target:
                shutil.copyfileobj(body, target, CHUNK)
        else:
            before = _hashed[self._folder, number - 1] if number > 1 else hashlib.sha256()
            hasher = before.copy()
            size = feed(hasher, body)
            _hashed[self._folder, number] = hasher
            part.touch()
            os.truncate(part, size)
        return _etag(part)

    def join(self, store: ObjectStore, named: Sequence[tuple[int, str]]) -> Pointer | None:
        """The parts as one object of ``store``, or None if they are not what was claimed.

        Raises LookupError for a part that is not here as it is named.
        """
        paths = [self._path(number) for number, _ in named]
        for path, (_, etag) in zip(paths, named, strict=True):
            if not path.is_file() or etag != _etag(path):
                raise LookupError(path.name)
        found = self._joined(store, paths) if self._keep else self._summed(store, paths)
        if found is not None:
            shutil.rmtree(self._folder)
        return found

    def _joined(self, store: ObjectStore, paths: Sequence[Path]) -> Pointer | None:
        with store.incoming() as whole:
            for part in paths:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, CHUNK)
            whole.flush()
            return store.put_file(whole.name, self._oid)

    def _summed(self, store: ObjectStore, paths: Sequence[Path]) -> Pointer | None:
        hashed = [_hashed.pop((self._folder, number)) for number in range(1, len(paths) + 1)]
        if hashed[-1].hexdigest() != self._oid:
            return None
        return store.put_size(self._oid, sum(path.stat().st_size for path in paths))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}"


def _etag(part: Path) -> str:
    return f'"{part.name}-{part.stat().st_size}"'
