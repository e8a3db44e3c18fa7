"""Sockets: from bytes to a ``Request``, and from a ``Response`` to bytes.

Decides how bodies are read (by length or in chunks, on disk when they are long), what is
logged, and carries out the faults: how late an answer is and where it breaks off.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from threading import Event, Lock
from typing import IO, Any, NamedTuple

from tests.hub_server.errors import ApiError
from tests.hub_server.faults import Fault, FaultPlan, ending, prevents_work, refusal
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Piece, Request, Response, error_response
from tests.hub_server.routes import Router

_MEMORY = 8 * 1024 * 1024
_BLOCK = 1024 * 1024


class LogEntry(NamedTuple):
    """One request and its answer's status; 0 when there was no answer."""

    method: str
    path: str
    status: int


class HubHttpServer(ThreadingHTTPServer):
    """The listening socket with what its connections share."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hub: Hub, router: Router) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.hub = hub
        self.router = router
        self.plan = FaultPlan()
        self.log: list[LogEntry] = []
        self.bytes_sent = 0
        self.bytes_received = 0
        self.counting = Lock()
        self.stopping = Event()
        self.connections: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is an ordinary event in these tests."""

    def stop(self) -> None:
        """Stop listening and hang up on every client."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            hang_up(connection)


def hang_up(connection: socket.socket) -> None:
    """Close both directions of a connection, if the client has not done so already."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Connection(BaseHTTPRequestHandler):
    """One client's connection, which may carry many requests."""

    server: HubHttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        """Register the connection, so that it can be closed when the server stops."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing; the log is kept by the server."""

    def _serve(self) -> None:
        """Read one request, and answer it unless a fault prevents that."""
        faults = self.server.plan.take(self.command, self.path)
        if any(fault.deaf for fault in faults):
            self.server.stopping.wait()
            self.close_connection = True
            return
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as body:
            for block in self._blocks():
                with self.server.counting:
                    self.server.bytes_received += len(block)
                body.write(block)
            body.seek(0)
            headers = {name.title(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body, faults=faults)
            if late := max((fault.late for fault in faults), default=0.0):
                hang_up(self.connection)
                self.server.stopping.wait(late)
            response = self._respond(request, faults)
        end = ending(faults)
        status = 0 if end == "drop" else response.status
        self.server.log.append(LogEntry(self.command, request.path, status))
        if pause := max((fault.endless for fault in faults), default=0.0):
            self._send_head_for_ever(pause)
        if end != "drop":
            self._send(response, whole=end is None, drip=max((f.drip for f in faults), default=0))
        if end is not None:
            self.wfile.flush()
            self.close_connection = True
            hang_up(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _respond(self, request: Request, faults: tuple[Fault, ...]) -> Response:
        """The answer, after the delays and with the refusals that were injected."""
        before = sum(fault.delay for fault in faults if not fault.applied)
        self.server.stopping.wait(before)
        response = Response()
        if not prevents_work(faults):
            response = self.server.router.answer(self.server.hub, request)
        self.server.stopping.wait(sum(fault.delay for fault in faults) - before)
        for fault in faults:
            if fault.body is not None or fault.rewrite is not None:
                body = response.body if isinstance(response.body, bytes) else b""
                response = Response(response.status, fault.spoken(body), response.headers)
        refused = refusal(faults)
        if refused is None or refused.status is None:
            return response
        error = ApiError(refused.status, refused.message, refused.code, refused.headers)
        return error_response(error)

    def _send(self, response: Response, *, whole: bool, drip: float) -> None:
        """Write an answer, or the first half of its body, with a pause after each byte."""
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command != "HEAD":
            for block in _written(response, response.length if whole else response.length // 2):
                for piece in (block[i : i + 1] for i in range(len(block))) if drip else (block,):
                    self.wfile.write(piece)
                    self.server.bytes_sent += len(piece)
                    if drip:
                        self.wfile.flush()
                        self.server.stopping.wait(drip)

    def _send_head_for_ever(self, pause: float) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.stopping.wait(pause):
            self.wfile.write(b"X-Wait: a little\r\n")
            self.wfile.flush()

    def _blocks(self) -> Iterator[bytes]:
        """The body of the request, piece by piece."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield from _read(self.rfile, size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield from _read(self.rfile, int(self.headers.get("Content-Length", 0)))


def _read(stream: IO[bytes] | BufferedIOBase, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes of a stream; fewer mean that the client hung up."""
    while size:
        block = stream.read(min(size, _BLOCK))
        if not block:
            raise ConnectionError("the client hung up")
        size -= len(block)
        yield block


def _written(response: Response, limit: int) -> Iterator[bytes]:
    """The first ``limit`` bytes of the body."""
    if isinstance(response.body, Piece):
        with response.body.path.open("rb") as source:
            source.seek(response.body.start)
            yield from _read(source, limit)
    else:
        yield response.body[:limit]
