"""One blob on its way into a repository.

Decides what a failure costs. A blob goes as one request, which every registry takes. If that
breaks, the registry is asked how much of it arrived: some know, and get the rest; for others, the
reference implementation among them, what was broken off is lost. If it is too large for the
registry, or for what stands before it, the blob goes in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import quote, urljoin, urlsplit

from attrs import define, field

from weighbridge.adapters.oci_registry.patience import patiently
from weighbridge.adapters.oci_registry.session import Session
from weighbridge.adapters.oci_registry.transport import Answer
from weighbridge.application.uploads import in_parts
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    TooLarge,
)

#: Of a blob that goes in pieces, this much at once, which is in memory. Below what the usual
#: gateways take (100 MB), above what some registries demand of all but the last (5 MiB).
_PIECE = 32 << 20
#: However much a registry demands.
_LARGEST_PIECE = 256 << 20
#: Bytes a second: what came is read again, or copied within a cloud, before a registry answers.
_CHECKED = 10e6
_RANGE = re.compile(r"(?:bytes=)?0-([1-9][0-9]*)")
#: Of a request that it does not know in this form; or it says so.
_NOT_SO = (405, 415, 501)
_UNSUPPORTED = "UNSUPPORTED"
# Whatever it says of an upload that broke; too many requests is no answer.
_ANY = (*range(200, 429), *range(430, 500))


@define
class Upload:
    """``body`` gives the bytes anew each time; ``is_there`` tells if the blob is stored."""

    session: Session
    name: str
    digest: str
    size: int
    body: Callable[[], Iterable[bytes]]
    is_there: Callable[[], bool]
    _location: str = field(default="", init=False)
    _arrived: int = field(default=0, init=False)
    _in_pieces: bool = field(default=False, init=False)
    _piece: int = field(default=0, init=False)

    def run(self) -> None:
        """Raises the RegistryError family, and what ``body`` raises."""
        patiently(self._attempt)

    def _attempt(self) -> None:
        again = bool(self._location)
        if again and self.is_there():
            return
        resumed = again and self._ask()
        if not resumed:
            self._begin()
        try:
            self._send()
        except TooLarge:
            if self._in_pieces or self.size <= _PIECE:
                raise
            self._send_anew()
        except (RegistryRejected, DestinationMissing) as error:  # of what it said it had
            if _UNSUPPORTED in error.reason and not self._in_pieces:
                return self._send_anew()
            if not resumed:
                raise self._worth(error) from error
            self._begin()
            self._send()

    def _send_anew(self) -> None:
        self._in_pieces = True
        self._begin()
        self._send()

    def _worth(self, error: RegistryError) -> RegistryError:
        """``error``; as one of the connection if another upload may fare better: one of several
        servers does not know what another has begun."""
        if "BLOB_UPLOAD" not in error.reason:
            return error
        return RegistryUnreachable(
            destination=error.destination, reason=error.reason, applied=False
        )

    def _begin(self) -> None:
        begun = self.session.request(
            "POST", f"{self.name}/blobs/uploads/", doing="beginning an upload",
            headers={"Content-Length": "0"}, good=(202,),
        )  # fmt: skip
        least = re.fullmatch("[0-9]{1,9}", begun.headers.get("oci-chunk-min-length", ""))
        self._piece = max(_PIECE, min(int(least[0]) if least else 0, _LARGEST_PIECE))
        self._follow(begun, 0)

    def _ask(self) -> bool:
        """Whether the registry knows how much has arrived, and that is more than nothing."""
        answer = self.session.request("GET", self._location, doing="resuming", good=_ANY)
        found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
        if answer.status == 204 and found and int(found[1]) + 1 <= self.size:
            self._follow(answer, int(found[1]) + 1)
            return True
        answer.close()
        return False

    def _follow(self, answer: Answer, arrived: int) -> None:
        """The next request goes to where the answer says."""
        answer.close()
        self._location = urljoin(answer.url, answer.headers.get("location", ""))
        self._arrived = arrived

    def _send(self) -> None:
        """All that is missing, and that it was all."""
        start, rest = self._arrived, self.size - self._arrived
        if self._in_pieces:
            for piece in in_parts(_after(start, self.body()), self._piece):
                self._send_piece(len(piece), partial(list, [piece]))
        elif not start:
            if not self._finish(self.size, self.body):
                self._send_anew()
            return
        elif rest:
            self._send_piece(rest, lambda: _after(start, self.body()))
        self._finish(0, list)

    def _send_piece(self, size: int, body: Callable[[], Iterable[bytes]]) -> None:
        end = self._arrived + size
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Content-Range": f"{self._arrived}-{end - 1}",
        }
        answer = self.session.request(
            "PATCH", self._location, doing="uploading", headers=headers, body=body,
            good=(202, 204),
        )  # fmt: skip
        self._follow(answer, end)

    def _finish(self, size: int, body: Callable[[], Iterable[bytes]]) -> bool:
        """The last bytes, which may be all; False if the registry takes those in pieces only."""
        # Only appended to: what a registry writes into the query is its own affair.
        mark = "&" if urlsplit(self._location).query else "?"
        where = f"{self._location}{mark}digest={quote(self.digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        answer = self.session.request(
            "PUT", where, doing="uploading", headers=headers, body=body,
            good=(200, 201, 202, 204, *(_NOT_SO if size else ())), longer=self.size / _CHECKED,
        )  # fmt: skip
        answer.close()
        return answer.status not in _NOT_SO


def _after(count: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes behind the first ``count``."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(0, count - len(chunk))
