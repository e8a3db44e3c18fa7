"""A way to the registry on which things go wrong, as they do between two machines."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from attrs import define, field

What = Literal["drop", "lost", "cut", "kept"] | int
_HOP = frozenset(
    {"connection", "date", "server", "transfer-encoding", "keep-alive", "content-length"}
)


@define
class Trouble:
    """What befalls the next requests of that method whose path matches.

    "drop": never arrive; "lost": are done, but not answered; "cut": are answered by half; "kept":
    uploads that break in the middle, of which the registry keeps what arrived, as docker's does not
    but others do; a number: are answered with that status, and not done.
    """

    what: What
    method: str
    path: str
    times: int = 1
    headers: dict[str, str] = field(factory=dict)
    #: The body of such an answer.
    said: bytes = b""
    #: Only once that one has struck.
    after: Trouble | None = None
    hits: int = 0


class FaultyWay:
    """Forwards to ``target``; ``host`` is where to ask."""

    def __init__(self, target: str) -> None:
        self.troubles: list[Trouble] = []
        self.seen: list[tuple[str, str, str | None]] = []
        #: Bytes of bodies, by method.
        self.taken: Counter[str] = Counter()
        #: A body of more bytes than this is answered with 413, and not listened to.
        self.most: int | None = None
        #: What the Location of an upload becomes.
        self.location: Callable[[str], str] = lambda location: location
        #: Uploads that broke, with where they go on and how much arrived.
        self.kept: dict[str, tuple[str, str]] = {}
        #: Whether it knows HTTP's conditions for manifests, as docker's does not.
        self.compares = False
        #: Headers that its answers have.
        self.tells: dict[str, str] = {}
        #: Headers that it does not know, in small letters.
        self.unknown: set[str] = set()
        #: How much of any upload is said to have arrived.
        self.arrived: str | None = None
        self._actions: list[tuple[str, str, str, Callable[[], object]]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, target))
        self.host = f"127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        """Begin."""
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._http.shutdown()
        self._http.server_close()

    def trouble(
        self,
        what: What,
        method: str,
        path: str,
        times: int = 1,
        headers: dict[str, str] | None = None,
        said: bytes = b"",
        after: Trouble | None = None,
    ) -> Trouble:
        """Add trouble; it counts its hits."""
        self.troubles.append(Trouble(what, method, path, times, headers or {}, said, after))
        return self.troubles[-1]

    def meanwhile(
        self, when: Literal["before", "after"], method: str, path: str, action: Callable[[], object]
    ) -> None:
        """Do something once, before such a request gets there, or after and before its answer."""
        self._actions.append((when, method, path, action))

    def act(self, when: str, method: str, path: str) -> None:
        """What is to be done at this moment."""
        for each in list(self._actions):
            if each[:2] == (when, method) and re.search(each[2], path):
                self._actions.remove(each)
                each[3]()

    def strikes(self, method: str, path: str) -> Trouble | None:
        """The trouble that this request is in."""
        for each in self.troubles:
            if each.after is not None and not each.after.hits:
                continue
            if each.hits < each.times and each.method == method and re.search(each.path, path):
                each.hits += 1
                return each
        return None


def _handler(way: FaultyWay, target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # else boto3 waits for leave to send its bodies

        def _forward(self) -> None:
            self.close_connection = True
            way.seen.append((self.command, self.path, self.headers.get("Range")))
            trouble = way.strikes(self.command, self.path)
            if trouble is not None and trouble.what == "drop":
                return
            length = int(self.headers.get("Content-Length") or 0)
            if way.most is not None and length > way.most:
                self._refuse()
                return
            if self.command == "GET" and self.path in way.kept:
                location, arrived = way.kept[self.path]
                self._answer(204, {"Location": location, "Range": arrived}, b"", False)
                return
            if self.command == "GET" and "/uploads/" in self.path and way.arrived:
                told = {"Location": self.path, "Range": way.arrived}
                self._answer(204, told, b"", False)
                return
            body = self.rfile.read(length)
            way.taken[self.command] += length
            if trouble is not None and trouble.what == "kept":
                self._keep(body[: length // 2])
                return
            if trouble is not None and isinstance(trouble.what, int):
                self._answer(trouble.what, trouble.headers, trouble.said, False)
                return
            way.act("before", self.command, self.path)
            if way.compares and self.command == "PUT" and not self._holds():
                self._answer(412, {}, b"", False)
                return
            answer, content = self._asked(self.command, self.path, body)
            way.act("after", self.command, self.path)
            if trouble is None or trouble.what == "cut":
                said = answer.headers.get("Content-Length")
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
                if said:
                    headers["Content-Length"] = said
                headers |= way.tells
                if "/uploads/" in headers.get("Location", ""):
                    headers["Location"] = way.location(headers["Location"])
                self._answer(answer.status, headers, content, trouble is not None)

        def _holds(self) -> bool:
            """Whether what is at the path now is what the request wants to be there."""
            peer = http.client.HTTPConnection(target)
            kinds = "application/vnd.oci.image.manifest.v1+json"
            peer.request("GET", self.path, headers={"Accept": kinds})
            found = peer.getresponse()
            peer.close()
            if self.headers.get("If-None-Match") == "*":
                return found.status == 404
            wanted = self.headers.get("If-Match")
            return wanted is None or wanted == found.headers.get("ETag")

        def _asked(
            self, method: str, path: str, body: bytes
        ) -> tuple[http.client.HTTPResponse, bytes]:
            peer = http.client.HTTPConnection(target)
            kept = {
                k: v
                for k, v in self.headers.items()
                if k.lower() not in ("host", "connection", "expect", "content-length")
                and k.lower() not in way.unknown
            }
            peer.request(method, path, body, kept | {"Host": way.host})
            answer = peer.getresponse()
            content = answer.read()
            peer.close()
            return answer, content

        def _keep(self, body: bytes) -> None:
            """As a registry that stores what comes for as long as it comes."""
            path = re.sub(r"[?&]digest=[^&]*", "", self.path)
            answer, _ = self._asked("PATCH", path, body)
            way.kept[path] = (answer.headers["Location"], answer.headers["Range"])

        def _refuse(self) -> None:
            """As a gateway that sees from the length alone that it will not pass this on."""
            self._answer(413, {}, b"", False)
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RD)

        def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)

        do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _forward

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
