"""HTTP with the standard library: bodies of any size, streamed both ways.

Decides when a connection may be plain, and that a redirect takes no credential to another host.
No other client is a dependency that stays: the Hub's client changed its own twice.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from weighbridge.adapters.oci_registry.tls import context_for, is_loopback, speaks_tls

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: The one registry whose name is not that of its API's host.
_API = {name: "registry-1.docker.io" for name in ("docker.io", "index.docker.io")}


class _AsAnswered(urllib.request.HTTPErrorProcessor):
    """Every status is an answer; redirects are followed by ``Transport``, which strips headers."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class _Timed(io.RawIOBase):
    """What comes on a connection, for as long as the connection's time lasts: by the library's own
    count every byte would begin it anew."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        self._time = connection.gettimeout() or 0.0
        self.begin()

    def begin(self) -> None:
        """The time begins."""
        self._end = time.monotonic() + self._time

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out: an answer comes too slowly")
        self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer of which the head, and whatever is read at once, come within the timeout."""

    def __init__(self, connection: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(connection, *arguments, **named)
        self._timed = _Timed(self.fp.detach(), connection)
        self.fp = io.BufferedReader(self._timed)

    def read(self, amt: int | None = None) -> bytes:
        self._timed.begin()
        return super().read(amt)


class _Listening:
    """A connection that hears the answer of whoever stops listening in the middle of a body, as is
    done with what is too large, or not allowed."""

    response_class: type[HTTPResponse] = _Response

    def request(self, *arguments: Any, **named: Any) -> None:
        try:
            super().request(*arguments, **named)  # type: ignore[misc]
        except (BrokenPipeError, ConnectionResetError):
            if self.sock is None:  # type: ignore[attr-defined]
                raise


class _Plain(_Listening, http.client.HTTPConnection):
    pass


class _Secure(_Listening, http.client.HTTPSConnection):
    pass


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Plain, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Secure, request, context=self._context)  # type: ignore[attr-defined]


@frozen
class Answer:
    """What came back; the caller closes it."""

    status: int
    headers: Mapping[str, str]
    url: str
    response: HTTPResponse = field(repr=False)

    def content(self, most: int) -> bytes:
        """The body, of which no more than ``most`` bytes are wanted; the answer is closed."""
        with self.response:
            return self.response.read(most)

    def close(self) -> None:
        """Hang up."""
        self.response.close()


@frozen
class Transport:
    """Sends requests. ``plain`` are hosts, with port, that are spoken to without TLS;
    ``certificates`` are directories as docker's certs.d."""

    plain: frozenset[str] = frozenset()
    timeout: float = 60.0
    certificates: Sequence[str] = ()
    _tls: dict[str, bool] = field(factory=dict, init=False, repr=False, eq=False)
    _contexts: dict[str, ssl.SSLContext] = field(factory=dict, init=False, repr=False, eq=False)

    def may_be_plain(self, host: str) -> bool:
        """Whether ``host``, with port, need not speak TLS: this machine, or by setting."""
        return host in self.plain or is_loopback(host)

    def base(self, host: str) -> str:
        """Where the API of that host begins."""
        scheme = "http" if self._is_plain(host) else "https"
        return f"{scheme}://{_API.get(host, host)}/v2/"

    def _is_plain(self, host: str) -> bool:
        if host in self.plain or not is_loopback(host):
            return host in self.plain
        if host not in self._tls and (found := speaks_tls(host)) is not None:
            self._tls[host] = found
        return not self._tls.get(host, False)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Iterable[bytes] | None = None,
        longer: float = 0.0,
    ) -> Answer:
        """One request. Reads are followed to where they are sent on, without the Authorization
        if that is another host. Whoever is silent for ``timeout`` and ``longer`` seconds, or has
        not come to the end of a head by then, is waited for no more. Raises OSError and
        HTTPException as the library does."""
        for _ in range(_MOST_REDIRECTS):
            answer = self._once(method, url, headers, body, self.timeout + longer)
            target = answer.headers.get("location")
            if method not in ("GET", "HEAD") or answer.status not in _REDIRECTS or not target:
                return answer
            answer.close()
            target = urljoin(url, target)
            self.require_safe(url, target)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                headers = {k: v for k, v in headers.items() if k != "Authorization"}
            url = target
        raise OSError("is sent from one address to the next")

    def require_safe(self, origin: str, target: str) -> None:
        """Raises OSError if the way leads from TLS to a connection without, or to no HTTP."""
        before, after = urlsplit(origin), urlsplit(target)
        if after.scheme != "https" and (before.scheme == "https" or after.scheme != "http"):
            raise OSError(f"is sent on to {after.scheme}://{after.netloc}, which is not safe")

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Iterable[bytes] | None,
        timeout: float,
    ) -> Answer:
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
        # The library's own choice of handlers reads all authorities anew for each request.
        opener = urllib.request.OpenerDirector()
        for handler in (_proxies(url), self._handler(url), _AsAnswered()):
            opener.add_handler(handler)
        response = opener.open(request, timeout=timeout)
        # A header that is there twice means the same as one with both, a comma between them.
        names = {name.lower() for name in response.headers}
        found = {name: ", ".join(response.headers.get_all(name, ())) for name in names}
        return Answer(response.status, found, url, response)

    def _handler(self, url: str) -> _PlainHandler | _SecureHandler:
        parts = urlsplit(url)
        if parts.scheme != "https":
            return _PlainHandler()
        if parts.netloc not in self._contexts:
            self._contexts[parts.netloc] = context_for(parts.netloc, self.certificates)
        return _SecureHandler(context=self._contexts[parts.netloc])


def _proxies(url: str) -> urllib.request.ProxyHandler:
    """As docker does, this machine is reached without a proxy, whatever the environment says."""
    return urllib.request.ProxyHandler({} if is_loopback(urlsplit(url).netloc) else None)
