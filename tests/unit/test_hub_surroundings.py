"""What a machine's settings do to publishing to a Hub, and what is said of those that are wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, get_session
from huggingface_hub.utils import _http

from weighbridge.adapters.hub import HubRegistry, client, transfer
from weighbridge.adapters.hub.answers import heard
from weighbridge.adapters.hub.client import make_ready
from weighbridge.adapters.hub.errors import NotUnderstood, Translator
from weighbridge.adapters.hub.patience import Patience
from weighbridge.adapters.hub.silence import ServerSilent, Silence
from weighbridge.domain.errors import (
    AuthenticationFailed,
    RegistryRejected,
    RegistryUnreachable,
    UsageError,
)
from weighbridge.domain.publication import HubRepo
from weighbridge.entrypoints.container import build
from weighbridge.entrypoints.settings import Settings

#: The client has had two.
http: Any = vars(_http).get("httpx2") or vars(_http)["httpx"]


@pytest.fixture
def own_session() -> Iterator[None]:
    for thread in threading.enumerate():
        if thread.name == client._MEANWHILE:
            thread.join()
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ("https://hub.test/", "https://hub.test"),
        ("http://127.0.0.1:8080/hub//", "http://127.0.0.1:8080/hub"),
        ("HTTP://[::1]:80", "HTTP://[::1]:80"),
        ("https://me:word@hub.test", "https://me:word@hub.test"),
    ],
)
def test_an_endpoint(said: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "make_ready_meanwhile", lambda: None)
    registry = build(Settings(endpoint=said)).hub_registry()
    assert registry.endpoint == used  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "said",
    ["hub.test", "localhost:8080", "ftp://hub.test", "http://", "http://[::1", "https://a b",
     " https://hub.test", "https://hub.test:port", "https://hub.test?x", "https://me:word@"],
)  # fmt: skip
def test_no_endpoint(said: str) -> None:
    for port in ("hub_registry", "hub_files"):
        with pytest.raises(UsageError, match="HF_ENDPOINT is not an address") as told:
            getattr(build(Settings(endpoint=said)), port)()
        assert "word" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "socks9://127.0.0.1:9"), ("SSL_CERT_FILE", "/no/such/file")]
)
def test_surroundings_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, own_session: None, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RegistryUnreachable, match=f"Look at .*{name}"):
        make_ready("hf://acme/m")


@pytest.mark.parametrize("token", ["hf_\u00e9\u00e9", "hf_a\x00b"])
def test_a_token_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(AuthenticationFailed, match="no token has") as told:
        HubRegistry("http://127.0.0.1:9", token).head(HubRepo("acme/m"))
    assert token not in repr(told.value) and token not in str(told.value)


def test_an_error_tells_who_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:w@rd@proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "inside.test")
    asked = http.Request("GET", "https://hub.test/api/models/acme/m?secret=1")
    said = Translator("hf://acme/m", None).translate(http.ConnectError("refused", request=asked))
    assert "GET https://hub.test/api/models/acme/m, by way of the proxy" in str(said)
    assert "proxy.test:3128" in str(said)
    assert not any(word in str(said) for word in ("rd@", "me:w", "secret"))
    asked = http.Request("GET", "https://inside.test/x")
    said = Translator("d", None).translate(http.ConnectError("refused", request=asked))
    assert "proxy" not in str(said)
    untrusted = http.ConnectError("CERTIFICATE_VERIFY_FAILED", request=asked)
    assert "SSL_CERT_FILE" in str(Translator("d", None).translate(untrusted))
    silent = Translator("d", None).translate(http.ReadTimeout("timed out", request=asked))
    assert type(silent) is ServerSilent and "WEIGHBRIDGE_TIMEOUT" in str(silent)


def test_two_publications_of_one_process_limit_one_answer() -> None:
    """The client has one session for all."""
    both = Silence("hf://acme/a"), Silence("hf://acme/b")
    hooks = {"request": [s.ask for s in both], "response": [s.hear for s in both]}
    transport = http.MockTransport(lambda _: http.Response(200, content=b"all of it"))
    with http.Client(transport=transport, event_hooks=hooks) as session:
        assert session.get("http://hub.test/").content == b"all of it"


def test_work_that_does_not_end_in_its_order_leaves_nothing_behind() -> None:
    factory, before = _http._GLOBAL_CLIENT_FACTORY, get_session().event_hooks
    first, second = heard(lambda _: None), heard(lambda _: None)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert len(_http._GLOBAL_CLIENT_FACTORY().event_hooks["response"]) == 1 + len(
        factory().event_hooks["response"]
    )
    second.__exit__(None, None, None)
    assert _http._GLOBAL_CLIENT_FACTORY is factory
    assert get_session().event_hooks == before


def test_a_wait_is_for_all_work_of_the_process() -> None:
    """Whoever sees an answer first waits; the others repeat what was refused as well."""
    answer = http.Response(429, headers={"retry-after": "1"})
    answer.request = http.Request("GET", "http://hub.test/")
    both = [Patience("hf://acme/a"), Patience("hf://acme/b")]
    for each in both:
        each._see(answer)
    assert [each.waited for each in both] == [1.0, 0.0]
    assert [each._waits for each in both] == [1, 1]


def test_what_was_not_understood() -> None:
    translate = Translator("d", None).translate
    assert type(translate(KeyError("commitUrl"))) is NotUnderstood
    assert type(translate(ValueError("LFS batch API returned errors"))) is RegistryRejected


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"HF_XET_HIGH_PERFORMANCE": "1"},
        {"HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "3"},
    ],
)
def test_xet_is_bounded_unless_somebody_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, theirs: dict[str, str]
) -> None:
    for name in (*transfer._XET_BOUNDS, *transfer._FASTER):
        monkeypatch.delenv(name, raising=False)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with transfer._bounded(3.2):
        assert os.environ["HF_XET_CLIENT_READ_TIMEOUT"] == "4s"
        for name, bound in transfer._XET_BOUNDS.items():
            fast = "HF_XET_HIGH_PERFORMANCE" in theirs
            assert os.environ.get(name) == (theirs.get(name) if fast else theirs.get(name, bound))
    assert dict(os.environ) == before


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any number."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    settings = Settings.from_environment({})
    assert settings.cached_base("acme/base") is None
    assert all(Path(each).is_absolute() for each in settings.registry_logins)
