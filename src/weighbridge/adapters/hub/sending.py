"""The bytes of a file on their way through the client, checked in passing.

Decides that the end of a file is withheld unless all of it is what was planned. So the client can
be told the planned digest beforehand, and need not read a file once to hash it and once to send.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, BinaryIO

from weighbridge.domain.artifact import Digest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged

if TYPE_CHECKING:
    from collections.abc import Callable


class Sent(io.BufferedIOBase):
    """A file that the client reads to send it; ``reached`` is told how far it got.

    Raises ArtifactChanged in the place of the last bytes if they are not those of ``entry``. The
    client reads in order, and a part again if its connection broke. What it reads otherwise is not
    checked: ``in_order`` tells.
    """

    def __init__(
        self, file: BinaryIO, entry: ManifestEntry, reached: Callable[[int], None]
    ) -> None:
        self._file, self._entry, self._reached = file, entry, reached
        self._sum, self._at = hashlib.sha256(), 0
        self._begun, self._moved = (0, self._sum.copy()), False
        self.in_order = True

    def read(self, size: int | None = -1) -> bytes:
        """See io."""
        at = self._file.tell()
        data = self._file.read(-1 if size is None else size)
        if data or size != 0:
            self._take(at, data)
        self._reached(at + len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io. A place that is read from then, all before it being read, is one to come back
        to."""
        self._moved = True
        at = self._file.seek(offset, whence)
        if whence == io.SEEK_END and at - offset != self._entry.size:
            # The client would divide that into parts, and be done with the last of them.
            raise self._changed(at - offset)
        return at

    def readable(self) -> bool:
        """See io."""
        return True

    def seekable(self) -> bool:
        """See io."""
        return True

    def tell(self) -> int:
        """See io."""
        return self._file.tell()

    def fileno(self) -> int:
        """See io."""
        return self._file.fileno()

    def _take(self, at: int, data: bytes) -> None:
        if at == self._begun[0] != self._at:
            self._at, self._sum = at, self._begun[1].copy()
        if at == self._at:
            if self._moved and data:
                self._begun, self._moved = (at, self._sum.copy()), False
            self._sum.update(data)
            self._at += len(data)
            if self._at >= self._entry.size or not data:
                self._require()
        elif data:
            self.in_order = False

    def _require(self) -> None:
        planned = self._entry.digest("sha256")
        found = Digest("sha256", self._sum.hexdigest())
        if self._at != self._entry.size or planned not in (None, found):
            raise self._changed(self._at, str(found))

    def _changed(self, size: int, digest: str = "") -> ArtifactChanged:
        return ArtifactChanged(
            path=self._entry.path.text,
            expected=f"{self._entry.size} bytes {self._entry.digests[0]}",
            actual=f"{size} bytes {digest}".rstrip(),
        )
