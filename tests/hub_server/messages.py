"""Requests and answers, free of sockets.

Decides how a body is read (JSON, NDJSON, form) and that malformed input is a 400 rather than a
crash; and how an answer carries bytes, a part of a file, or JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from tests.hub_server.errors import ApiError
from tests.hub_server.faults import Fault

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass
class Request:
    """One request; ``args`` are the decoded parts of the path that the route named."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: IO[bytes]
    args: dict[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @property
    def path(self) -> str:
        """The path as sent, still quoted and without the query."""
        return urlsplit(self.target).path

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return values.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Whether a query parameter says yes in any of the client's spellings."""
        return self.query(name).lower() in ("1", "true")

    def json(self) -> dict[str, Any]:
        """The body as one JSON object; an empty body is an empty object."""
        return _object(self.body.read() or b"{}")

    def ndjson(self) -> Iterator[dict[str, Any]]:
        """The body as JSON objects, one a line."""
        for line in self.body:
            if line.strip():
                yield _object(line)

    def form(self) -> dict[str, list[str]]:
        """The fields of a form, or of a JSON object that stands for one."""
        if "json" not in self.headers.get("Content-Type", ""):
            return parse_qs(self.body.read().decode())
        fields = self.json().items()
        return {name: each if isinstance(each, list) else [str(each)] for name, each in fields}


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file on disk."""

    path: Path
    start: int
    length: int


@dataclass
class Response:
    """One answer."""

    status: int = 200
    body: bytes | Piece = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How many bytes the body has."""
        return self.body.length if isinstance(self.body, Piece) else len(self.body)


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that carries JSON."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Response(status, json.dumps(value).encode(), kind | dict(headers or {}))


def error_response(error: ApiError) -> Response:
    """A refusal, in the headers and in the body as the Hub has it."""
    line = " ".join(error.message.split()).encode("ascii", "replace").decode()[:500]
    headers = {"X-Error-Message": line} | error.headers
    if error.code:
        headers["X-Error-Code"] = error.code
    return json_response({"error": error.message, **error.extra}, error.status, headers)


def ranged(request: Request, body: bytes | Path, headers: Mapping[str, str]) -> Response:
    """All of a body, or the one range of it that the request asks for."""
    size = len(body) if isinstance(body, bytes) else body.stat().st_size
    start, end = _bounds(request.headers.get("Range"), size)
    part = body[start:end] if isinstance(body, bytes) else Piece(body, start, end - start)
    fixed = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"} | dict(headers)
    if "Range" not in request.headers:
        return Response(200, part, fixed)
    return Response(206, part, fixed | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})


def _bounds(header: str | None, size: int) -> tuple[int, int]:
    """The half-open interval that a ``Range`` header names."""
    if header is None:
        return 0, size
    match = _RANGE.fullmatch(header)
    first, last = match.groups() if match else ("", "")
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(size - int(last or 0), 0), size
    if start >= end:
        raise ApiError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _object(text: bytes) -> dict[str, Any]:
    """Parse one JSON object or refuse the request."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ApiError(400, f"Malformed JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "Expected a JSON object")
    return value
