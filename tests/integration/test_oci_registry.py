"""The OCI adapter against Debian's docker-registry, with skopeo as a witness."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest

import weighbridge
from tests.contracts.registry import FIRST, LARGE, SECOND, Subject, blobs_of
from tests.docker_registry import DockerRegistry
from tests.docker_registry.faulty import FaultyWay
from tests.docker_registry.server import PASSWORD, USER
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.oci_registry.transport import Transport
from weighbridge.domain.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RateLimited,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    StorageError,
    UsageError,
)
from weighbridge.domain.publication import OciRepo
from weighbridge.entrypoints.settings import Settings


def on(host: str, config: str | None = None, name: str = "", tag: str = "v1") -> Subject:
    place = OciRepo(host, name or f"acme/{uuid4().hex}", tag)
    logins = (f"{config}/config.json",) if config else ()
    return Subject(OciRegistry(logins, timeout=10), place, PASSWORD)


def skopeo(*arguments: str, policy: Path) -> bytes:
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    command = ["skopeo", "--policy", str(policy), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def address(place: OciRepo) -> str:
    return str(place).replace("oci://", "docker://")


# --- witnesses -----------------------------------------------------------------------------------


def test_skopeo_reads_what_was_published(plain: DockerRegistry, tmp_path: Path) -> None:
    place = on(plain.host)
    receipt = place.publish(FIRST)
    assert isinstance(place.destination, OciRepo)
    policy, where = tmp_path / "policy.json", address(place.destination)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", where, policy=policy)
    document = json.loads(raw)
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", where,
           f"oci:{tmp_path / 'layout'}:v1", policy=policy)  # fmt: skip
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == receipt.revision
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    found = {
        layer["annotations"]["org.cncf.model.filepath"]: blobs.joinpath(
            layer["digest"].removeprefix("sha256:")
        ).read_bytes()
        for layer in document["layers"]
    }
    assert found == FIRST
    config = json.loads((blobs / document["config"]["digest"].removeprefix("sha256:")).read_text())
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in document["layers"]]


def test_what_skopeo_copied_is_pulled_with_the_same_digest(
    plain: DockerRegistry, tmp_path: Path
) -> None:
    first, second = on(plain.host), on(plain.host)
    receipt = first.publish(FIRST)
    assert isinstance(first.destination, OciRepo) and isinstance(second.destination, OciRepo)
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
           address(first.destination), address(second.destination),
           policy=tmp_path / "policy.json")  # fmt: skip
    done = weighbridge.pull(str(second.destination), tmp_path / "out")
    assert done.revision == receipt.revision
    assert all((tmp_path / "out" / p).read_bytes() == content for p, content in FIRST.items())
    copied = weighbridge.copy(str(first.destination), str(second.destination))
    assert copied.plan.is_noop


def test_a_container_image_is_neither_read_nor_replaced(
    plain: DockerRegistry, tmp_path: Path
) -> None:
    place = on(plain.host)
    assert isinstance(place.destination, OciRepo)
    layout = tmp_path / "image"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def stored(content: bytes, kind: str) -> dict[str, Any]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(content)}

    vendor = "application/vnd.oci.image."
    root = {"type": "layers", "diff_ids": []}
    described = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": root})
    config = stored(described.encode(), vendor + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": vendor + "manifest.v1+json", "config": config,
                "layers": [stored(b"x", vendor + "layer.v1.tar+gzip")]}  # fmt: skip
    named = stored(json.dumps(manifest).encode(), vendor + "manifest.v1+json")
    named["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:v1", address(place.destination),
           policy=tmp_path / "policy.json")  # fmt: skip
    for attempt in (lambda: place.registry.head(place.destination), lambda: place.publish(FIRST)):
        with pytest.raises(RegistryRejected, match="no model"):
            attempt()


# --- what is sent --------------------------------------------------------------------------------


def test_only_missing_blobs_are_sent(plain: DockerRegistry) -> None:
    place = on(plain.host)
    place.publish(FIRST)
    before = len(plain.requests("PUT", "/blobs/uploads/"))
    place.publish({**FIRST, "config.json": b'{"n": 1}'})
    assert len(plain.requests("PUT", "/blobs/uploads/")) == before + 2  # and the config
    assert isinstance(place.destination, OciRepo)
    # The same content under another tag: the blobs and even the manifest are there.
    other = on(plain.host, name=place.destination.name, tag="other")
    before = len(plain.requests("PUT", "/blobs/uploads/"))
    assert other.publish(FIRST).created
    assert len(plain.requests("PUT", "/blobs/uploads/")) == before


def test_equal_content_has_an_equal_revision(plain: DockerRegistry) -> None:
    assert on(plain.host).publish(FIRST).revision == on(plain.host).publish(FIRST).revision


def test_a_digest_is_for_reading(plain: DockerRegistry, tmp_path: Path) -> None:
    place = on(plain.host)
    old = place.publish(FIRST).revision
    place.publish(SECOND)
    assert isinstance(place.destination, OciRepo)
    pinned = f"oci://{plain.host}/{place.destination.name}@{old}"
    weighbridge.pull(pinned, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == FIRST["config.json"]
    by_digest = on(plain.host, name=place.destination.name, tag=old)
    with pytest.raises(UsageError, match="publish to a tag"):
        by_digest.publish(SECOND)


def test_a_blob_that_is_gone_shows_in_the_read_back(plain: DockerRegistry) -> None:
    place = on(plain.host)
    receipt = place.publish({"config.json": b"only here " + uuid4().hex.encode()})
    shutil.rmtree(next(plain.folder.rglob(f"{place.destination.name}/_layers")))
    read = place.registry.manifest(place.destination, receipt.revision)
    assert read.manifest.entries == ()


def test_what_is_to_stay_and_is_gone_is_found_before_anything_is_sent(
    plain: DockerRegistry,
) -> None:
    """As a careless garbage collection may leave it."""
    place = on(plain.host)
    kept = b"to stay " + uuid4().hex.encode()
    place.publish({"kept.json": kept, "config.json": b"{}"})
    assert isinstance(place.destination, OciRepo)
    layers = next(plain.folder.rglob(f"{place.destination.name}/_layers")) / "sha256"
    shutil.rmtree(layers / hashlib.sha256(kept).hexdigest())
    changed = {"kept.json": kept, "config.json": b'{"n": 2}'}
    before = len(plain.requests("POST", f"{place.destination.name}/blobs/uploads/"))
    with pytest.raises(RegistryRejected, match=r"kept\.json is to stay .* under another tag"):
        place.publish(changed)
    assert len(plain.requests("POST", f"{place.destination.name}/blobs/uploads/")) == before
    other = on(plain.host, name=place.destination.name, tag="v2")
    assert other.publish(changed).created and other.holds(changed)


# --- who we are ----------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", ["guarded", "tokens"])
def test_without_a_login_nothing_is_sent(guard: str, request: pytest.FixtureRequest) -> None:
    registry: DockerRegistry = request.getfixturevalue(guard)
    with pytest.raises(AuthenticationFailed, match="docker login"):
        on(registry.host).publish(FIRST)
    assert not registry.requests("POST", "/uploads/") or guard == "guarded"


@pytest.mark.parametrize("guard", ["guarded", "tokens"])
def test_a_wrong_password_is_not_shown(
    guard: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    registry: DockerRegistry = request.getfixturevalue(guard)
    wrong = "another-planted-password"
    pair = base64.b64encode(f"{USER}:{wrong}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
    place = on(registry.host, str(tmp_path))
    with pytest.raises(AuthenticationFailed) as failed:
        place.publish(FIRST)
    shown = "".join(traceback.format_exception(failed.value)) + repr(place.registry)
    assert wrong not in shown and pair not in shown


def helper(folder: Path, answer: str, code: int = 0) -> None:
    script = folder / "docker-credential-tests"
    script.write_text(f"#!/bin/sh\ncat > {folder}/asked\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
    script.chmod(0o755)


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore", "auth", "address", "identitytoken"])
def test_every_way_of_docker_to_keep_a_login(
    kind: str, tokens: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, json.dumps({"ServerURL": "", "Username": USER, "Secret": PASSWORD}))
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = {
        "credHelpers": {"credHelpers": {tokens.host: "tests"}},
        "credsStore": {"auths": {tokens.host: {}}, "credsStore": "tests"},
        "auth": {"auths": {tokens.host: {"auth": pair}}},
        "address": {"auths": {f"https://{tokens.host}/v1/": {"auth": pair}}},
        "identitytoken": {"auths": {tokens.host: {"auth": "", "identitytoken": PASSWORD}}},
    }[kind]
    (tmp_path / "config.json").write_text(json.dumps(config))
    place = on(tokens.host, str(tmp_path))
    place.publish(FIRST)
    assert place.holds(FIRST)
    if kind.startswith("cred"):
        assert (tmp_path / "asked").read_text() == tokens.host


@pytest.mark.parametrize(
    ("answer", "code"), [("no keychain here", 1), ("nonsense", 0), ('{"Username": 1}', 0)]
)
def test_a_helper_that_fails(
    answer: str, code: int, guarded: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, answer, code)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "tests"}))
    with pytest.raises(StorageError, match="docker-credential-tests"):
        on(guarded.host, str(tmp_path)).publish(FIRST)
    helper(tmp_path, "credentials not found in native keychain", 1)
    with pytest.raises(AuthenticationFailed):
        on(guarded.host, str(tmp_path)).publish(FIRST)


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": {"HOST": {"auth": "???"}}}'])
def test_a_config_that_cannot_be_read(
    content: str, guarded: DockerRegistry, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(content.replace("HOST", guarded.host))
    with pytest.raises(StorageError, match=r"config\.json"):
        on(guarded.host, str(tmp_path)).publish(FIRST)


def test_a_token_that_ran_out_is_asked_for_again(tokens: DockerRegistry) -> None:
    assert tokens.tokens is not None
    tokens.tokens.lifetime = -200  # below the registry's leeway
    try:
        with pytest.raises(AuthenticationFailed):
            on(tokens.host, str(Path(tokens.logins[0]).parent)).publish(FIRST)
    finally:
        tokens.tokens.lifetime = 300
    place = on(tokens.host, str(Path(tokens.logins[0]).parent))
    place.publish(FIRST)
    session = place.registry._known[place.destination].session  # type: ignore[attr-defined]
    session._authorization = "Bearer expired"
    place.publish(SECOND)
    assert place.holds(SECOND)


def test_tls_is_demanded_of_other_machines() -> None:
    transport = Transport(frozenset({"registry.lan:5000"}))
    for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000", "registry.lan:5000"):
        assert transport.base(host) == f"http://{host}/v2/"
    for host in ("registry.lan", "registry.lan:5001", "localhost.lan", "127.example:80"):
        assert transport.base(host) == f"https://{host}/v2/"
    with pytest.raises(OSError, match="not safe"):
        transport.require_safe("https://a/v2/", "http://a/v2/blob")
    with pytest.raises(OSError, match="not safe"):
        transport.require_safe("http://localhost/v2/", "file:///etc/passwd")
    settings = Settings.from_environment({"WEIGHBRIDGE_PLAIN_HTTP": "a:1, b:2"})
    assert settings.plain_http == ("a:1", "b:2")


class Store(ThreadingHTTPServer):
    """Where a registry sends readers on to: it answers as ``answer`` does, and keeps what logins it
    was told."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, str], None]) -> None:
        asked: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers.get("Authorization"))
                answer(self, f"http://{self.headers['Host']}")

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = asked

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def gives(request: BaseHTTPRequestHandler, _: str) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(LARGE)))
    request.end_headers()
    request.wfile.write(LARGE)


def asks_for_a_login(request: BaseHTTPRequestHandler, own: str) -> None:
    request.send_response(401)
    request.send_header("WWW-Authenticate", f'Bearer realm="{own}/token",service="s"')
    request.send_header("WWW-Authenticate", 'Basic realm="s"')
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.mark.parametrize("answer", [gives, asks_for_a_login])
def test_a_login_is_not_taken_along_to_another_host(
    guarded: DockerRegistry, tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler, str], None]
) -> None:
    """Registries that keep blobs in a cloud send on to addresses that are signed for anybody; what
    answers there is no registry, whatever it says."""
    place = on(guarded.host, str(Path(guarded.logins[0]).parent))
    receipt = place.publish({"w.safetensors": LARGE})
    with FaultyWay(guarded.host) as way, Store(answer) as store:
        where = {"Location": f"http://localhost:{store.server_port}/blob"}
        way.trouble(307, "GET", "/blobs/", 9, where)
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {way.host: {"auth": pair}}}))
        assert isinstance(place.destination, OciRepo)
        there = on(way.host, str(tmp_path), place.destination.name)
        [entry] = there.plan({"w.safetensors": LARGE}).manifest.entries
        refused = pytest.raises(AuthenticationFailed) if answer is not gives else nullcontext()
        opened = there.registry.open
        with refused, opened(there.destination, receipt.revision, entry.path) as stream:
            assert stream.read() == LARGE
    assert store.asked == [None]


def test_tokens_that_run_out_in_the_middle_of_a_push(
    tokens: DockerRegistry, tmp_path: Path
) -> None:
    assert tokens.tokens is not None
    with FaultyWay(tokens.host) as way:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {way.host: {"auth": pair}}}))
        place = on(way.host, str(tmp_path))
        assert isinstance(place.destination, OciRepo)
        scope = f"repository:{place.destination.name}:pull,push"
        terms = {"realm": tokens.tokens.url, "service": tokens.tokens.terms["service"],
                 "scope": scope}  # fmt: skip
        asked = "Bearer " + ",".join(f'{name}="{value}"' for name, value in terms.items())
        over = [
            way.trouble(401, method, path, 1, {"WWW-Authenticate": asked})
            for method, path in (("HEAD", "/blobs/"), ("PUT", "/uploads/"), ("PUT", "/manifests/"))
        ]
        files = {**FIRST, "w.safetensors": LARGE}
        assert place.publish(files).created and place.holds(files)
        assert [each.hits for each in over] == [1, 1, 1]


@pytest.mark.parametrize("spelled", ["127.0.0.1", "LOCALHOST", "localhost"])
def test_the_registry_is_known_however_it_spells_itself(
    spelled: str, guarded: DockerRegistry, tmp_path: Path
) -> None:
    """In the address of an upload: else it would not be told who sends."""
    with FaultyWay(guarded.host) as way:
        port = way.host.partition(":")[2]
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        host = f"{spelled.lower()}:{port}"
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
        way.location = lambda at: f"http://{spelled}:{port}{at[at.index('/v2/') :]}"
        place = on(host, str(tmp_path))
        assert place.publish(FIRST).created and place.holds(FIRST)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", waited.append)
    return waited


@pytest.mark.parametrize("what", ["drop", "lost", 500, 503, 429])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/manifests/"), ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/")],
)
def test_trouble_that_passes(what: Any, method: str, path: str, way: FaultyWay) -> None:
    trouble = way.trouble(what, method, path, times=2)
    place = on(way.host)
    place.publish(FIRST)
    assert trouble.hits == 2 and place.holds(FIRST)


@pytest.mark.parametrize("what", ["drop", 503])
def test_trouble_that_stays_leaves_the_old_revision(what: Any, way: FaultyWay) -> None:
    place = on(way.host)
    old = place.publish(FIRST)
    way.trouble(what, "PUT", "/uploads/", times=1000)
    with pytest.raises(RegistryUnreachable):
        place.publish(SECOND)
    way.troubles.clear()
    head = place.registry.head(place.destination)
    assert head is not None and head.revision == old.revision
    assert place.publish(SECOND).created and place.holds(SECOND)


def test_an_answer_to_the_manifest_that_is_lost(way: FaultyWay) -> None:
    place = on(way.host)
    way.trouble("lost", "PUT", "/manifests/")
    assert place.publish(FIRST).created and place.holds(FIRST)
    assert len([p for m, p, _ in way.seen if m == "PUT" and "/manifests/v1" in p]) == 1


@pytest.mark.parametrize(("reads", "applied"), [(1000, None), (0, False)])
def test_a_manifest_that_never_arrives(reads: int, applied: bool | None, way: FaultyWay) -> None:
    place = on(way.host)
    place.publish(FIRST)
    plan = place.plan(SECOND)
    trouble = way.trouble("drop", "PUT", "/manifests/")
    # What became of it cannot be asked either, from then on.
    way.trouble("drop", "GET", "/manifests/", reads, after=trouble)
    with pytest.raises(RegistryUnreachable) as failed:
        place.push(plan, blobs_of(plan, SECOND))
    assert failed.value.applied is applied


def test_a_long_pause_is_not_waited_for(way: FaultyWay, no_waiting: list[float]) -> None:
    way.trouble(429, "GET", "/manifests/", 100, {"Retry-After": "3600"})
    with pytest.raises(RateLimited) as limited:
        on(way.host).publish(FIRST)
    assert limited.value.retry_after == 3600 and not no_waiting


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", ""),
        (b'{"errors": [{"code": "DENIED", "message": "read only"}]}', ": DENIED read only"),
        (b'{"message": "quota is\\nexceeded"}', ": quota is exceeded"),
        (b"the gateway's own words", ": the gateway's own words"),
        (b'{"errors": 1}', ""),
        (b"\xff\x00", ""),
    ],
)
def test_a_refusal_is_told_in_the_registry_s_words(said: bytes, words: str, way: FaultyWay) -> None:
    way.trouble(403, "POST", "/uploads/", 100, said=said)
    with pytest.raises(PermissionDenied, match=f"beginning an upload: HTTP 403{words}"):
        on(way.host).publish(FIRST)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_asks_for_the_rest(ranges: bool, way: FaultyWay, tmp_path: Path) -> None:
    way.unknown = set() if ranges else {"range"}
    place = on(way.host)
    place.publish({"w.safetensors": LARGE})
    trouble = way.trouble("cut", "GET", "/blobs/", times=2)
    weighbridge.pull(str(place.destination), tmp_path / "out")
    assert (tmp_path / "out" / "w.safetensors").read_bytes() == LARGE and trouble.hits == 2
    assert [r for m, p, r in way.seen if m == "GET" and "/blobs/" in p and r]


def test_files_that_came_whole_do_not_come_again(way: FaultyWay, tmp_path: Path) -> None:
    place = on(way.host)
    files = {f"w{n}.safetensors": uuid4().bytes * 100_000 for n in range(4)}
    place.publish(files)
    third = place.plan(files).manifest.entries[2].digests[0].value
    broken = way.trouble("cut", "GET", third, 10**6)
    told: list[tuple[str, int, int]] = []
    for _ in range(2):
        with pytest.raises(RegistryUnreachable):
            weighbridge.pull(str(place.destination), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    way.troubles.remove(broken)
    way.seen.clear()
    weighbridge.pull(
        str(place.destination), tmp_path / "out", progress=lambda *step: told.append(step)
    )
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == files
    assert len([p for m, p, _ in way.seen if m == "GET" and "/blobs/" in p]) == 2
    assert told[-1] == ("download", 6_400_000, 6_400_000)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]  # nothing is left of what was kept


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_pull_that_is_ended_goes_on(
    way: FaultyWay, tmp_path: Path, number: signal.Signals
) -> None:
    place = on(way.host)
    files = {f"w{n}.safetensors": uuid4().bytes * 100_000 for n in range(3)}
    place.publish(files)
    last = place.plan(files).manifest.entries[2].digests[0].value
    command = [sys.executable, "-m", "weighbridge", "pull", str(place.destination),
               "-o", str(tmp_path / "out")]  # fmt: skip
    pulling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    way.meanwhile("before", "GET", last, lambda: (pulling.send_signal(number), pulling.wait()))
    assert pulling.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "out").exists() and len(list(tmp_path.iterdir())) == 1
    way.seen.clear()
    weighbridge.pull(str(place.destination), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == files
    assert len([p for m, p, _ in way.seen if m == "GET" and "/blobs/" in p]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nobody_there() -> None:
    with pytest.raises(RegistryUnreachable):
        on("127.0.0.1:9").registry.head(OciRepo("127.0.0.1:9", "acme/m"))


def test_a_tag_that_moves_while_the_blobs_go_up(plain: DockerRegistry) -> None:
    place = on(plain.host)
    place.publish(FIRST)
    plan = place.plan(SECOND)
    blobs = blobs_of(plan, SECOND)
    assert isinstance(place.destination, OciRepo)
    other = on(plain.host, name=place.destination.name)
    winner: list[str] = []

    def meddle(*_: object) -> None:
        if not winner:
            winner.append(other.publish({"config.json": b"{}"}).revision)

    with pytest.raises(RevisionConflict) as conflict:
        place.registry.push(plan, blobs, message="m", progress=meddle)
    assert conflict.value.actual == winner[0] and place.holds({"config.json": b"{}"})


def test_of_a_thousand_tags_only_those_that_matter_are_read(way: FaultyWay) -> None:
    place = on(way.host)
    first = place.publish(FIRST).revision
    for number in range(9):
        place.registry.tag(place.destination, f"v1.{number}", first)
    way.seen.clear()
    tags = place.registry.tags(place.destination)
    assert tags.get("v1.5") == first == tags["v1.5"] and tags.get("other") is None
    assert [p.rpartition("/")[2] for m, p, _ in way.seen if "/manifests/" in p] == ["v1.5"]
    assert tags == {f"v1.{number}": first for number in range(9)} and len(tags) == 9


def test_tags_by_pages_of_the_registry_s_own(way: FaultyWay) -> None:
    """Some take no notice of where we want to go on, and say it themselves."""
    place = on(way.host)
    first = place.publish(FIRST).revision
    names = [f"v1.{number}" for number in range(4)]
    for name in names:
        place.registry.tag(place.destination, name, first)
    assert isinstance(place.destination, OciRepo)
    where = f"/v2/{place.destination.name}/tags/list?next_page=x%3D"
    for page, headers in [(names[:2], {"Link": f'<{where}>; rel="next"'}), (names[2:], {})]:
        path = "next_page=x%3D$" if not headers else "/tags/list"
        said = json.dumps({"tags": page}).encode()
        way.trouble(200, "GET", path, 1 if headers else 9, headers, said=said)
    assert place.registry.tags(place.destination) == dict.fromkeys(names, first)


def test_a_digest_of_another_kind_is_not_ours(way: FaultyWay) -> None:
    way.tells = {"Docker-Content-Digest": f"sha512:{'0' * 128}"}
    place = on(way.host)
    assert place.publish(FIRST).created and place.holds(FIRST)


@pytest.mark.parametrize(("status", "times"), [(400, 2), (404, 2), (400, 100)])
def test_a_registry_that_has_not_seen_a_blob_yet(status: int, times: int, way: FaultyWay) -> None:
    """Which it was given the moment before, and said that it has."""
    said = b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
    trouble = way.trouble(status, "PUT", "/manifests/v1", times, said=said)
    place = on(way.host)
    if times == 2:
        assert place.publish(FIRST).created and place.holds(FIRST)
    else:
        with pytest.raises(RegistryRejected, match="blob unknown to registry"):
            place.publish(FIRST)
    assert trouble.hits == min(times, 5)


def test_writers_of_several_tags_do_not_meet(plain: DockerRegistry) -> None:
    name = f"acme/{uuid4().hex}"
    places = [on(plain.host, name=name, tag=f"t{n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: place.publish(FIRST), places))
    assert all(place.holds(FIRST) for place in places)
