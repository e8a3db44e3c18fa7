"""How blobs get into an OCI registry, and what it costs if that is interrupted or not allowed."""

from __future__ import annotations

import random
import socket
import threading
import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

import weighbridge
from tests.contracts.registry import FIRST, LARGE, SECOND, Subject
from tests.docker_registry import DockerRegistry
from tests.docker_registry.faulty import FaultyWay
from tests.integration.test_oci_registry import on
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.oci_registry.transport import Transport
from weighbridge.application.copy import Copy, CopyRequest
from weighbridge.domain.errors import (
    DestinationMissing,
    RateLimited,
    RegistryRejected,
    RegistryUnreachable,
    TooLarge,
)
from weighbridge.domain.publication import OciRepo

PATIENCE = "weighbridge.adapters.oci_registry.patience.pause"
PIECE = "weighbridge.adapters.oci_registry.upload._PIECE"


def noise(size: int) -> bytes:
    """Something new each time, so that no registry has it."""
    return random.Random(uuid4().int).randbytes(size)


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(PATIENCE, found.append)
    return found


# --- interrupted ---------------------------------------------------------------------------------


def test_what_arrived_is_not_sent_again(way: FaultyWay) -> None:
    """If the registry keeps it; each of the two breaks leaves half of what was sent."""
    place, files = on(way.host), {"w.safetensors": noise(4_000_000)}
    first = way.trouble("kept", "PUT", "/uploads/")
    way.trouble("kept", "PATCH", "/uploads/", after=first)
    assert place.publish(files).created and place.holds(files)
    sent = [
        (method, path) for method, path, _ in way.seen
        if method in ("PATCH", "PUT") and "/uploads/" in path
    ]  # fmt: skip
    methods = [method for method, _ in sent]
    # The last two are the configs, of the manifest and of the log.
    assert methods == ["PUT", "PATCH", "PATCH", "PUT", "PUT", "PUT"]
    # The whole once, a half, a quarter; and less than a thousand bytes of JSON.
    assert way.taken["PUT"] - 4_000_000 < 5_000 and way.taken["PATCH"] == 3_000_000


def test_a_registry_that_is_wrong_about_what_arrived(way: FaultyWay) -> None:
    place, files = on(way.host), {"w.safetensors": noise(1_000_000)}
    way.trouble("drop", "PUT", "/uploads/")
    way.arrived = "0-9"  # and nothing did
    assert place.publish(files).created and place.holds(files)


def test_only_the_file_that_broke_is_sent_again(way: FaultyWay) -> None:
    """Of the reference implementation, which forgets what was broken off."""
    files = {f"w{n}.safetensors": noise(1_000_000) for n in range(4)}
    trouble = way.trouble("lost", "PUT", "/uploads/")
    place = on(way.host)
    place.publish(files)
    assert trouble.hits == 1 and way.taken["PUT"] < 4_100_000  # it had arrived: not even that
    way.taken.clear()
    files = {f"w{n}.safetensors": noise(1_000_000) for n in range(4)}
    way.trouble(503, "PUT", "/uploads/")
    place.publish(files)
    assert way.taken["PUT"] < 5_100_000 and place.holds(files)


# --- too large, too fast -------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "pieces"), [("", 11), ("1000", 11), ("450000", 10)])
def test_a_gateway_that_takes_no_large_bodies(
    least: str, pieces: int, way: FaultyWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIECE, 400_000)
    way.tells = {"OCI-Chunk-Min-Length": least}
    way.most = 500_000
    place, files = on(way.host), {"w.safetensors": noise(4_100_000), "config.json": b"{}"}
    assert place.publish(files).created and place.holds(files)
    assert [m for m, p, _ in way.seen if "/uploads/" in p].count("PATCH") == pieces
    way.most = 300_000
    with pytest.raises(TooLarge, match="HTTP 413"):
        place.publish({"w.safetensors": noise(4_100_000)})
    assert place.holds(files)


def test_an_answer_in_the_middle_of_the_body_is_heard() -> None:
    """Gateways do not wait for the end of what they will not take."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        size = 200 << 20
        answer = Transport(timeout=10).send(
            "PUT", f"http://{host}/v2/x", {"Content-Length": str(size)},
            (bytes(1 << 20) for _ in range(size >> 20)),
        )  # fmt: skip
        thread.join()
        assert answer.status == 413
        answer.close()


def test_more_names_than_a_manifest_can_hold(
    way: FaultyWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.domain.modelpack.MOST_BYTES", 3000)
    with pytest.raises(TooLarge, match="the names of 20 files make a manifest of"):
        on(way.host).publish({f"{n}.json": b"{}" for n in range(20)})
    assert {m for m, _, _ in way.seen} == {"GET"}


@pytest.mark.parametrize("path", ["/manifests/v1", "/uploads/"])
def test_the_pause_that_is_asked_for_is_made(
    path: str, way: FaultyWay, waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    place = on(way.host)
    way.trouble(429, "PUT", path, 2, {"Retry-After": "17"})
    assert place.publish(FIRST).created and place.holds(FIRST)
    assert waited == pytest.approx([17.0, 17.0], abs=5)  # waiting for the turn is a part of it
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        "waiting for the registry's rate limit, 17 s"
    ] * 2


def test_a_token_service_that_wants_a_pause(tokens: DockerRegistry, waited: list[float]) -> None:
    assert tokens.tokens is not None
    repo = OciRepo(tokens.host, f"acme/{uuid4().hex}", "v1")
    place, fresh = (Subject(OciRegistry(tokens.logins), repo) for _ in range(2))
    tokens.tokens.refusals = [429, 503]
    assert place.publish(FIRST).created and len(waited) == 2
    tokens.tokens.refusals = [429] * 9
    try:
        with pytest.raises(RateLimited):
            fresh.publish(SECOND)
    finally:
        tokens.tokens.refusals = []


# --- what registries differ in -------------------------------------------------------------------


@pytest.mark.parametrize("form", ["absolute", "relative", "with a query of its own"])
def test_every_form_of_an_upload_s_address(form: str, way: FaultyWay) -> None:
    own = "&token=a%2Fb%20c+d%3D%3D&empty="

    def changed(location: str) -> str:
        parts = urlsplit(location)
        if form == "relative":
            return f"{parts.path}?{parts.query}"
        return location + (own if form != "absolute" else "")

    way.location = changed
    place = on(way.host)
    assert place.publish(FIRST).created and place.holds(FIRST)
    if own in changed("http://x/?a"):
        assert all(own in p for m, p, _ in way.seen if m == "PUT" and "/uploads/" in p)


@pytest.mark.parametrize("status", [403, 405, 501])  # 403: of an address that was signed for GET
def test_a_registry_that_knows_no_head(status: int, way: FaultyWay) -> None:
    place = on(way.host)
    way.trouble(status, "HEAD", "/blobs/", 10**6)
    assert place.publish(FIRST).created and place.holds(FIRST)
    way.taken.clear()
    assert place.publish({**FIRST, "config.json": b'{"n": 1}'}).created
    assert way.taken["PUT"] < 10_000  # what is there was seen to be there


@pytest.mark.parametrize("status", [400, 405, 415, 501])
def test_a_registry_that_takes_pieces_only(status: int, way: FaultyWay) -> None:
    place, files = on(way.host), {"w.safetensors": noise(1000), "config.json": noise(10)}
    said = b'{"errors": [{"code": "UNSUPPORTED"}]}'
    way.trouble(status, "PUT", "/uploads/", said=said)
    assert place.publish(files).created and place.holds(files)
    assert [m for m, p, _ in way.seen if "/uploads/" in p].count("PATCH") == 1
    way.trouble(status, "PUT", "/uploads/", 99, said=said)
    with pytest.raises((RegistryRejected, RegistryUnreachable), match=f"HTTP {status}"):
        place.publish({"w.safetensors": noise(1000)})


def test_an_upload_that_another_server_does_not_know(way: FaultyWay) -> None:
    """As of several behind one name that share their blobs, and not what was begun."""
    place, files = on(way.host), {"w.safetensors": noise(1000)}
    said = b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}'
    trouble = way.trouble(404, "PUT", "/uploads/", 2, said=said)
    assert place.publish(files).created and place.holds(files) and trouble.hits == 2
    way.trouble(404, "PUT", "/uploads/", 1)
    with pytest.raises(DestinationMissing):
        place.publish({"w.safetensors": noise(1000)})


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/blobs/uploads/"), ("PUT", "/manifests/v1")]
)
def test_who_is_sent_on_sends_it_there(
    status: int, method: str, path: str, way: FaultyWay, plain: DockerRegistry
) -> None:
    """As by a registry that moved, or one for each region."""
    place = on(way.host)
    assert isinstance(place.destination, OciRepo)
    there = f"http://{plain.host}/v2/{place.destination.name}{path}"
    trouble = way.trouble(status, method, path, 1, {"Location": there})
    assert place.publish(FIRST).created and place.holds(FIRST) and trouble.hits
    way.trouble(status, method, path, 99, {"Location": "ftp://x/"})
    with pytest.raises(RegistryUnreachable, match="not safe"):
        place.publish({"config.json": noise(10)})


def test_a_registry_that_takes_its_time_to_check(way: FaultyWay) -> None:
    """What is large is read again, or copied within a cloud, before it answers."""
    place = Subject(OciRegistry(timeout=0.5), OciRepo(way.host, f"acme/{uuid4().hex}", "v1"))
    way.meanwhile("after", "PUT", "/uploads/", lambda: time.sleep(1))
    assert place.publish({"w.safetensors": noise(12_000_000)}).created
    assert way.taken["PUT"] < 13_000_000


# --- from one repository to another --------------------------------------------------------------


def mounts(registry: DockerRegistry) -> int:
    return len([p for p in registry.requests("POST", "/uploads/") if "mount=" in p])


@pytest.mark.parametrize("guard", ["plain", "tokens"])
def test_a_copy_within_a_registry_sends_nothing(guard: str, request: pytest.FixtureRequest) -> None:
    registry: DockerRegistry = request.getfixturevalue(guard)
    adapter = OciRegistry(registry.logins)
    source, target = (OciRepo(registry.host, f"acme/{uuid4().hex}", "v1") for _ in range(2))
    there, here = Subject(adapter, source), Subject(adapter, target)
    files = {**FIRST, "w.safetensors": noise(1_000_000)}
    receipt = there.publish(files)
    uploads = len(registry.requests("PUT", f"{target.name}/blobs/uploads/"))
    before = mounts(registry)
    done = Copy({OciRepo: adapter})(CopyRequest(source, target))
    assert done.receipt is not None and done.receipt.revision == receipt.revision
    assert mounts(registry) >= before + len(FIRST)
    # The manifest's config and the log's, which are made here.
    assert len(registry.requests("PUT", f"{target.name}/blobs/uploads/")) == uploads + 2
    assert here.holds(files)


@pytest.mark.parametrize("status", [202, 404, 405, 403])
def test_a_registry_that_takes_nothing_over(status: int, way: FaultyWay) -> None:
    source, target = on(way.host), on(way.host)
    source.publish({"w.safetensors": LARGE})
    trouble = way.trouble(status, "POST", "mount=", 10**6, {"Location": "/v2/nowhere"})
    done = weighbridge.copy(str(source.destination), str(target.destination))
    assert done.receipt is not None and done.receipt.created and trouble.hits
