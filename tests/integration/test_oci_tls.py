"""TLS on this machine, against docker-registry with a certificate that it made itself."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import weighbridge
from tests.contracts.registry import FIRST, Subject
from tests.docker_registry import DockerRegistry, Guard
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.oci_registry.tls import is_loopback, speaks_tls
from weighbridge.domain.errors import RegistryError, RegistryRejected, StorageError
from weighbridge.domain.publication import OciRepo
from weighbridge.entrypoints.settings import Settings


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    made = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-out", str(made[0]), "-keyout", str(made[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[DockerRegistry]:
    with DockerRegistry(folder / "registry", Guard.BASIC, certificate(folder, "own")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def trusted(folder: Path, host: str, file: Path, name: str = "ca.crt") -> str:
    place = folder / "certs.d" / host / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())
    return str(folder / "certs.d")


def on(running: DockerRegistry, *certificates: str) -> Subject:
    place = OciRepo(running.host, f"acme/{uuid4().hex}", "v1")
    return Subject(OciRegistry(running.logins, certificates=certificates), place)


def test_who_speaks_tls_here_is_spoken_to_by_tls(
    secure: DockerRegistry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RegistryRejected, match=r"CERTIFICATE_VERIFY_FAILED.*certs\.d"):
        on(secure).publish(FIRST)
    subject = on(secure, trusted(tmp_path, secure.host, folder / "own.crt"))
    subject.publish(FIRST)
    assert subject.holds(FIRST)
    home = Path(secure.logins[0]).parent
    trusted(home, secure.host, folder / "own.crt")
    monkeypatch.setenv("DOCKER_CONFIG", str(home))
    done = weighbridge.pull(str(subject.destination), tmp_path / "out")
    assert {str(e.path) for e in done.entries} == set(FIRST)


def test_the_authority_of_another_registry_is_none(secure: DockerRegistry, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other")
    with pytest.raises(RegistryRejected, match="CERTIFICATE_VERIFY_FAILED"):
        on(secure, trusted(tmp_path, secure.host, other)).publish(FIRST)


def test_without_tls_if_that_was_said(secure: DockerRegistry) -> None:
    settings = Settings.from_environment({"WEIGHBRIDGE_PLAIN_HTTP": f"http://{secure.host}/"})
    registry = OciRegistry(plain_http=settings.plain_http)
    with pytest.raises(RegistryRejected, match="HTTP 400: Client sent an HTTP request to an HTTPS"):
        registry.head(OciRepo(secure.host, "acme/m"))


def test_certificates_that_cannot_be_read(secure: DockerRegistry, tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_text("nonsense")
    certs = trusted(tmp_path, secure.host, tmp_path / "nonsense")
    with pytest.raises(StorageError, match=r"ca\.crt"):
        on(secure, certs).publish(FIRST)


def test_a_certificate_of_our_own(folder: Path, tmp_path: Path) -> None:
    server, (ours, key) = certificate(tmp_path, "server"), certificate(tmp_path, "ours")
    with DockerRegistry(tmp_path / "registry", tls=server, clients=ours) as running:
        certs = trusted(tmp_path, running.host, server[0])
        with pytest.raises(RegistryError):
            on(running, certs).publish(FIRST)
        trusted(tmp_path, running.host, ours, "client.cert")
        with pytest.raises(StorageError, match=r"client\.cert"):
            on(running, certs).publish(FIRST)
        trusted(tmp_path, running.host, key, "client.key")
        subject = on(running, certs)
        subject.publish(FIRST)
        assert subject.holds(FIRST)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00"])
def test_who_speaks_none(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def answered() -> None:
            with server.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=answered)
        thread.start()
        assert speaks_tls(host) is False
        thread.join()
    assert speaks_tls(host) is None


def test_an_alert_is_tls_too() -> None:
    """As of a server that knows us by a certificate only, or takes no version of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refused() -> None:
            with server.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(bytes([21, 3, 3, 0, 2, 2, 40]))  # handshake_failure

        thread = threading.Thread(target=refused)
        thread.start()
        assert speaks_tls(f"127.0.0.1:{server.getsockname()[1]}") is True
        thread.join()


def test_what_this_machine_is() -> None:
    here = ("localhost", "localhost:5000", "127.9.9.9:1", "[::1]:5000", "k3d.localhost:5000")
    assert all(map(is_loopback, here))
    elsewhere = ("localhost.lan", "registry.lan:5000", "10.0.0.1", "mylocalhost", "[::2]")
    assert not any(map(is_loopback, elsewhere))
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
