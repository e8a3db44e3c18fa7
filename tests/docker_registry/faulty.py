"""A way to the registry on which things go wrong, as they do between two machines."""

from __future__ import annotations

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from attrs import define, field

What = Literal["drop", "lost", "cut"] | int
_HOP = frozenset(
    {"connection", "date", "server", "transfer-encoding", "keep-alive", "content-length"}
)


@define
class Trouble:
    """What befalls the next requests of that method whose path matches.

    "drop": never arrive; "lost": are done, but not answered; "cut": are answered by half; a number:
    are answered with that status, and not done.
    """

    what: What
    method: str
    path: str
    times: int = 1
    headers: dict[str, str] = field(factory=dict)
    #: Only once that one has struck.
    after: Trouble | None = None
    hits: int = 0


class FaultyWay:
    """Forwards to ``target``; ``host`` is where to ask."""

    def __init__(self, target: str) -> None:
        self.troubles: list[Trouble] = []
        self.seen: list[tuple[str, str, str | None]] = []
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
        after: Trouble | None = None,
    ) -> Trouble:
        """Add trouble; it counts its hits."""
        self.troubles.append(Trouble(what, method, path, times, headers or {}, after))
        return self.troubles[-1]

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
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if trouble is not None and isinstance(trouble.what, int):
                self._answer(trouble.what, trouble.headers, b"", False)
                return
            peer = http.client.HTTPConnection(target)
            kept = {
                k: v
                for k, v in self.headers.items()
                if k.lower() not in ("host", "connection", "expect")
            }
            peer.request(self.command, self.path, body, kept | {"Host": way.host})
            answer = peer.getresponse()
            content = answer.read()
            peer.close()
            if trouble is None or trouble.what == "cut":
                length = answer.headers.get("Content-Length")
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
                if length:
                    headers["Content-Length"] = length
                self._answer(answer.status, headers, content, trouble is not None)

        def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _forward

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
