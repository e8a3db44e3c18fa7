"""A Hub that takes a request and never answers, or never comes to an end: nobody waits for ever,
and what is said of it is true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import get_session
from huggingface_hub.utils import _http

import weighbridge
from tests.builders import lora_files, write
from tests.contracts.registry import FIRST, SECOND, Files, Subject, blobs_of
from tests.hub_server import Fault, HubServer
from weighbridge.adapters.hub import HubFiles, HubRegistry, silence
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    AuthenticationFailed,
    RateLimited,
    RegistryUnreachable,
    StorageError,
    UsageError,
)
from weighbridge.domain.publication import HubRepo, Receipt
from weighbridge.entrypoints.settings import Settings

REPO = "acme/m"
COMMIT = "/commit/main"


@pytest.fixture(autouse=True)
def surroundings(hub_alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not pause between attempts, and a server at work gets no more time."""
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(silence, "_AT_WORK", 1)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(xet=False) as running:
        yield running


def on(hub: HubServer, timeout: float = 0.3) -> Subject:
    return Subject(HubRegistry(hub.url, hub.token, timeout=timeout), HubRepo(REPO), hub.token)


def head(place: Subject) -> object:
    return place.registry.head(place.destination)


def right(place: Subject) -> object:
    return place.registry.check(place.destination)


def publish(place: Subject, files: Files = SECOND) -> Receipt:
    plan = place.plan(files)
    return place.push(plan, blobs_of(plan, files))


Work = Callable[[Subject], object]
SILENT: dict[str, tuple[str, Work]] = {
    "head": ("/revision/main", head),
    "right": ("/auth-check", right),
    "first question": ("/preupload/", publish),
    "object": ("/_lfs/", publish),
    "verification": ("/lfs/verify", publish),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_request_without_an_answer(hub: HubServer, name: str) -> None:
    path, work = SILENT[name]
    on(hub, 60).publish(FIRST)
    before = hub.repo(REPO).commits()
    struck = hub.inject(Fault.hangs(path))
    begun = time.monotonic()
    with pytest.raises(RegistryUnreachable) as told:
        work(on(hub))
    assert 1 <= struck.hits <= 2 * 2 and time.monotonic() - begun < 10
    assert "WEIGHBRIDGE_TIMEOUT" in str(told.value) and hub.token not in str(told.value)
    assert "not known" not in str(told.value)
    assert hub.repo(REPO).commits() == before
    hub.clear_faults()
    assert publish(on(hub, 60)).created


def test_an_answer_that_comes_by_drops(hub: HubServer) -> None:
    on(hub, 60).publish(FIRST)
    hub.inject(Fault.trickles("/revision/main"))
    with pytest.raises(RegistryUnreachable, match="in full within"):
        head(on(hub))


@pytest.mark.parametrize("path", ["/revision/main", "/preupload/"])
def test_an_answer_whose_head_comes_by_drops(hub: HubServer, path: str) -> None:
    on(hub, 60).publish(FIRST)
    struck = hub.inject(Fault.never_begins(path))
    with pytest.raises(RegistryUnreachable, match="WEIGHBRIDGE_TIMEOUT"):
        publish(on(hub))
    assert 1 <= struck.hits <= 2


def test_an_upload_that_is_not_taken(hub: HubServer) -> None:
    hub.inject(Fault.never_reads("/_lfs/"))
    with pytest.raises(RegistryUnreachable, match=r"PUT .* was not answered 2 times"):
        publish(on(hub), {"model.safetensors": bytes(24 << 20)})
    assert hub.repo(REPO).files().keys() <= {".gitattributes"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=COMMIT, delay=600, end="drop", applied=True),
        Fault.trickles(COMMIT),
        Fault.never_begins(COMMIT),
    ],
    ids=["silent", "by drops", "no end of the head"],
)
def test_a_commit_that_was_made(hub: HubServer, fault: Fault) -> None:
    on(hub, 60).publish(FIRST)
    struck = hub.inject(fault)
    receipt = publish(on(hub))
    assert struck.hits == 1 and receipt.created
    assert hub.repo(REPO).commits()[0].oid == receipt.revision
    assert len(hub.repo(REPO).commits()) == 3


def test_a_commit_that_nobody_knows_of(hub: HubServer) -> None:
    """The server may still be at work: that nothing was published is not said."""
    on(hub, 60).publish(FIRST)
    hub.inject(Fault.hangs(COMMIT))
    with pytest.raises(RegistryUnreachable, match="not known if it was published") as told:
        publish(on(hub))
    assert told.value.applied is None
    assert len(hub.repo(REPO).commits()) == 2


def test_reading_a_base(hub: HubServer) -> None:
    hub.create_repo(REPO, files={"config.json": b"{}", "other.json": b"{" + b" " * 90 + b"}"})
    files = HubFiles(hub.url, hub.token, timeout=0.3)
    hub.inject(Fault.rate_limit(1, "/revision/"))
    assert files.read(f"hf://{REPO}", ArtifactPath("config.json")) == b"{}"
    for fault in (Fault.never_begins("/resolve/", times=1), Fault.trickles("/resolve/", times=1),
                  Fault.hangs("/resolve/")):  # fmt: skip
        hub.inject(fault)
        with pytest.raises(
            (RegistryUnreachable, StorageError), match=r"other\.json: .*WEIGHBRIDGE_TIMEOUT"
        ):
            files.read(f"hf://{REPO}", ArtifactPath("other.json"))


def test_what_others_set_up_stays(hub: HubServer) -> None:
    """Also where the client makes itself a new session in the midst of it."""
    before, factory = get_session().event_hooks, _http._GLOBAL_CLIENT_FACTORY
    on(hub).publish(FIRST)
    assert get_session().event_hooks == before
    assert _http._GLOBAL_CLIENT_FACTORY is factory
    request = get_session().build_request("GET", hub.url, timeout=7.0)
    limits = silence.Silence("hf://acme/m", 3.0)
    limits.ask(request)
    assert set(request.extensions["timeout"].values()) == {7.0}
    request = get_session().build_request("POST", f"{hub.url}/api/models/a/b/preupload/main")
    limits.ask(request)
    assert request.extensions["timeout"]["read"] == 3.0


def test_a_new_session_has_limits_too(hub: HubServer) -> None:
    on(hub, 60).publish(FIRST)
    struck = hub.inject(Fault.hangs("/tree/"))
    told: list[str] = []

    def hear(answer: object) -> None:
        if not told:
            told.append("a session that could not connect is closed")
            _http.close_session()

    get_session().event_hooks = {**get_session().event_hooks, "response": [hear]}
    with pytest.raises(RegistryUnreachable, match="was not answered 2 times"):
        head(on(hub))
    assert told and struck.hits == 2


@pytest.mark.parametrize("said", ["0", "-1", "soon", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(said: str) -> None:
    with pytest.raises(UsageError, match="WEIGHBRIDGE_TIMEOUT"):
        Settings.from_environment({"WEIGHBRIDGE_TIMEOUT": said})


def test_the_timeout_of_the_surroundings(hub: HubServer, tmp_path: Path) -> None:
    env = {"WEIGHBRIDGE_TIMEOUT": "0.3", "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
    settings = Settings.from_environment(env)
    hub.inject(Fault.hangs("/api/models/acme/bot"))
    run = write(tmp_path / "run", lora_files("adapters"))
    with pytest.raises(RegistryUnreachable, match="WEIGHBRIDGE_TIMEOUT"):
        weighbridge.publish(run, "hf://acme/bot", settings=settings)


# --- trusted publishing ---------------------------------------------------------------------------


@pytest.fixture
def job(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A registry for a job that has no token yet."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _auth

    hub.create_repo(REPO, private=True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(_auth, "_OIDC_TOKEN_CACHE", None)
    for name, value in hub.trusted_job(REPO).items():
        monkeypatch.setenv(name, value)
    return Subject(HubRegistry(hub.url, timeout=0.3, longest_wait=5), HubRepo(REPO))


def test_a_limit_on_the_exchange_is_waited_for(hub: HubServer, job: Subject) -> None:
    struck = hub.inject(Fault.rate_limit(1, "/oauth/token"))
    assert publish(job).created and struck.hits == 1
    assert len(hub.requests("POST", "/oauth/token")) == 2


def test_an_exchange_that_asks_for_too_much(hub: HubServer, job: Subject) -> None:
    hub.inject(Fault.rate_limit(600, "/oauth/token"))
    with pytest.raises(RateLimited, match="in 600 seconds"):
        publish(job)
    hub.inject(Fault.refuse(429, "/_ci/id-token"))
    with pytest.raises(RateLimited):
        publish(job)


def test_an_exchange_without_an_answer(hub: HubServer, job: Subject) -> None:
    hub.inject(Fault.hangs("/_ci/id-token"))
    with pytest.raises((RegistryUnreachable, AuthenticationFailed), match="WEIGHBRIDGE_TIMEOUT"):
        publish(job)
