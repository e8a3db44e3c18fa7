"""Servers that speak the Hub's protocol with an accent: what can be understood is, and what cannot
is said before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import weighbridge
from tests.builders import lora_files, write
from tests.contracts.registry import FIRST, SECOND, Subject
from tests.hub_server import Fault, HubServer
from weighbridge.adapters.hub import HubRegistry
from weighbridge.domain.errors import (
    PermissionDenied,
    RegistryRejected,
    RevisionConflict,
    UsageError,
)
from weighbridge.domain.publication import HubRepo
from weighbridge.entrypoints.settings import Settings

REPO = "acme/m"
TREE, COMMITS, HEAD = "/tree/", "/commits/", "/revision/main"

pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(xet=False) as running:
        yield running


@pytest.fixture
def place(hub: HubServer) -> Subject:
    return Subject(HubRegistry(hub.url, hub.token), HubRepo(REPO), hub.token)


def says(
    path: str, rewrite: Callable[[Any], Any] | None = None, status: int | None = None
) -> Fault:
    return Fault(path=path, rewrite=rewrite, status=status, applied=True, times=None)


def with_oids(change: Callable[[str], str]) -> Callable[[Any], Any]:
    def rewrite(tree: Any) -> Any:
        for each in tree:
            if each.get("lfs"):
                each["lfs"]["oid"] = change(each["lfs"]["oid"])
        return tree

    return rewrite


UNDERSTOOD = {
    "digests in capitals": says(TREE, with_oids(str.upper)),
    "digests as git-lfs has them": says(TREE, with_oids("sha256:{}".format)),
    "a history that is not implemented": says(COMMITS, status=501),
    "a history that is empty": says(COMMITS, lambda _: []),
    "a repository that another makes at the same moment": Fault(
        path="/repos/create", status=409, applied=True
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_understood(hub: HubServer, place: Subject, name: str) -> None:
    hub.inject(UNDERSTOOD[name])
    place.publish(FIRST)
    assert place.publish(SECOND).created and place.holds(SECOND)
    assert not place.publish(SECOND).created


def test_a_server_without_references_has_a_past(hub: HubServer, place: Subject) -> None:
    revisions = [place.publish(files).revision for files in (FIRST, SECOND)]
    hub.inject(says("/refs$", status=404))
    told = place.registry.history(place.destination, limit=2)
    assert [each.id for each in told] == revisions[::-1]


def without_a_commit(info: Any) -> Any:
    return {name: value for name, value in info.items() if name != "sha"}


def test_a_head_that_is_not_told_is_not_taken_for_an_empty_repository(
    hub: HubServer, place: Subject
) -> None:
    place.publish(FIRST)
    before = hub.repo(REPO).commits()
    hub.inject(says(HEAD, without_a_commit))
    with pytest.raises(RegistryRejected, match="does not tell which commit main is"):
        place.publish(SECOND)
    assert hub.repo(REPO).commits() == before


def ignored(answer: Any) -> Any:
    return {"files": [{**each, "shouldIgnore": True} for each in answer["files"]]}


def test_a_file_that_the_server_would_leave_out(hub: HubServer, place: Subject) -> None:
    place.publish(FIRST)
    before = hub.repo(REPO).commits()
    hub.inject(says("/preupload/", ignored))
    with pytest.raises(RegistryRejected, match=r"leave .* out"):
        place.publish(SECOND)
    assert hub.repo(REPO).commits() == before


def test_a_card_that_the_server_refuses_is_found_before_the_weights_go(
    hub: HubServer, place: Subject
) -> None:
    files = {**FIRST, "README.md": b"---\nlicense: mit\n# no end\n"}
    with pytest.raises(RegistryRejected, match="no end"):
        place.publish(files)
    assert not hub.requests("POST", "/repos/create") and not hub.requests("PUT")


@pytest.mark.parametrize("gone", [False, True])
def test_a_card_that_was_edited_after_the_plan_is_a_conflict(
    hub: HubServer, place: Subject, tmp_path: Path, gone: bool
) -> None:
    """And no change of the source: a card that was edited there is kept."""
    run = write(tmp_path / "run", lora_files("adapters"))
    settings = Settings(endpoint=hub.url, token=hub.token, transfer="lfs")
    weighbridge.publish(run, f"hf://{REPO}", base_model="acme/base", settings=settings)
    (run / "LICENSE").write_text("MIT")
    plan = weighbridge.plan(run, f"hf://{REPO}", base_model="acme/base", settings=settings)
    if gone:
        HfApi(endpoint=hub.url, token=hub.token).delete_repo(REPO)
    else:
        place.publish({"README.md": b"---\nlicense: mit\n---\n# By hand\n"})
    with pytest.raises(RevisionConflict, match="Run again"):
        weighbridge.publish(plan=plan, settings=settings)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_a_judge_of_cards_takes_one(
    hub: HubServer, place: Subject, status: int
) -> None:
    hub.inject(Fault.refuse(status, "/validate-yaml", times=None))
    files = {**FIRST, "README.md": b"---\nlicense: apache-2.0\n---\n"}
    place.publish(files)
    assert place.holds(files) and len(hub.requests("POST", "/validate-yaml")) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.refuse(403, "/tag/"), "it is not tagged v1"),
        (Fault(path="/tree/", status=403, skip=1), "it cannot be read back"),
    ],
)
def test_what_goes_wrong_after_the_commit(
    hub: HubServer, tmp_path: Path, fault: Fault, said: str
) -> None:
    """The release is there, and whoever reads the message knows."""
    run = write(tmp_path / "run", lora_files("adapters"))
    settings = Settings(endpoint=hub.url, token=hub.token, transfer="lfs")
    hub.create_repo(REPO, private=True)
    struck = hub.inject(fault)
    with pytest.raises(PermissionDenied) as told:
        weighbridge.publish(run, f"hf://{REPO}", tags=["v1"], settings=settings)
    assert struck.hits == 1
    assert f"published as {hub.repo(REPO).head}, but {said}: HTTP 403" in str(told.value)


@pytest.mark.parametrize("name", ["v", "v/1/x"])
def test_names_are_paths_of_which_none_goes_through_another(
    hub: HubServer, place: Subject, name: str
) -> None:
    place.registry.tag(place.destination, "v/1", place.publish(FIRST).revision)
    branch = Subject(place.registry, HubRepo(REPO, "v/1x"), hub.token)
    branch.publish(SECOND)
    with pytest.raises(UsageError, match="cannot be both"):
        place.registry.tags(place.destination, wanted=[name])
    with pytest.raises(UsageError, match="cannot be both"):
        place.registry.check(HubRepo(REPO, f"{branch.destination.revision}/{name}"))
    with pytest.raises(UsageError, match="cannot be both"):
        place.registry.tags(place.destination, wanted=["w", "w/1"])
