"""Pull: what a registry holds into a directory, every digest verified, by one rename.

A model that others packed in archives is taken apart; that is the only thing done with such.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from inspect import GEN_CREATED, getgeneratorstate

from attrs import frozen

from weighbridge.application.outputs import require_free
from weighbridge.application.ports import FileSystem, Progress, Registry, Stage, no_progress
from weighbridge.application.published import Published
from weighbridge.application.registries import registry_of
from weighbridge.application.several import of_files
from weighbridge.application.unpack import OF_GIT, require_known, unpack
from weighbridge.domain.artifact import Archive, ManifestEntry
from weighbridge.domain.errors import (
    ModelPacked,
    RateLimited,
    RegistryRejected,
    RegistryUnreachable,
)
from weighbridge.domain.publication import Destination


@frozen
class PullRequest:
    """From where and to which directory; ``force`` replaces what an earlier pull may have written:
    a directory with no others in it than what is pulled has."""

    source: Destination
    output: str
    force: bool = False


@frozen
class Pulled:
    """What was written, of which revision. Each entry has the sha256 of the bytes on the disk."""

    source: Destination
    revision: str
    output: str
    entries: tuple[ManifestEntry, ...]


@frozen
class Pull:
    """The use case, over its ports. ``registries`` are chosen by the source's type."""

    files: FileSystem
    registries: Mapping[type, Registry]

    def __call__(self, request: PullRequest, progress: Progress = no_progress) -> Pulled:
        """Raises OutputExists, NotAnOutput, MissingExtra, StorageError, ContentMismatch or another
        of the RegistryError family; then nothing is at the output, or what was there before. Files
        that came whole before a connection broke, or the process died, are not asked for again;
        archives are, whole."""
        if not request.force:
            require_free(self.files, request.output, "pull", force=False)
        registry = registry_of(self.registries, request.source)
        published, archives = _found(registry, request.source)
        require_known(archives)
        _require_harmless(published)
        if request.force:
            below = {p for e in published.manifest.entries for p in e.path.parents}
            require_free(self.files, request.output, "pull", force=True, directories=below)
        with self.files.stage(request.output, resume=True) as stage:
            stage.require_names(entry.path for entry in published.manifest.entries)
            stage.require_room(_size(published, archives))
            try:
                entries = tuple(_download(published, archives, stage, progress))
            except (RegistryUnreachable, RateLimited, KeyboardInterrupt):
                stage.keep()  # of what is right no byte needs to come again
                raise
            stage.commit(replace=request.force)
        return Pulled(request.source, published.revision, request.output, entries)


def _found(registry: Registry, place: Destination) -> tuple[Published, tuple[Archive, ...]]:
    try:
        return Published.at(registry, place), ()
    except ModelPacked as packed:
        return Published(registry, place, packed.revision, packed.files), packed.archives


def _require_harmless(published: Published) -> None:
    for entry in published.manifest.entries:
        if entry.path.is_of_git:
            where = f"revision {published.revision} holds {OF_GIT.format(entry.path.text)}"
            raise RegistryRejected(destination=str(published.place), reason=where)


def _size(published: Published, archives: tuple[Archive, ...]) -> int:
    """What comes, in bytes."""
    return published.manifest.total_bytes + sum(each.entry.size for each in archives)


def _download(
    published: Published, archives: tuple[Archive, ...], stage: Stage, progress: Progress
) -> Iterator[ManifestEntry]:
    advance = counted(progress, "download", _size(published, archives))

    def fetch(entry: ManifestEntry) -> ManifestEntry:
        chunks = published.chunks(entry, advance)
        written = stage.write(
            entry.path, chunks, digest=True, expected=entry.size, known=entry.digest("sha256")
        )
        if getgeneratorstate(chunks) == GEN_CREATED:  # it was there already
            advance(entry.size)
        return written

    yield from of_files(fetch, published.manifest.entries)
    for archive in archives:
        yield from unpack(published, archive, stage, advance)


def counted(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """A listener for bytes, which tells ``progress`` their sum."""
    done, lock = 0, threading.Lock()
    progress(stage, 0, total)

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            progress(stage, done, max(done, total))

    return advance
