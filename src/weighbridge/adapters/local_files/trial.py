"""Whether a file system can hold names: tried out, since no two of them have the same rules.

Some know no difference between capitals and small letters, some take no name of more than 143
bytes, or none that Windows gives a meaning of its own. What is found out after ten gigabytes came
is found out late.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable

from weighbridge.adapters.local_files import rooms
from weighbridge.adapters.local_files.failures import printable, translated
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import PathConflict

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def try_names(room: str, paths: Iterable[ArtifactPath]) -> None:
    """Make an empty file of each name in the empty directory ``room``, and remove them again.

    Raises PathConflict for two that are one there, and StorageError for one that cannot be.
    """
    made: dict[tuple[int, int], str] = {}
    try:
        for path in paths:
            location = os.path.join(room, path.text)
            with translated("write", path.text):
                rooms.make_directories(os.path.dirname(location))
                try:
                    descriptor = os.open(location, _NEW_FILE, 0o600)
                except FileExistsError:
                    if os.path.isdir(location):
                        raise
                    raise _one(path.text, made.get(_identity(location))) from None
                made[_identity(location)] = path.text
                os.close(descriptor)
        # Directories become one without a word.
        there = {unicodedata.normalize("NFC", each) for each in _files(room)}
        if lost := sorted({*made.values()} - there):
            raise _one(lost[0], None)
    finally:
        for each in os.listdir(room):
            rooms.remove(os.path.join(room, each))


def _identity(location: str) -> tuple[int, int]:
    status = os.lstat(location)
    return status.st_dev, status.st_ino


def _files(room: str) -> Iterable[str]:
    for here, _, names in os.walk(room):
        yield from (os.path.relpath(os.path.join(here, name), room) for name in names)


def _one(path: str, other: str | None) -> PathConflict:
    reason = f"on this file system the same name as {printable(other or 'another')}: pull to one "
    return PathConflict(
        path=path, operation="write", reason=f"{reason}that tells capitals from small letters"
    )
