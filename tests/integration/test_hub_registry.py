"""The Hub registry against the local Hub: what a server may do wrong, and what is said then."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from attrs import evolve
from huggingface_hub import constants

from tests.contracts.registry import (
    FIRST,
    LARGE,
    SECOND,
    WEIGHTS,
    Files,
    Subject,
    blobs_of,
    manifest_of,
)
from tests.hub_server import Fault, HubServer, clone_with_lfs
from weighbridge.adapters.hub import HubRegistry, ParentNotEnforced
from weighbridge.adapters.hub.errors import Translator, retry_after
from weighbridge.adapters.hub.patience import STAGE
from weighbridge.application.ports import Blob
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    ArtifactChanged,
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    TooLarge,
    Unsupported,
    UsageError,
    VisibilityMismatch,
    WeighbridgeError,
)
from weighbridge.domain.publication import (
    HubRepo,
    LocalRegistry,
    PublicationPlan,
    Receipt,
    plan_publication,
    read_back_differences,
)

REPO = "acme/m"
COMMIT = r"/commit/main"


pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub that knows no Xet."""
    with HubServer(xet=False) as running:
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


def prepared(place: Subject, files: Files = SECOND) -> Callable[[], Receipt]:
    """A push that is planned now and made later."""
    plan = place.plan(files)
    return lambda: place.push(plan, blobs_of(plan, files))


def pushing(
    place: Subject, plan: PublicationPlan, files: Files, meanwhile: Callable[[], object]
) -> Receipt:
    """Push, while something else happens after the head was read."""
    pending = [meanwhile]

    def progress(stage: str, done: int, total: int) -> None:
        while pending:
            pending.pop()()

    return place.registry.push(plan, blobs_of(plan, files), message="publish", progress=progress)


def commits(hub: HubServer, branch: str = "main") -> int:
    """How many commits a branch has."""
    return len(hub.repo(REPO).commits(branch))


def check_silence(hub: HubServer, error: BaseException) -> None:
    """No token in any text, and the error survives a process pool."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    for token in (hub.token, hub.read_token, hub.stranger_token):
        assert token not in shown
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# --- what a publication is -----------------------------------------------------------------------


def test_one_commit_that_git_accepts(hub: HubServer, place: Subject, tmp_path: Path) -> None:
    before = commits(hub)
    receipt = place.publish(SECOND)
    assert commits(hub) == before + 1
    assert receipt.url == f"{hub.url}/{REPO}/tree/{receipt.revision}"
    assert hub.repo(REPO).commits()[0].title == "publish"
    assert hub.repo(REPO).private
    tree = clone_with_lfs(hub.repo(REPO), tmp_path / "clone")
    assert {name: (tree / name).read_bytes() for name in SECOND} == dict(SECOND)
    assert (tree / ".gitattributes").exists()


def test_kept_files_are_not_read_or_sent(hub: HubServer, place: Subject) -> None:
    place.publish({**FIRST, "config.json": b"{}"})
    assert not hub.requests("PUT")
    assert not hub.requests("POST", "lfs/objects")


def test_a_no_op_asks_and_does_nothing(hub: HubServer, place: Subject) -> None:
    plan = place.plan(FIRST)
    hub.clear_log()
    assert not place.push(plan, {}).created
    assert {each.method for each in hub.log} == {"GET"}


def test_a_gitignore_does_not_drop_files(hub: HubServer, place: Subject) -> None:
    files = {".gitignore": b"*.txt\n*.safetensors\n", "a.txt": b"a", "w.safetensors": WEIGHTS}
    place.publish(files)
    assert place.holds(files)
    more = {**files, "b.txt": b"b", "v.safetensors": WEIGHTS[::-1]}
    place.publish(more)
    assert place.holds(more)


def test_a_new_branch_holds_only_what_was_planned(hub: HubServer, place: Subject) -> None:
    branch = on(hub, revision="release/1")
    files = {"only.txt": b"only", "w.safetensors": WEIGHTS}
    branch.publish(files)
    assert branch.holds(files)
    assert place.holds(FIRST)


def test_a_failed_push_to_a_new_branch_takes_it_back(hub: HubServer, place: Subject) -> None:
    branch = on(hub, revision="release")
    hub.inject(Fault.refuse(400, "/commit/release"))
    with pytest.raises(RegistryRejected):
        branch.publish(SECOND)
    assert branch.registry.head(branch.destination) is None
    branch.publish(SECOND)
    assert branch.holds(SECOND)


def test_many_files_keep_few_open(hub: HubServer, tmp_path: Path) -> None:
    subject = on(hub)
    files = {f"f/{number}.json": b"%d" % number for number in range(300)}
    opened: list[io.BytesIO] = []

    def track(content: bytes) -> Callable[[], io.BytesIO]:
        def call() -> io.BytesIO:
            assert sum(not each.closed for each in opened) < 2
            opened.append(io.BytesIO(content))
            return opened[-1]

        return call

    plan = subject.plan(files)
    blobs = {p: evolve(b, open=track(files[p.text])) for p, b in blobs_of(plan, files).items()}
    subject.push(plan, blobs)
    assert subject.holds(files)
    assert all(each.closed for each in opened)


# --- who may see and do what ---------------------------------------------------------------------


def test_a_bad_token_is_not_a_missing_repository(hub: HubServer, place: Subject) -> None:
    subject = on(hub, "hf_planted_and_wrong_token")
    for work in (lambda: subject.registry.head(subject.destination), prepared_for(subject)):
        with pytest.raises(AuthenticationFailed) as failed:
            work()
        assert "Invalid credentials" in str(failed.value)
        assert "planted" not in "".join(traceback.format_exception(failed.value))


def prepared_for(subject: Subject) -> Callable[[], Receipt]:
    """A first push, planned without asking."""
    plan = plan_publication(subject.destination, manifest_of(FIRST), None)
    return lambda: subject.push(plan, blobs_of(plan, FIRST))


def test_a_token_that_ends_in_the_middle_of_a_push(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.revoke(hub.token)
    with pytest.raises(AuthenticationFailed) as failed:
        push()
    check_silence(hub, failed.value)


def test_a_token_with_a_line_end_is_not_shown(hub: HubServer) -> None:
    subject = on(hub, "planted\nsecret\u00e9")
    with pytest.raises(RegistryError) as failed:
        subject.registry.head(subject.destination)
    assert "planted" not in "".join(traceback.format_exception(failed.value))


def test_the_token_is_in_no_repr(hub: HubServer) -> None:
    registry = HubRegistry(hub.url, hub.token)
    assert hub.token not in repr(registry)
    assert hub.token not in repr(registry._remote(HubRepo(REPO)))


def test_a_read_token_may_look_but_not_publish(hub: HubServer, place: Subject) -> None:
    reader = on(hub, hub.read_token)
    assert reader.holds(FIRST)
    push = prepared(reader)
    with pytest.raises(PermissionDenied) as failed:
        push()
    check_silence(hub, failed.value)
    assert place.holds(FIRST)


def test_a_stranger_sees_nothing_and_may_create_nothing(hub: HubServer, place: Subject) -> None:
    stranger = on(hub, hub.stranger_token)
    assert stranger.registry.head(stranger.destination) is None
    with pytest.raises(PermissionDenied) as failed:
        stranger.publish(FIRST)
    check_silence(hub, failed.value)


def test_missing_things_are_missing(hub: HubServer, place: Subject) -> None:
    with pytest.raises(DestinationMissing):
        place.registry.manifest(HubRepo("acme/none"), "main")
    assert place.registry.head(HubRepo("acme/none")) is None
    assert place.registry.head(HubRepo(REPO, "none")) is None
    with pytest.raises(UsageError):
        place.registry.head(LocalRegistry("/tmp", "acme/m"))


# --- visibility ----------------------------------------------------------------------------------


def test_nothing_private_goes_to_a_public_repository(hub: HubServer) -> None:
    subject = on(hub)
    push = prepared(subject, FIRST)
    hub.create_repo(REPO, private=False)
    hub.clear_log()
    with pytest.raises(VisibilityMismatch, match="public"):
        push()
    assert {each.method for each in hub.log} == {"GET"}


def test_what_may_be_public_goes_there(hub: HubServer) -> None:
    hub.create_repo(REPO, private=False)
    subject = on(hub)
    head = subject.registry.head(subject.destination)
    assert head is not None
    assert head.private is False
    plan = plan_publication(subject.destination, manifest_of(FIRST), head, private=False)
    assert subject.push(plan, blobs_of(plan, FIRST)).created
    assert not hub.repo(REPO).private


def test_a_public_repository_is_created_on_demand(hub: HubServer) -> None:
    subject = on(hub)
    plan = evolve(subject.plan(FIRST), private=False)
    subject.push(plan, blobs_of(plan, FIRST))
    assert not hub.repo(REPO).private


def test_a_server_that_ignores_visibility_gets_no_byte() -> None:
    with HubServer(xet=False, honour_visibility=False) as hub:
        subject = on(hub)
        with pytest.raises(VisibilityMismatch, match="did not make"):
            subject.publish(FIRST)
        assert not hub.requests("POST", "preupload|lfs|commit")
        assert not hub.requests("PUT")
        assert set(hub.repo(REPO).files()) == {".gitattributes"}


# --- races ---------------------------------------------------------------------------------------


def test_a_commit_in_between_is_a_conflict(hub: HubServer, place: Subject) -> None:
    plan = place.plan(SECOND)
    with pytest.raises(RevisionConflict) as lost:
        pushing(place, plan, SECOND, lambda: hub.repo(REPO).push({"x": b"x"}))
    assert type(lost.value) is RevisionConflict
    assert (lost.value.expected, lost.value.actual) == (plan.parent, hub.repo(REPO).head)
    assert [each.status for each in hub.requests("POST", COMMIT)] == [412]
    assert hub.repo(REPO).files()["x"] == b"x"


@pytest.mark.parametrize("status", [409, 412])
def test_both_ways_to_say_conflict(hub: HubServer, place: Subject, status: int) -> None:
    push = prepared(place)
    hub.inject(Fault(path=COMMIT, status=status, message=f"busy with {hub.token}"))
    with pytest.raises(RevisionConflict, match=r"refused by the registry: .*busy with") as lost:
        push()
    assert lost.value.expected == lost.value.actual  # so it is no new head that is in the way
    check_silence(hub, lost.value)
    assert place.holds(FIRST)


def test_a_server_that_ignores_the_parent_is_found_out() -> None:
    with HubServer(xet=False, enforce_parent=False) as hub:
        place = on(hub)
        place.publish(FIRST)
        plan = place.plan(SECOND)
        with pytest.raises(ParentNotEnforced, match="does not enforce") as mixed:
            pushing(place, plan, SECOND, lambda: hub.repo(REPO).push({"x": b"x"}))
        assert mixed.value.expected == plan.parent
        assert mixed.value.actual == hub.repo(REPO).commits()[1].oid
        check_silence(hub, mixed.value)


# --- transport -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.lost_answer, Fault.cut_answer])
def test_a_lost_answer_to_a_commit_that_landed(
    hub: HubServer, place: Subject, fault: Callable[..., Fault]
) -> None:
    before = commits(hub)
    push = prepared(place)
    injected = hub.inject(fault(COMMIT, "POST"))
    receipt = push()
    assert injected.hits == 1
    assert receipt.created
    assert receipt.revision == hub.repo(REPO).head
    assert commits(hub) == before + 1
    assert place.holds(SECOND)


def test_a_lost_answer_to_the_first_commit_of_all(hub: HubServer) -> None:
    subject = on(hub)
    hub.inject(Fault.lost_answer(COMMIT, "POST"))
    assert subject.publish(FIRST).created
    assert subject.holds(FIRST)


@pytest.mark.parametrize(
    "fault",
    [Fault.unreachable(COMMIT), *(Fault.refuse(s, COMMIT) for s in (500, 502, 503, 504, 408))],
    ids=lambda fault: str(fault.status),
)
def test_a_commit_that_did_not_land(hub: HubServer, place: Subject, fault: Fault) -> None:
    push = prepared(place)
    hub.inject(fault)
    with pytest.raises(RegistryUnreachable) as failed:
        push()
    assert failed.value.applied is False
    assert "Nothing was published" in str(failed.value)
    check_silence(hub, failed.value)
    assert place.holds(FIRST)
    assert push().created


def test_a_commit_that_lands_after_its_answer_was_given_up(hub: HubServer, place: Subject) -> None:
    before = commits(hub)
    push = prepared(place)
    hub.inject(Fault.late_work(0.3, COMMIT, "POST"))
    assert push().revision == hub.repo(REPO).head
    assert commits(hub) == before + 1 and place.holds(SECOND)


def test_a_5xx_for_a_commit_that_landed(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault(path=COMMIT, status=504, applied=True))
    assert push().revision == hub.repo(REPO).head
    assert place.holds(SECOND)


def test_a_lost_answer_and_then_no_server_at_all(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault.lost_answer(COMMIT, "POST"))
    hub.inject(Fault(path="/revision/main", skip=1, times=None, end="drop"))
    with pytest.raises(RegistryUnreachable) as failed:
        push()
    assert failed.value.applied is None
    assert "not known if it was published" in str(failed.value)
    hub.clear_faults()
    assert push().created is False


def test_a_lost_answer_and_somebody_else(hub: HubServer, place: Subject) -> None:
    hub.inject(Fault.unreachable(COMMIT, "POST"))
    plan = place.plan(SECOND)
    with pytest.raises(RegistryUnreachable) as failed:
        pushing(place, plan, SECOND, lambda: hub.repo(REPO).push({"x": b"x"}))
    assert failed.value.applied is None


def test_a_commit_that_landed_and_cannot_be_checked(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault.refuse(403, "/commits/"))
    with pytest.raises(RegistryUnreachable, match=r"published as [0-9a-f]{40}") as failed:
        push()
    assert failed.value.applied is True
    check_silence(hub, failed.value)
    assert place.holds(SECOND)


@pytest.mark.parametrize("body", [None, b"<html>", b"{}", b"[]", b'{"casUrl": null}'])
def test_an_answer_that_is_no_token_of_xet(body: bytes | None) -> None:
    with HubServer(xet=True) as hub:
        hub.create_repo(REPO)
        hub.inject(Fault(path="/xet-write-token", body=body, applied=True))
        remote = HubRegistry(hub.url, hub.token)._remote(HubRepo(REPO))
        assert remote.has_xet() is (body is None)


def test_another_who_publishes_the_same(hub: HubServer, place: Subject) -> None:
    plan, before = place.plan(SECOND), commits(hub)
    receipt = pushing(place, plan, SECOND, lambda: on(hub).publish(SECOND))
    assert not receipt.created and receipt.revision == hub.repo(REPO).head
    assert commits(hub) == before + 1 and place.holds(SECOND)


def test_a_server_without_a_history(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault.refuse(404, "/commits/"))
    assert push().created


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (r"/revision/main", "GET"),
        (r"/validate-yaml", "POST"),
        (r"/xet-write-token", "GET"),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, None])
def test_every_call_is_translated(
    hub: HubServer, place: Subject, path: str, method: str, status: int | None
) -> None:
    push = prepared(place, {**SECOND, "README.md": b"---\nlicense: apache-2.0\n---\n"})
    words = f"no, not with {hub.token}"
    fault = Fault(path=path, method=method, status=status, message=words)
    injected = hub.inject(fault if status else Fault.unreachable(path, method))
    kinds: dict[int | None, type[RegistryError]] = {
        400: RegistryRejected,
        401: AuthenticationFailed,
        403: PermissionDenied,
        429: RateLimited,
    }
    with pytest.raises(WeighbridgeError) as failed:
        push()
    assert injected.hits == 1
    # The client turns a 400 of this one into a ValueError without the response.
    expected = kinds.get(status, RegistryUnreachable)
    assert type(failed.value) is expected
    check_silence(hub, failed.value)
    assert place.holds(FIRST)


def test_a_tree_that_breaks_off_at_the_second_page() -> None:
    with HubServer(xet=False, page_size=2) as hub:
        place = on(hub)
        place.publish(FIRST)
        hub.inject(Fault(path="/tree/.*cursor", status=403, message="enough"))
        with pytest.raises(PermissionDenied, match="enough"):
            place.registry.head(place.destination)


def test_rate_limits_say_how_long(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault.rate_limit(3600, COMMIT))
    with pytest.raises(RateLimited, match="in 3600 seconds") as limited:
        push()
    assert limited.value.retry_after == 3600.0
    check_silence(hub, limited.value)
    assert place.holds(FIRST)


@pytest.mark.parametrize("path", ["/revision/main", "/preupload/", "/objects/batch", COMMIT])
def test_a_short_rate_limit_is_waited_for_and_seen(
    hub: HubServer, place: Subject, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = place.plan(SECOND)
    before = commits(hub)
    fault = hub.inject(Fault.rate_limit(1, path, times=2))
    seen: list[tuple[str, int, int]] = []
    place.registry.push(
        plan, blobs_of(plan, SECOND), message="publish", progress=lambda *told: seen.append(told)
    )
    assert fault.hits == 2
    assert commits(hub) == before + 1 and place.holds(SECOND)
    assert [told for told in seen if told[0] == STAGE] == [(STAGE, 0, 1), (STAGE, 1, 1)] * 2
    assert [r.message for r in caplog.records if r.name == "weighbridge.hub"] == [
        f"hf://acme/m: {STAGE}, 1 s"
    ] * 2


@pytest.mark.parametrize("path", ["/preupload/", COMMIT])
def test_all_waiting_together_has_an_end(hub: HubServer, place: Subject, path: str) -> None:
    impatient = evolve(
        place, registry=HubRegistry(hub.url, hub.token, longest_wait=2, most_waiting=2)
    )
    push = prepared(impatient)
    fault = hub.inject(Fault.rate_limit(1, path, times=None))
    with pytest.raises(RateLimited) as limited:
        push()
    assert fault.hits == 3 and limited.value.retry_after == 1.0
    hub.clear_faults()
    assert place.holds(FIRST)


def test_too_large_is_said_so(hub: HubServer, place: Subject) -> None:
    push = prepared(place)
    hub.inject(Fault(path=COMMIT, status=413, message="at most 1 GB in a commit"))
    with pytest.raises(TooLarge, match="at most 1 GB"):
        push()
    assert place.holds(FIRST)


def test_nobody_answers(hub: HubServer) -> None:
    nowhere = HubRegistry("http://127.0.0.1:9", hub.token)
    with pytest.raises(RegistryUnreachable) as failed:
        nowhere.head(HubRepo(REPO))
    assert failed.value.applied is False


def test_the_server_s_words_are_passed_on(hub: HubServer, place: Subject) -> None:
    push = prepared(place, {**FIRST, "README.md": b"---\nno end\n"})
    with pytest.raises(RegistryRejected, match="has no end"):
        push()
    push = prepared(place)
    hub.inject(Fault(path=COMMIT, status=400, message=f"a secret {hub.token} was found"))
    with pytest.raises(RegistryRejected, match=r"a secret \[token\] was found") as failed:
        push()
    check_silence(hub, failed.value)


# --- content -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("grow", [False, True])
def test_other_bytes_than_were_sent_show_in_the_read_back(
    hub: HubServer, place: Subject, name: str, grow: bool
) -> None:
    plan = place.plan(SECOND)
    hub.inject(Fault.wrong_bytes(name, grow=grow))
    receipt = place.push(plan, blobs_of(plan, SECOND))
    read = place.registry.manifest(place.destination, receipt.revision)
    (difference,) = read_back_differences(plan.manifest, read.manifest)
    assert difference.startswith(f"{name}:")


def opener(file: Path) -> Callable[[], BinaryIO]:
    """What opens that file anew each time."""
    return lambda: file.open("rb")


def file_blobs(plan: PublicationPlan, files: Files, folder: Path) -> dict[ArtifactPath, Blob]:
    """Blobs that are real files."""
    blobs = {}
    for number, (path, blob) in enumerate(blobs_of(plan, files).items()):
        file = folder / str(number)
        file.write_bytes(files[path.text])
        blobs[path] = Blob(blob.entry, opener(file))
    return blobs


def test_a_large_file_that_changes_during_the_upload(
    hub: HubServer, place: Subject, tmp_path: Path
) -> None:
    files = {"big.safetensors": LARGE * 2}
    plan = place.plan(files)
    blobs = file_blobs(plan, files, tmp_path)

    def meddle(*_: object) -> None:
        (tmp_path / "0").write_bytes(LARGE[::-1] * 2)

    with pytest.raises(ArtifactChanged, match=r"big\.safetensors"):
        place.registry.push(plan, blobs, message="publish", progress=meddle)
    assert not hub.requests("POST", COMMIT)
    assert place.holds(FIRST)


# --- transfer ------------------------------------------------------------------------------------


@pytest.fixture
def xet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home for what the Xet client keeps."""
    for name in ("HF_HOME", "HF_XET_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)


@pytest.mark.parametrize(
    ("transfer", "server_has_xet", "by_xet"),
    [("auto", True, True), ("auto", False, False), ("lfs", True, False), ("xet", True, True)],
)
@pytest.mark.usefixtures("xet_home")
def test_the_protocol_is_chosen(
    tmp_path: Path, transfer: str, server_has_xet: bool, by_xet: bool
) -> None:
    with HubServer(xet=server_has_xet) as hub:
        registry = HubRegistry(hub.url, hub.token, transfer)  # type: ignore[arg-type]
        place = Subject(registry, HubRepo(REPO))
        files = {**FIRST, "big.safetensors": LARGE * 2}
        plan = place.plan(files)
        place.push(plan, file_blobs(plan, files, tmp_path))
        assert place.holds(files)
        assert bool(hub.requests("POST", "lfs/objects/batch")) is not by_xet
        assert constants.HF_HUB_DISABLE_XET is False


@pytest.mark.usefixtures("xet_home")
def test_streams_without_a_path_go_by_lfs() -> None:
    with HubServer(xet=True) as hub:
        place = on(hub)
        files = {**FIRST, "big.safetensors": LARGE * 2}
        place.publish(files)
        assert place.holds(files)
        assert hub.requests("POST", "lfs/objects/batch")


@pytest.mark.usefixtures("xet_home")
def test_xet_on_demand_where_there_is_none(hub: HubServer, tmp_path: Path) -> None:
    place = Subject(HubRegistry(hub.url, hub.token, "xet"), HubRepo(REPO))
    files = {"big.safetensors": LARGE}
    plan = place.plan(files)
    with pytest.raises(Unsupported, match="set WEIGHBRIDGE_TRANSFER to lfs") as failed:
        place.push(plan, file_blobs(plan, files, tmp_path))
    check_silence(hub, failed.value)
    assert constants.HF_HUB_DISABLE_XET is False


# --- details -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": "limit=100, remaining=0, reset=7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-reset": "1000000000"}, 0.0),
        ({"x-ratelimit-reset": "tomorrow"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_texts_are_cleaned() -> None:
    translator = Translator("hf://acme/m", "secret-token")
    text = "x secret-token y Bearer abc.def z hf_ABCDEFGHIJ https://s3/x?X-Amz-Signature=1\n\n w"
    assert translator.clean(text) == ("x [token] y Bearer [token] z [token] https://s3/x?[...] w")


def test_a_bug_of_the_vendor_is_still_ours_to_word() -> None:
    said = pytest.raises(RegistryRejected, match="KeyError: 'pullRequestUrl'")
    with said, Translator("hf://acme/m", None).calls():
        raise KeyError("pullRequestUrl")


def test_the_vendor_is_imported_on_use_only() -> None:
    code = "import sys, weighbridge.adapters.hub; print('huggingface_hub' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="src"
    )
    assert done.stdout == "False\n"
