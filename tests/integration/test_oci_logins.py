"""Who we are at an OCI registry: where logins are, what is demanded, on which connection."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, strategies as st

import weighbridge
from tests.contracts.registry import FIRST, Subject
from tests.docker_registry import DockerRegistry
from tests.docker_registry.faulty import FaultyWay
from tests.docker_registry.server import PASSWORD, USER
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.oci_registry.login import Credential, credential_for
from weighbridge.adapters.oci_registry.session import _challenges
from weighbridge.adapters.oci_registry.transport import Transport
from weighbridge.domain.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RegistryRejected,
)
from weighbridge.domain.publication import OciRepo
from weighbridge.entrypoints.settings import Settings


def auth(user: str, password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(file: Path, **content: Any) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return str(file)


# --- where logins are kept -----------------------------------------------------------------------


def test_the_narrowest_login_counts(tmp_path: Path) -> None:
    """As podman, skopeo and Buildah keep them."""
    file = config(
        tmp_path / "auth.json",
        auths={
            "a.example": auth("all"),
            "a.example/team": auth("team"),
            "a.example/team/model": auth("model"),
            "https://b.example/v1/": auth("old"),
            "c.example/v2/": auth("older"),
            "d.example/team": auth("not-of-all"),
        },
    )
    expected = {
        ("a.example", "team/model"): "model",
        ("a.example", "team/other"): "team",
        ("a.example", "teammodel"): "all",
        ("b.example", "team/model"): "old",
        ("c.example", "x"): "older",
        ("d.example", "other/model"): None,
        ("e.example", "x"): None,
    }
    for (host, name), user in expected.items():
        found = credential_for(host, name, [file])
        assert (found.user if found else None) == user, host


def test_docker_hub_has_names_of_its_own(tmp_path: Path) -> None:
    file = config(tmp_path / "config.json", auths={"https://index.docker.io/v1/": auth("me")})
    for host in ("docker.io", "index.docker.io"):
        assert credential_for(host, "acme/m", [file]) == Credential("me", PASSWORD)
        assert Transport().base(host) == "https://registry-1.docker.io/v2/"
    assert credential_for("other.io", "acme/m", [file]) is None


def test_a_login_as_a_cluster_s_secret_has_it(tmp_path: Path) -> None:
    login = {"username": "me", "password": "p:w"}
    file = config(tmp_path / "config.json", auths={"a.example": login, "b.example": {"auth": ""}})
    assert credential_for("a.example", "m", [file]) == Credential("me", "p:w")
    assert credential_for("b.example", "m", [file]) is None


def test_files_in_their_order(tmp_path: Path) -> None:
    """Docker's, then podman's; or the one that the environment names, and no other."""
    home, run, named = tmp_path / "home", tmp_path / "run", tmp_path / "named.json"
    env = {"DOCKER_CONFIG": str(home), "XDG_RUNTIME_DIR": str(run),
           "XDG_CONFIG_HOME": str(tmp_path / "config")}  # fmt: skip

    def user(**more: str) -> str | None:
        settings = Settings.from_environment(env | more)
        found = credential_for("a.example", "m", settings.registry_logins)
        return found.user if found else None

    assert user() is None
    config(tmp_path / "config" / "containers" / "auth.json", auths={"a.example": auth("third")})
    assert user() == "third"
    config(run / "containers" / "auth.json", auths={"a.example": auth("second")})
    assert user() == "second"
    config(home / "config.json", auths={"a.example": auth("first")})
    assert user() == "first"
    assert user(REGISTRY_AUTH_FILE=str(named)) is None
    config(named, auths={"a.example": auth("named")})
    assert user(REGISTRY_AUTH_FILE=str(named)) == "named"


def test_what_the_environment_names_is_used(
    guarded: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    place = OciRepo(guarded.host, f"acme/{uuid4().hex}")
    Subject(OciRegistry(guarded.logins), place).publish(FIRST)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", guarded.logins[0])
    weighbridge.pull(str(place), tmp_path / "out")
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    with pytest.raises(AuthenticationFailed, match="docker login"):
        weighbridge.pull(str(place), tmp_path / "other")
    monkeypatch.setenv("DOCKER_CONFIG", str(Path(guarded.logins[0]).parent))
    weighbridge.pull(str(place), tmp_path / "other")


# --- what is demanded ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "others",
    [
        "{bearer}",
        "Negotiate, {bearer}",
        'Basic realm="a, b=\\"c\\"", {bearer}',
        '{bearer}, Basic realm="x"',
        'NTLM TlRMTVNTUAAC==, {bearer}, Digest realm="x", nonce="y", qop=auth',
    ],
)
def test_a_token_is_preferred_among_several_challenges(
    others: str, tokens: DockerRegistry, tmp_path: Path
) -> None:
    assert tokens.tokens is not None
    with FaultyWay(tokens.host) as way:
        place = OciRepo(way.host, f"acme/{uuid4().hex}")
        bearer = (
            f'Bearer realm="{tokens.tokens.url}",service="tests-service",'
            f'scope="repository:{place.name}:pull,push"'
        )
        way.trouble(401, "GET", "/", 1, {"WWW-Authenticate": others.format(bearer=bearer)})
        file = config(tmp_path / "config.json", auths={way.host: auth(USER)})
        before = len(tokens.tokens.asked)
        assert OciRegistry((file,)).head(place) is None
        [asked] = tokens.tokens.asked[before:]
        assert asked["scope"].startswith(f"repository:{place.name}")


@pytest.mark.parametrize(
    "challenge",
    ['Negotiate, Basic realm="x"', 'Digest realm="d", nonce="n", Basic realm=x', "Basic"],
)
def test_a_password_among_several_challenges(
    challenge: str, guarded: DockerRegistry, tmp_path: Path
) -> None:
    with FaultyWay(guarded.host) as way:
        way.trouble(401, "GET", "/", 1, {"WWW-Authenticate": challenge})
        file = config(tmp_path / "config.json", auths={way.host: auth(USER)})
        place = OciRepo(way.host, f"acme/{uuid4().hex}")
        assert OciRegistry((file,)).head(place) is None


@given(st.lists(st.sampled_from(['a="', '\\"', "Bearer ", "=", ",", " ", 'realm="x"', "é"])))
def test_no_challenge_is_too_odd_to_be_read(parts: list[str]) -> None:
    for scheme, found in _challenges("".join(parts)):
        assert scheme == scheme.lower() and all(isinstance(v, str) for v in found.values())


def test_a_challenge_that_never_ends_takes_no_time() -> None:
    began = time.monotonic()
    list(_challenges('a="\\"' * 13_000))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("challenge", ["", "Negotiate", 'Bearer error="x"', ",,=,", '"'])
def test_what_cannot_be_answered_is_told(
    challenge: str, guarded: DockerRegistry, tmp_path: Path
) -> None:
    with FaultyWay(guarded.host) as way:
        way.trouble(401, "GET", "/", 1, {"WWW-Authenticate": challenge})
        file = config(tmp_path / "config.json", auths={way.host: auth(USER)})
        with pytest.raises(AuthenticationFailed, match="of a kind"):
            OciRegistry((file,)).head(OciRepo(way.host, "acme/m"))


# --- who says no where the specification asks who we are ------------------------------------------


@pytest.mark.parametrize("narrow", [False, True], ids=["nobody", "for reading only"])
def test_a_token_is_asked_for_where_none_was_demanded(
    narrow: bool, tokens: DockerRegistry, tmp_path: Path
) -> None:
    assert tokens.tokens is not None
    with FaultyWay(tokens.host) as way:
        file = config(tmp_path / "config.json", auths={way.host: auth(USER)})
        place = Subject(OciRegistry((file,)), OciRepo(way.host, f"acme/{uuid4().hex}", "v1"))
        way.trouble(403, "POST" if narrow else "GET", f"/{place.destination.name}/")
        example = f'Bearer realm="{tokens.tokens.url}",service="tests-service"'
        example += ',scope="repository:user/image:pull"'
        way.trouble(401, "GET", "/v2/$", 1, {"WWW-Authenticate": example})
        before = len(tokens.tokens.asked)
        assert place.publish(FIRST).created and place.holds(FIRST)
        scopes = [each["scope"].rpartition(":") for each in tokens.tokens.asked[before:]]
        assert {where for where, _, _ in scopes} == {f"repository:{place.destination.name}"}
        # In which order the registry itself says them differs from time to time.
        assert [sorted(what.split(",")) for _, _, what in scopes] == [["pull"], ["pull", "push"]]


def test_a_right_that_is_not_there(tokens: DockerRegistry, tmp_path: Path) -> None:
    """The token service gives less than was asked for, as the specification lets it."""
    assert tokens.tokens is not None
    file = config(tmp_path / "config.json", auths={tokens.host: auth(USER)})
    place = Subject(OciRegistry((file,)), OciRepo(tokens.host, f"acme/{uuid4().hex}", "v1"))
    tokens.tokens.actions = {"pull"}
    try:
        with pytest.raises(
            PermissionDenied, match=f"no right to repository:{place.destination.name}:"
        ):
            place.publish(FIRST)
        tokens.tokens.refusals = [403] * 9
        with pytest.raises(PermissionDenied, match="for a token: HTTP 403"):
            place.publish(FIRST)
        tokens.tokens.refusals = [403]
        with pytest.raises(AuthenticationFailed, match=r"HTTP 403.* there is no login"):
            OciRegistry().head(place.destination)
    finally:
        tokens.tokens.actions = None


@pytest.mark.parametrize("login", [False, True])
def test_a_refusal_that_no_login_changes(login: bool, way: FaultyWay, tmp_path: Path) -> None:
    file = config(tmp_path / "config.json", auths={way.host: auth(USER)} if login else {})
    way.trouble(403, "GET", "/manifests/", 9)
    with pytest.raises(PermissionDenied) as told:
        OciRegistry((file,)).head(OciRepo(way.host, "acme/m"))
    assert ("there is no login" in str(told.value)) is not login
    assert len([p for _, p, _ in way.seen if "/manifests/" in p]) == 1


# --- on which connection -------------------------------------------------------------------------

NAME = "registry.test"


@pytest.fixture
def with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerRegistry]:
    """A registry of a name that is not this machine's, with a certificate of its own."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *more: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == NAME else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setenv("NO_PROXY", NAME)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    keys = (tmp_path / "tls.crt", tmp_path / "tls.key")
    with DockerRegistry(tmp_path / "registry", tls=keys) as running:
        yield running


def test_an_authority_of_one_s_own(
    with_tls: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = OciRepo(f"{NAME}:{with_tls.host.partition(':')[2]}", "acme/m", "v1")
    with pytest.raises(RegistryRejected, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE"):
        Subject(OciRegistry(), place).publish(FIRST)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
    assert ssl.create_default_context().get_ca_certs()
    subject = Subject(OciRegistry(), place)
    subject.publish(FIRST)
    assert subject.holds(FIRST)
    weighbridge.pull(str(place), tmp_path / "out")
    plain = OciRegistry(plain_http=[place.host])
    with pytest.raises(RegistryRejected, match="HTTP 400"):
        plain.head(place)
