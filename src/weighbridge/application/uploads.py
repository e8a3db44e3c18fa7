"""What is sent of one file: its bytes, checked in passing.

Decides that the last bytes of a file are held back until all are known to be those of the plan: so
that a registry that stores by digest is never given other content to store. And that small files go
several at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from weighbridge.application.several import at_once, of_files
from weighbridge.domain.artifact import Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    ArtifactChanged,
    RegistryRejected,
    RevisionConflict,
    StorageError,
)

if TYPE_CHECKING:
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath
    from weighbridge.domain.publication import Destination, PublicationPlan

_CHUNK = 1 << 20


def checked(blob: Blob, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of ``blob``, all but the last chunk before they are known to be right.

    Raises ArtifactChanged if they are others than its entry says, StorageError if they cannot be
    read. ``advance`` is told how many bytes of it were taken.
    """
    hasher, taken, held = hashlib.sha256(), 0, b""
    for chunk in _read(blob):
        if held:
            yield held
        hasher.update(chunk)
        taken, held = taken + len(chunk), chunk
        if taken > blob.entry.size:
            break
        advance(taken)
    _require(blob.entry, ManifestEntry(blob.entry.path, taken, (_sha256(hasher),)))
    if held:
        yield held


def in_parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of ``size``, but for the last."""
    part = bytearray()
    for chunk in chunks:
        part += chunk
        while len(part) >= size:
            yield bytes(part[:size])
            del part[:size]
    if part:
        yield bytes(part)


def identified(blob: Blob) -> ManifestEntry:
    """The entry of a blob whose sha256 is not known, with it. It is read for that."""
    hasher, taken = hashlib.sha256(), 0
    for chunk in _read(blob):
        hasher.update(chunk)
        taken += len(chunk)
    return ManifestEntry(blob.entry.path, taken, (*blob.entry.digests, _sha256(hasher)))


def by_sha256(
    plan: PublicationPlan, blobs: Mapping[ArtifactPath, Blob], kept: Manifest, head: str | None
) -> Manifest:
    """What a registry will hold that stores by sha256. ``kept`` are the files of ``head``, which
    the plan was made on.

    Raises RevisionConflict if a file that is neither sent nor kept is wanted.
    """
    entries = []
    for entry in plan.manifest.entries:
        blob = blobs.get(entry.path)
        if blob is not None:
            found = entry if entry.digest("sha256") else identified(blob)
        elif (there := kept.find(entry.path)) is not None:
            found = there
        else:
            raise RevisionConflict(
                destination=str(plan.destination), expected=plan.parent, actual=head
            )
        entries.append(found)
    return Manifest(entries)


def absent(
    manifest: Manifest,
    blobs: Mapping[ArtifactPath, Blob],
    has_blob: Callable[[ManifestEntry], bool],
) -> tuple[ManifestEntry, ...]:
    """The files that a registry has to be sent: one of each content that it lacks."""
    asked: dict[Digest, ManifestEntry] = {}
    for entry in manifest.entries:
        digest = entry.digest("sha256")
        if entry.path in blobs and digest is not None:
            asked.setdefault(digest, entry)
    there = at_once(has_blob, asked.values())
    return tuple(e for e, is_there in zip(asked.values(), there, strict=True) if not is_there)


def send_all(
    wanted: Sequence[ManifestEntry],
    blobs: Mapping[ArtifactPath, Blob],
    put: Callable[[ManifestEntry, Callable[[], Iterator[bytes]]], None],
    progress: Progress,
) -> None:
    """Have ``put`` send each file, whose checked bytes it is given anew for each attempt.

    ``progress`` is told the bytes of all; it never goes back, though an upload may begin again.
    """
    lock, total = threading.Lock(), sum(entry.size for entry in wanted)
    done = 0
    progress("upload", 0, total)

    def send(entry: ManifestEntry) -> None:
        reached = 0

        def advance(taken: int) -> None:
            nonlocal done, reached
            with lock:
                if taken > reached:
                    done, reached = done + taken - reached, taken
                    progress("upload", done, total)

        put(entry, lambda: checked(blobs[entry.path], advance))
        advance(entry.size)

    of_files(send, wanted)


def require_kept(
    destination: Destination,
    manifest: Manifest,
    blobs: Mapping[ArtifactPath, Blob],
    has_blob: Callable[[ManifestEntry], bool],
) -> None:
    """Raises RegistryRejected if the registry lacks a file that is not sent, since it is to stay:
    the revision would not be whole, and nobody here has the file."""
    kept = [entry for entry in manifest.entries if entry.path not in blobs]
    for entry, is_there in zip(kept, at_once(has_blob, kept), strict=True):
        if not is_there:
            reason = f"{entry.path} is to stay as it is, but is missing in the registry; publish "
            reason += "under another tag or prefix, to which all is sent that is not there"
            raise RegistryRejected(destination=str(destination), reason=reason)


def _read(blob: Blob) -> Iterator[bytes]:
    with blob.open() as stream:
        while True:
            try:
                chunk = stream.read(_CHUNK)
            except OSError as error:  # must not be taken for one of the connection
                reason = error.strerror or str(error)
                raise StorageError(
                    path=blob.entry.path.text, operation="read", reason=reason
                ) from error
            if not chunk:
                return
            yield chunk


def _sha256(hasher: hashlib._Hash) -> Digest:
    return Digest("sha256", hasher.hexdigest())


def _require(planned: ManifestEntry, actual: ManifestEntry) -> None:
    if not planned.same_content(actual):
        expected, found = (f"{e.size} bytes {e.digests[0]}" for e in (planned, actual))
        raise ArtifactChanged(path=planned.path.text, expected=expected, actual=found)
