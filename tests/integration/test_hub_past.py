"""What a Hub is asked before, beside and after a publication: rights, branches, pull requests,
tags, the past, and the bytes that go over the line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.contracts.registry import FIRST, LARGE, SECOND, Subject, blobs_of, manifest_of
from tests.hub_server import Fault, HubServer, clone_with_lfs
from tests.integration.test_hub_registry import file_blobs
from weighbridge.adapters.hub import HubRegistry
from weighbridge.adapters.numpy_comparison import NumpyComparer
from weighbridge.application.compare import Compare
from weighbridge.application.history import RollBack
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    Unsupported,
    VisibilityMismatch,
)
from weighbridge.domain.publication import HubRepo, plan_publication

REPO = "acme/m"


pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub that knows no Xet."""
    with HubServer(xet=False, part_size=1 << 20) as running:
        yield running


def on(hub: HubServer, token: str | None = None, revision: str = "main") -> Subject:
    """The registry with the write token, or another."""
    token = token or hub.token
    return Subject(HubRegistry(hub.url, token), HubRepo(REPO, revision), token)


@pytest.fixture
def place(hub: HubServer) -> Subject:
    """A private repository with a first publication."""
    subject = on(hub)
    subject.publish(FIRST)
    hub.clear_log()
    return subject


def writes(hub: HubServer) -> list[str]:
    """Every request that could have changed something."""
    return [each.path for each in hub.log if each.method not in ("GET", "HEAD")]


# --- rights, before the first byte ---------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
def test_a_token_that_may_only_read(hub: HubServer, there: bool) -> None:
    if there:
        on(hub).publish(FIRST)
    reader = on(hub, hub.read_token)
    hub.clear_log()
    with pytest.raises(PermissionDenied):
        reader.registry.check(reader.destination)
    assert writes(hub) == []


def test_a_token_that_may_write(hub: HubServer, place: Subject) -> None:
    place.registry.check(place.destination)
    place.registry.check(HubRepo("acme/new"))
    assert writes(hub) == []


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_that_check_is_asked_for_the_role(
    hub: HubServer, place: Subject, status: int
) -> None:
    hub.inject(Fault.refuse(status, "/auth-check", times=None))
    place.registry.check(place.destination)
    reader = on(hub, hub.read_token)
    with pytest.raises(PermissionDenied, match="may read, but not write"):
        reader.registry.check(reader.destination)
    hub.inject(Fault.refuse(status, "/whoami", times=None))
    reader.registry.check(reader.destination)  # Nobody knows; the push will be told.


def test_a_gated_repository_that_is_closed_to_us(hub: HubServer, place: Subject) -> None:
    hub.inject(
        Fault(path="/auth-check", status=403, code="GatedRepo", message="ask for access first")
    )
    with pytest.raises(PermissionDenied, match="ask for access"):
        place.registry.check(place.destination)


def test_a_stranger_and_a_wrong_token(hub: HubServer, place: Subject) -> None:
    wrong = on(hub, "hf_wrong_wrong_wrong")
    with pytest.raises(AuthenticationFailed):
        wrong.registry.check(wrong.destination)


# --- a new branch --------------------------------------------------------------------------------


def test_a_new_branch_is_planned_on_what_it_begins_with(hub: HubServer, place: Subject) -> None:
    branch = on(hub, revision="release/1")
    start = branch.registry.start(branch.destination)
    main = place.registry.head(place.destination)
    assert start is not None and start == main
    plan = plan_publication(branch.destination, manifest_of(SECOND), None, start=start)
    assert (plan.parent, plan.start) == (None, start.revision)
    assert {c.path.text: c.action for c in plan.changes} == {
        "README.md": "keep",
        "config.json": "change",
        "empty.txt": "remove",
        "model.safetensors": "change",
        "new/added.json": "add",
        "weights/more/part.safetensors": "keep",
        "weights/notes.txt": "remove",
    }
    place.publish({"meanwhile.txt": b"on main"})
    hub.clear_log()
    receipt = branch.push(plan, blobs_of(plan, SECOND))
    assert receipt.created and branch.holds(SECOND) and place.holds({"meanwhile.txt": b"on main"})
    assert hub.repo(REPO).commits("release/1")[1].oid == start.revision
    assert len(hub.requests("PUT")) == 1  # the one file of weights that changed


def test_the_main_branch_begins_with_nothing(hub: HubServer, place: Subject) -> None:
    assert place.registry.start(place.destination) is None
    assert place.registry.start(HubRepo("acme/none", "dev")) is None


def test_nothing_private_goes_to_a_new_branch_of_a_public_repository(hub: HubServer) -> None:
    hub.create_repo(REPO, private=False, files={"a.txt": b"a"})
    branch = on(hub, revision="dev")
    start = branch.registry.start(branch.destination)
    with pytest.raises(VisibilityMismatch):
        plan_publication(branch.destination, manifest_of(FIRST), None, start=start)


# --- pull requests -------------------------------------------------------------------------------


def proposed(
    subject: Subject, files: Mapping[str, bytes] = SECOND, *, private: bool = True
) -> tuple[str, str]:
    """The revision and the page of a pull request with those files."""
    head = subject.registry.head(subject.destination)
    manifest = manifest_of(files)
    plan = plan_publication(subject.destination, manifest, head, pull_request=True, private=private)
    receipt = subject.push(plan, blobs_of(plan, files))
    return receipt.revision, receipt.url


def test_a_pull_request_leaves_main_where_it_is(hub: HubServer, place: Subject) -> None:
    revision, url = proposed(place)
    assert place.holds(FIRST)
    assert url == f"{hub.url}/{REPO}/discussions/1"
    waiting = place.registry.manifest(place.destination, "refs/pr/1")
    assert waiting.revision == revision
    assert {e.path.text for e in waiting.manifest.entries} - {".gitattributes"} == set(SECOND)
    assert hub.repo(REPO).commits("refs/pr/1")[1].oid == hub.repo(REPO).commits()[0].oid


@pytest.mark.parametrize("opens", [True, False])
def test_who_belongs_to_no_organisation_may_propose(hub: HubServer, opens: bool) -> None:
    hub.create_repo(REPO)
    if not opens:
        hub.inject(Fault.refuse(403, "/status", times=None))
    outsider = on(hub, hub.add_token("bob", "write", ["bobs"]))
    with pytest.raises(PermissionDenied, match="--pull-request"):
        outsider.registry.check(outsider.destination)
    files = {**SECOND, "w.safetensors": LARGE[1:]}
    revision, _ = proposed(outsider, files, private=False)
    assert hub.repo(REPO).resolve("refs/pr/1") == revision
    assert hub.repo(REPO).files("refs/pr/1")["w.safetensors"] == LARGE[1:]


def test_a_server_without_pull_requests_gets_no_byte() -> None:
    with HubServer(xet=False, pull_requests=False) as hub:
        place = on(hub)
        place.publish(FIRST)
        hub.clear_log()
        with pytest.raises(Unsupported, match="no pull requests"):
            proposed(place)
        assert not hub.requests("PUT") and not hub.requests("POST", "/commit/")
        assert not hub.requests("POST", "/preupload/")
        assert place.holds(FIRST)


@pytest.mark.parametrize("status", [404, 501])
def test_a_server_that_does_not_know_the_word(hub: HubServer, place: Subject, status: int) -> None:
    hub.inject(Fault.refuse(status, "/discussions", times=None))
    with pytest.raises(Unsupported, match="--branch"):
        place.registry.check(place.destination, pull_request=True)
    assert writes(hub) == []


def test_a_failed_pull_request_is_closed(hub: HubServer, place: Subject) -> None:
    hub.inject(Fault.refuse(400, "/commit/refs"))
    with pytest.raises(RegistryRejected):
        proposed(place)
    assert hub.requests("POST", "/discussions/1/status")
    assert place.holds(FIRST)


def test_what_cannot_be_proposed_to(hub: HubServer, place: Subject) -> None:
    with pytest.raises(Unsupported, match="no repository yet"):
        place.registry.check(HubRepo("acme/none"), pull_request=True)
    with pytest.raises(Unsupported, match="to main"):
        place.registry.check(HubRepo(REPO, "dev"), pull_request=True)


# --- the past ------------------------------------------------------------------------------------


def test_going_back_sends_no_large_file_and_git_agrees(
    hub: HubServer, place: Subject, tmp_path: Path
) -> None:
    first = place.registry.head(place.destination)
    second = place.publish(SECOND)
    assert first is not None
    hub.clear_log()
    done = RollBack({HubRepo: place.registry})(place.destination, first.revision)
    assert done.receipt is not None and done.receipt.created
    assert not hub.requests("PUT") and not hub.requests("POST", "objects/batch")
    commits = hub.repo(REPO).commits()
    assert commits[1].oid == second.revision
    assert commits[0].title == f"Roll back to {first.revision[:12]}"
    tree = clone_with_lfs(hub.repo(REPO), tmp_path / "clone")
    for name, content in FIRST.items():
        assert (tree / name).read_bytes() == content


def test_a_lost_answer_to_a_roll_back_that_landed(hub: HubServer, place: Subject) -> None:
    first = place.registry.head(place.destination)
    place.publish(SECOND)
    assert first is not None
    before = len(hub.repo(REPO).commits())
    hub.inject(Fault.lost_answer("/commit/main"))
    done = RollBack({HubRepo: place.registry})(place.destination, first.revision)
    assert done.receipt is not None and done.receipt.created
    assert len(hub.repo(REPO).commits()) == before + 1 and place.holds(FIRST)


def test_of_a_long_past_no_more_is_asked_for_than_is_told() -> None:
    with HubServer(xet=False, page_size=3) as hub:
        place = on(hub)
        for number in range(4):
            place.publish({**FIRST, "config.json": b'{"n": %d}' % number})
        hub.clear_log()
        asked = lambda: [e.path for e in hub.log if "/commits/" in e.path]  # noqa: E731
        place.publish(SECOND)
        assert len(asked()) == 1
        assert len(place.registry.history(place.destination, limit=2)) == 2 and len(asked()) == 2
        assert len(place.registry.history(place.destination, limit=99)) == 6 and len(asked()) == 4


def test_a_roll_back_while_somebody_publishes(hub: HubServer, place: Subject) -> None:
    first = place.registry.head(place.destination)
    second = place.publish(SECOND)
    assert first is not None
    hub.inject(Fault.refuse(412, "/commit/main"))
    with pytest.raises(RevisionConflict):
        place.registry.restore(
            place.destination, first.revision, parent=second.revision, message="back"
        )
    assert place.holds(SECOND)


def test_a_tag_that_cannot_be_moved_stays(hub: HubServer, place: Subject) -> None:
    first = place.registry.head(place.destination)
    assert first is not None
    place.registry.tag(place.destination, "v1", first.revision)
    second = place.publish(SECOND)
    hub.inject(Fault.refuse(400, "/tag/", "POST"))
    with pytest.raises(RegistryError):
        place.registry.tag(place.destination, "v1", second.revision, move=True)
    assert place.registry.tags(place.destination) == {"v1": first.revision}


@pytest.mark.parametrize("fault", [Fault.lost_answer, Fault.cut_answer])
def test_a_lost_answer_to_a_tag_that_was_set(
    hub: HubServer, place: Subject, fault: Callable[..., Fault]
) -> None:
    first = place.registry.head(place.destination)
    assert first is not None
    hub.inject(fault("/tag/", "POST"))
    place.registry.tag(place.destination, "v1", first.revision)
    assert place.registry.tags(place.destination) == {"v1": first.revision}


def test_a_download_that_is_cut(hub: HubServer, place: Subject) -> None:
    path = ArtifactPath("weights/more/part.safetensors")
    hub.inject(Fault.cut_answer("_lfs", times=None))
    stream = place.registry.open(place.destination, "main", path)
    with stream, pytest.raises(RegistryUnreachable):
        stream.read()


def test_weights_are_compared_tensor_by_tensor(hub: HubServer) -> None:
    place = on(hub)
    rng = np.random.default_rng(7)
    old = {f"t{n}": rng.standard_normal((64, 300)).astype(np.float32) for n in range(4)}
    new = {**old, "t1": old["t1"] + np.float32(0.5), "t3": old["t3"][:, :200], "u": old["t0"]}
    del new["t2"]
    place.publish({"model.safetensors": save(old), "config.json": b"1"})
    place.registry.tag(place.destination, "v1", "main")
    place.publish({"model.safetensors": save(new), "config.json": b"1"})
    compare = Compare({HubRepo: place.registry}, NumpyComparer())
    done = compare(HubRepo(REPO, "v1"), place.destination)
    assert {c.path.text: c.action for c in done.changes} == {
        "config.json": "keep", "model.safetensors": "change",
    }  # fmt: skip
    found = {each.name: each for each in done.tensors}
    assert set(found) == {"t1", "t2", "t3", "u"} and done.equal == 1
    assert found["t2"].after is None and found["u"].before is None
    assert found["t3"].distance is None
    moved = found["t1"].distance
    assert moved is not None and moved.changed == 64 * 300
    assert moved.largest == pytest.approx(0.5, abs=1e-6)
    wanted = 0.5 * np.sqrt(64 * 300) / np.linalg.norm(old["t1"].astype(np.float64))
    assert moved.relative == pytest.approx(wanted, rel=1e-6)


# --- the bytes that go over the line -------------------------------------------------------------


@pytest.mark.parametrize("xet", [False, True])
def test_bytes_are_told_as_they_go(tmp_path: Path, xet: bool) -> None:
    with HubServer(xet=xet, part_size=1 << 20) as hub:
        place = on(hub)
        files = {"a.safetensors": random.Random(1).randbytes(3 << 20), "config.json": b"{}"}
        plan = place.plan(files)
        seen: list[int] = []
        place.registry.push(
            plan,
            file_blobs(plan, files, tmp_path),
            message="publish",
            progress=lambda stage, done, total: seen.append(done),
        )
        assert seen == sorted(seen) and seen[-1] == plan.upload_bytes
        # All of the large file, told by what sent it; Xet tells of small steps only if it is slow.
        assert plan.upload_bytes - 2 in seen
        assert xet or any(0 < each < plan.upload_bytes - 2 for each in seen)


def test_an_upload_that_is_repeated_counts_once(hub: HubServer, tmp_path: Path) -> None:
    place = on(hub)
    files = {"a.safetensors": bytes(range(256)) * 12_000}
    plan = place.plan(files)
    hub.inject(Fault.refuse(503, method="PUT", times=1))
    seen: list[int] = []
    place.registry.push(
        plan,
        file_blobs(plan, files, tmp_path),
        message="publish",
        progress=lambda stage, done, total: seen.append(done),
    )
    assert seen == sorted(seen) and max(seen) == plan.upload_bytes
    assert place.holds(files)


def test_an_upload_that_broke_off_sends_only_what_is_missing() -> None:
    with HubServer(xet=False) as hub:
        place = on(hub)
        files = {"a.safetensors": LARGE, "b.safetensors": LARGE[::-1]}
        plan = place.plan(files)
        hub.inject(Fault(method="PUT", status=403, skip=1, times=None))
        with pytest.raises(RegistryError):
            place.push(plan, blobs_of(plan, files))
        hub.clear_faults()
        hub.clear_log()
        assert place.push(plan, blobs_of(plan, files)).created and place.holds(files)
        assert len(hub.requests("PUT")) == 1


# --- repositories with a past of their own -------------------------------------------------------


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_gated_is_not_private(hub: HubServer, gated: str) -> None:
    hub.create_repo(REPO).gated = gated
    subject = on(hub)
    head = subject.registry.head(subject.destination)
    assert head is not None and head.gated == gated
    who = "asks" if gated == "auto" else "is let in by hand"
    with pytest.raises(VisibilityMismatch, match=f"only gated: whoever {who}"):
        subject.plan(FIRST)
    plan = plan_publication(subject.destination, manifest_of(FIRST), head, private=False)
    assert subject.push(plan, blobs_of(plan, FIRST)).created


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_who_is_not_let_in_learns_so_before_the_first_byte(hub: HubServer, gated: str) -> None:
    hub.create_repo(REPO, files={"README.md": b"# theirs"}).gated = gated
    outsider = hub.add_token("outsider", "write", namespaces=["elsewhere"])
    subject = on(hub, outsider)
    hub.clear_log()
    with pytest.raises(PermissionDenied):
        subject.registry.check(subject.destination)
    # The listing of a gated repository is for everybody, its files are not.
    head = subject.registry.head(subject.destination)
    assert head is not None and head.gated == gated
    with pytest.raises(PermissionDenied, match="Ask for access"):
        subject.registry.open(subject.destination, head.revision, ArtifactPath("README.md"))
    assert writes(hub) == []


def test_a_repository_that_has_another_name_now(hub: HubServer, place: Subject) -> None:
    hub.hub.rename(hub.repo(REPO), "acme/renamed")
    receipt = place.publish(SECOND)
    assert place.holds(SECOND) and receipt.revision == hub.repo("acme/renamed").head
    place.registry.tag(place.destination, "v1", receipt.revision)
    back = place.registry.restore(
        place.destination, hub.repo("acme/renamed").commits()[1].oid,
        parent=receipt.revision, message="back",
    )  # fmt: skip
    assert back.created and place.holds(FIRST)
    assert not hub.has_repo(REPO)


def test_what_goes_to_lfs_is_the_repository_s_own_choice(hub: HubServer, tmp_path: Path) -> None:
    rules = b"*.json filter=lfs diff=lfs merge=lfs -text\n*.safetensors -filter\n"
    hub.create_repo(REPO, private=True, files={".gitattributes": rules})
    subject = on(hub)
    subject.publish(FIRST)
    assert subject.holds(FIRST)
    large = {e.path: e.lfs is not None for e in hub.repo(REPO).entries()}
    assert large["config.json"] and not large["model.safetensors"]
    assert hub.repo(REPO).files()[".gitattributes"] == rules
    subject.publish(SECOND)
    assert subject.holds(SECOND) and subject.plan(SECOND).is_noop
    clone_with_lfs(hub.repo(REPO), tmp_path / "clone")


def test_a_hub_that_is_busy_creating_something_else(hub: HubServer) -> None:
    """The client asks again at once, and for ever."""
    words = "Cannot create repo: another conflicting operation is in progress"
    patient = on(hub)
    fault = hub.inject(Fault(path="/repos/create", status=409, message=words, times=2))
    assert patient.publish(FIRST).created and fault.hits == 2
    hub.inject(Fault(path="/repos/create", status=409, message=words, times=None))
    hurried = Subject(HubRegistry(hub.url, hub.token, busy=(0.0, 0.0)), HubRepo("acme/other"))
    with pytest.raises(RevisionConflict, match="creating another repository"):
        hurried.publish(FIRST)
    assert not hub.has_repo("acme/other")
