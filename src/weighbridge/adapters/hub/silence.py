"""A server that accepts a request and then says nothing counts as gone, after a time.

The client itself waits without end. Decides how long each kind of request may take without a byte
moving, that an answer which comes by drops ends too, or its head, and how often the client may
repeat what was met with silence. What moves is not cut, however slowly: uploads of many gigabytes
are no exception, nor is the content of downloads.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

from attrs import field, frozen

from weighbridge.domain.errors import ServerSilent as ServerSilent

#: Seconds without an answer.
SECONDS = 60.0
#: So many times as long may a server work on what it was sent: a commit, an object to digest.
_AT_WORK = 5
_CONNECT = 20.0
_MOST = 2
_READ_ONLY = ("GET", "HEAD")
_QUICK = re.compile(
    r".*/(preupload/[^/]+|paths-info/[^/]+|objects/batch|validate-yaml|oauth/token)"
)
_OURS = "weighbridge.limit"
#: The mark of a request for content, as long as that may be.
DOWNLOAD = "weighbridge.download"


@frozen
class Silence:
    """Limits for the requests of one piece of work; ``seconds`` is for a plain answer."""

    destination: str
    seconds: float = SECONDS
    _met: dict[tuple[str, str], int] = field(factory=dict, init=False, repr=False)

    @property
    def at_work(self) -> float:
        """Seconds for a server that has something to do."""
        return self.seconds * _AT_WORK

    def ask(self, request: Any) -> None:
        """Limit a request, unless its caller did; of a download of ours, only the head."""
        given = request.extensions.get("timeout") or {}
        theirs = given.get("read") is not None
        if theirs and DOWNLOAD not in request.extensions:
            return
        quick = request.method in _READ_ONLY or _QUICK.fullmatch(request.url.path)
        limits = {
            "connect": min(self.seconds, _CONNECT),
            "read": self.seconds if quick else self.at_work,
            "write": self.at_work,
            "pool": None,
        }
        limits |= {name: limit for name, limit in given.items() if limit is not None}
        request.extensions["timeout"] = limits
        request.extensions["trace"] = partial(self._traced, request)
        request.extensions[_OURS] = not theirs

    def hear(self, answer: Any) -> None:
        """An answer has begun; all of it must come in the time that a server may work."""
        self._met.pop(_key(answer.request), None)
        if answer.request.extensions.get(_OURS):
            answer.stream = self._bounded(answer)

    def _traced(self, request: Any, event: str, info: dict[str, Any]) -> None:
        """Limits the head of an answer as a whole, not only each byte of it. Raises ServerSilent
        in the place of an error after which the client would ask once more, and wait as long
        again."""
        limits = request.extensions["timeout"]
        if event.endswith("receive_response_headers.started"):
            limits["read"] = _Until(limits["read"])
        elif isinstance(limits["read"], _Until):
            limits["read"] = limits["read"].seconds
        error = info.get("exception")
        if not event.endswith(".failed") or "Timeout" not in type(error).__name__:
            return
        self._met[_key(request)] = times = self._met.get(_key(request), 0) + 1
        if times >= _MOST:
            raise self._gone(request, f"{times} times ({error})")

    def _bounded(self, answer: Any) -> Any:
        """The body of an answer, with an end to it."""
        stream = answer.stream
        library: Any = import_module(type(answer).__module__.partition(".")[0])

        class Bounded(library.SyncByteStream):  # type: ignore[misc]
            def __iter__(_) -> Iterator[bytes]:
                end = time.monotonic() + self.at_work
                for chunk in stream:
                    if time.monotonic() > end:
                        raise self._gone(answer.request, f"in full within {self.at_work:g} s")
                    yield chunk

            def close(_) -> None:
                stream.close()

        return Bounded()

    def _gone(self, request: Any, how: str) -> ServerSilent:
        return ServerSilent(
            destination=self.destination,
            reason=f"{request.method} {request.url.path} was not answered {how}",
            applied=False,
        )


class _Until:
    """A limit that a socket takes for its own, and asks anew before each read: whole seconds that
    are left of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def __index__(self) -> int:
        left = math.ceil(self._end - time.monotonic())
        if left <= 0:
            raise TimeoutError("its head did not end")
        return left


def _key(request: Any) -> tuple[str, str]:
    return request.method, str(request.url)
