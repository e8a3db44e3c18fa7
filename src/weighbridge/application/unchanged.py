"""What was judged is what is worked on: a source that changes meanwhile is said to have changed,
whatever went wrong because of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.application.digests import sha256_of
from weighbridge.domain.artifact import FileEntry, ManifestEntry, Scan
from weighbridge.domain.errors import (
    ArtifactChanged,
    ArtifactError,
    PathConflict,
    PathMissing,
    StorageError,
)
from weighbridge.domain.shipping import own_paths, shipped

if TYPE_CHECKING:
    from weighbridge.application.load import Loaded
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.artifact import ArtifactPath, Digest
    from weighbridge.domain.findings import ValidationReport

_NOTHING = "nothing"


@frozen
class AsJudged:
    """The source of a publication, and the report that lets it pass."""

    files: FileSystem
    location: str
    report: ValidationReport

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Raises ArtifactChanged for an error within, if a file is not what was judged."""
        try:
            yield
        except ArtifactChanged:
            raise
        except (ArtifactError, StorageError) as error:
            for entry in self.report.manifest.entries:
                actual = self._actual(entry)
                if actual != _told(entry):
                    raise self._changed(entry.path, _told(entry), actual) from error
            raise

    def require_listing(self, loaded: Loaded) -> None:
        """Raises ArtifactChanged if what would ship was not judged, or if something of what was
        judged would not ship any more or has another size."""
        judged = tuple(FileEntry(e.path, e.size) for e in self.report.manifest.entries)
        before = _of_release(loaded, Scan(judged))
        now = _of_release(loaded, loaded.artifact.scan)
        passed_over = {part.path for part in self.report.unexamined}
        for path in sorted(before.keys() | now.keys()):
            if before.get(path) == now.get(path) or path.text in passed_over:
                continue
            raise self._changed(path, *(_size(each.get(path)) for each in (before, now)))

    def require_bytes(self, paths: Iterable[ArtifactPath]) -> None:
        """Raises ArtifactChanged if one of the files has other bytes now."""
        for path in paths:
            entry = self.report.manifest.find(path)
            if entry is not None and (actual := self._actual(entry)) != _told(entry):
                raise self._changed(path, _told(entry), actual)

    def _actual(self, judged: ManifestEntry) -> str:
        try:
            with self.files.open(self.location, judged.path) as reader:
                size = reader.size
            return _told(ManifestEntry(judged.path, size, self._digests(judged, size)))
        except (PathMissing, PathConflict):
            return _NOTHING

    def _digests(self, judged: ManifestEntry, size: int) -> tuple[Digest, ...]:
        # Of another size it is another file anyway.
        if size != judged.size:
            return ()
        return (sha256_of(self.files, self.location, judged.path),)

    def _changed(self, path: ArtifactPath, expected: str, actual: str) -> ArtifactChanged:
        return ArtifactChanged(path=path.text, expected=expected, actual=actual)


def _of_release(loaded: Loaded, scan: Scan) -> dict[ArtifactPath, int]:
    """Sizes of the model's own files in that scan and of what ships beside them."""
    own = frozenset(own_paths(loaded.model))
    listed = (*shipped(loaded.model, scan), *(e for e in scan.files if e.path.text in own))
    return {entry.path: entry.size for entry in listed}


def _told(entry: ManifestEntry) -> str:
    return " ".join((f"{entry.size} bytes", *map(str, entry.digests)))


def _size(size: int | None) -> str:
    return _NOTHING if size is None else f"{size} bytes"
