"""What a token may do, as other Hubs tell it: before anything is sent, and never in a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.registry import FIRST, SECOND, Subject
from tests.hub_server import Fault, HubServer
from weighbridge.adapters.hub import HubRegistry
from weighbridge.domain.errors import (
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    UsageError,
)
from weighbridge.domain.publication import HubRepo

REPO = "acme/m"


pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(xet=False) as running:
        yield running


def on(hub: HubServer) -> Subject:
    return Subject(HubRegistry(hub.url, hub.token), HubRepo(REPO), hub.token)


def fine(*scoped: tuple[str, list[str]]) -> dict[str, Any]:
    """A fine-grained token, in the Hub's words."""
    granted = [{"entity": {"type": "org", "name": n}, "permissions": p} for n, p in scoped]
    return {"role": "fineGrained", "fineGrained": {"global": ["post.write"], "scoped": granted}}


READ, WRITE = ["repo.content.read"], ["repo.content.read", "repo.write"]


@pytest.mark.parametrize(
    "token",
    [{"role": "read"}, fine(), fine(("acme", READ)), fine(("other", WRITE), (REPO, READ))],
    ids=["read", "nothing", "no repo.write", "elsewhere"],
)
def test_a_token_that_may_not_write(hub: HubServer, token: dict[str, Any]) -> None:
    """Before there is a repository to ask about."""
    answer = json.dumps({"name": "u", "auth": {"accessToken": token}}).encode()
    hub.inject(Fault(path="/whoami", body=answer))
    with pytest.raises(PermissionDenied, match="Nothing was uploaded"):
        on(hub).registry.check(HubRepo(REPO))
    assert not hub.has_repo(REPO)


@pytest.mark.parametrize(
    "answer",
    [
        {"auth": {"accessToken": fine(("acme", WRITE))}},
        {"auth": {"accessToken": fine((REPO, WRITE))}},
        {"auth": {"accessToken": {"role": "fineGrained", "fineGrained": None}}},
        {"auth": {"accessToken": {"fineGrained": {"scoped": [{"entity": None}]}}}},
        {"auth": {"accessToken": None}},
        {"auth": None},
        {},
        [],
    ],
    ids=str,
)
def test_what_is_not_told_is_tried(hub: HubServer, answer: object) -> None:
    struck = hub.inject(Fault(path="/whoami", body=json.dumps(answer).encode()))
    on(hub).registry.check(HubRepo(REPO))
    assert struck.hits == 1


def test_a_server_that_sends_elsewhere(hub: HubServer) -> None:
    """The client takes no token along: the advice is not to log in."""
    on(hub).publish(FIRST)
    elsewhere = hub.url.replace("127.0.0.1", "localhost")
    hub.inject(Fault(
        path="/revision/main", status=307,
        headers={"Location": f"{elsewhere}/api/models/{REPO}/revision/main?moved"},
    ))  # fmt: skip
    with pytest.raises(AuthenticationFailed, match="set HF_ENDPOINT to that") as told:
        on(hub).registry.head(HubRepo(REPO))
    assert f"redirects to {elsewhere}" in str(told.value)


@pytest.mark.parametrize("name", ["v1", "HEAD", "refs/heads/x", "refs/tags/v1", "0" * 40])
def test_what_is_no_branch(hub: HubServer, name: str) -> None:
    """It may well be read; that nothing can be put on it is found before anything is sent."""
    place = on(hub)
    place.registry.tag(place.destination, "v1", place.publish(FIRST).revision)
    with pytest.raises(UsageError, match="is a tag" if name == "v1" else "name of a branch"):
        place.registry.check(HubRepo(REPO, name))
    assert not hub.requests("POST", "/branch/")


def test_a_branch_and_what_becomes_one(hub: HubServer) -> None:
    place = on(hub)
    place.publish(FIRST)
    for name in ("dev", "refs/pr/1"):
        place.registry.check(HubRepo(REPO, name))
    with pytest.raises(DestinationMissing, match="cannot be made as a branch is"):
        Subject(place.registry, HubRepo(REPO, "refs/pr/7")).publish(SECOND)
    hub.inject(Fault.refuse(404, "/refs$"))
    place.registry.check(HubRepo(REPO, "v1"))
