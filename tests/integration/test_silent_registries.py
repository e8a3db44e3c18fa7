"""A registry that takes a request and says nothing, or speaks by drops, is not waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.domain.errors import RegistryUnreachable
from weighbridge.domain.publication import OciRepo, S3Prefix
from weighbridge.entrypoints.container import Container
from weighbridge.entrypoints.settings import Settings

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"


@contextmanager
def server(at_once: bytes, by_drops: bytes) -> Iterator[tuple[str, list[float]]]:
    """Each connection's answer; and when each came."""
    came: list[float] = []

    def answer(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.recv(65_536)
            peer.sendall(at_once)
            for drop in by_drops or bytes(200):
                time.sleep(0.1)
                if by_drops:
                    peer.sendall(bytes([drop]))

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                came.append(time.monotonic())
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", came


@pytest.mark.parametrize(
    ("at_once", "by_drops"),
    [
        (b"", b""),
        (b"", HEAD),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        (HEAD, b"{" * 1000),
    ],
    ids=["silent", "its head", "an endless header", "continue", "its body"],
)
def test_who_does_not_answer_is_not_waited_for(
    at_once: bytes, by_drops: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    began = time.monotonic()
    with server(at_once, by_drops) as (host, came):
        place = OciRepo(host, "acme/m", "v1")
        with pytest.raises(RegistryUnreachable, match=r"timed out.* WEIGHBRIDGE_TIMEOUT"):
            OciRegistry(plain_http=frozenset({host}), timeout=0.4).head(place)
    assert time.monotonic() - began < 3 and len(came) == 2


def test_a_blob_that_comes_slowly_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pieces have a time each, of which the whole may be many."""
    monkeypatch.setattr("weighbridge.adapters.oci_registry.repository._CHUNK", 4)
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"
    with server(content, b"0123456789abcdef") as (host, came):
        registry = OciRegistry(plain_http=frozenset({host}), timeout=0.8)
        repository = registry._repository(OciRepo(host, "acme/m", "v1"))
        with repository.open_blob("sha256:" + 64 * "0", 16) as stream:
            assert stream.read() == b"0123456789abcdef"
    assert len(came) == 1


def test_s3_is_waited_for_as_long_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_environment({"WEIGHBRIDGE_TIMEOUT": "0.3"})
    began = time.monotonic()
    with server(b"", b"") as (host, came):
        for name, value in {"ENDPOINT_URL": f"http://{host}", "MAX_ATTEMPTS": "2"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
            monkeypatch.setenv(f"AWS_{name}", "us-east-1")
        registry = Container(settings=settings).s3_registry()
        with pytest.raises(RegistryUnreachable, match=r"timeout.* WEIGHBRIDGE_TIMEOUT"):
            registry.head(S3Prefix("bucket", "m"))
    assert time.monotonic() - began < 10 and len(came) == 2
