"""The local Hub, driven by the real ``huggingface_hub`` and judged by Debian's git and git-lfs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import (
    ClientError,
    Fault,
    HubClient,
    HubServer,
    WitnessError,
    clone_with_lfs,
)
from tests.hub_server.errors import StaleParent

REPO = "acme/m"
WEIGHTS = bytes(range(256)) * 1200
SMALL = {"config.json": b'{"a": 1}\n', "README.md": b"---\nlicense: mit\n---\n# m\n"}
FILES = SMALL | {"model.safetensors": WEIGHTS, "sub dir/notes.txt": b"hello\n", "empty.bin": b""}

COMMIT = """
ops = [CommitOperationAdd(path, source) for path, source in add.items()]
ops += [CommitOperationDelete(path) for path in delete]
info = api.create_commit(repo, ops, commit_message="publish", commit_description="why",
                         parent_commit=parent, revision=revision, create_pr=pr)
result = {"oid": info.oid, "url": info.commit_url, "pr": info.pr_revision}
"""
SNAPSHOT = """
result = hub.snapshot_download(repo, endpoint=api.endpoint, token=api.token, local_dir=into,
                               revision=revision)
"""
TREE = """
result = [{"path": f.path, "size": f.size, "blob": f.blob_id, "sha256": f.lfs and f.lfs.sha256}
          for f in api.list_repo_tree(repo, recursive=True, revision=revision)
          if hasattr(f, "size")]
"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """The real client, uploading by LFS."""
    with HubClient(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub with small pages and parts, so that both are exercised."""
    with HubServer(page_size=3, part_size=200_000) as running:
        yield running


@pytest.fixture
def run(client: HubClient, hub: HubServer) -> Run:
    """Run a snippet against the hub with the write token."""

    def call(code: str, *, token: str | None = hub.token, **values: object) -> Any:
        return client.run(hub.url, token, code, repo=REPO, **values)

    return call


@pytest.fixture
def publish(run: Run, tmp_path: Path) -> Run:
    """Commit files with the client; files are given as bytes."""

    def call(files: dict[str, bytes], delete: tuple[str, ...] = (), **options: Any) -> Any:
        folder = tmp_path / "sources"
        folder.mkdir(exist_ok=True)
        add = {}
        for number, (path, content) in enumerate(files.items()):
            source = folder / str(number)
            source.write_bytes(content)
            add[path] = str(source)
        defaults = {"parent": None, "revision": None, "pr": False}
        return run(COMMIT, add=add, delete=delete, **(defaults | options))

    return call


def published(hub: HubServer, revision: str | None = None) -> dict[str, bytes]:
    """What the repository holds, without the ``.gitattributes`` of the Hub."""
    files = hub.repo(REPO).files(revision)
    assert b"*.safetensors filter=lfs" in files.pop(".gitattributes")
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """All files of a download, without the client's and git's own."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    hidden = (".cache/", ".git/", ".gitattributes")
    return {name: content for name, content in named.items() if not name.startswith(hidden)}


# --- repositories and accounts -------------------------------------------------------------------


def test_create_repo_is_private_when_asked_and_conflicts_the_second_time(
    hub: HubServer, run: Run
) -> None:
    url = run("result = str(api.create_repo(repo, private=True))")
    assert url == f"{hub.url}/{REPO}"
    assert hub.repo(REPO).private
    with pytest.raises(ClientError) as conflict:
        run("api.create_repo(repo)")
    assert conflict.value.status == 409
    assert run("result = str(api.create_repo(repo, private=False, exist_ok=True))") == url
    assert run("result = api.repo_info(repo).private") is True


def test_visibility_changes_and_deletion(hub: HubServer, run: Run) -> None:
    hub.create_repo(REPO)
    run("api.update_repo_settings(repo, private=True)")
    assert hub.repo(REPO).private
    run("api.delete_repo(repo)")
    assert not hub.has_repo(REPO)
    with pytest.raises(ClientError, match="RepositoryNotFoundError"):
        run("api.repo_info(repo)")


def test_whoami_tells_the_role(hub: HubServer, run: Run) -> None:
    role = "result = api.whoami()['auth']['accessToken']['role']"
    assert run(role) == "write"
    assert run(role, token=hub.read_token) == "read"


@pytest.mark.parametrize("token_name", ["nobody", "stranger_token"])
def test_a_private_repository_does_not_exist_for_strangers(
    hub: HubServer, run: Run, token_name: str
) -> None:
    hub.create_repo(REPO, private=True, files=SMALL)
    token = getattr(hub, token_name, None)
    for code in ("api.repo_info(repo)", "api.auth_check(repo)", "list(api.list_repo_tree(repo))"):
        with pytest.raises(ClientError) as refused:
            run(code, token=token)
        assert refused.value.kind == "RepositoryNotFoundError"
        assert refused.value.status == (404 if token else 401)


def test_an_unknown_token_is_named_as_the_reason(hub: HubServer, run: Run) -> None:
    hub.create_repo(REPO)
    with pytest.raises(ClientError, match="Invalid credentials") as refused:
        run("api.repo_info(repo)", token="hubtest_wrong")
    assert (refused.value.kind, refused.value.status) == ("HfHubHTTPError", 401)


def test_a_read_only_token_reads_but_does_not_write(hub: HubServer, run: Run, publish: Run) -> None:
    before = hub.create_repo(REPO, private=True).head
    run("api.auth_check(repo); api.repo_info(repo)", token=hub.read_token)
    for code in (
        "api.auth_check(repo, write=True)",
        "api.create_tag(repo, tag='v1')",
        "api.create_repo('acme/other')",
        "api.create_commit(repo, [CommitOperationAdd('a', b'a')], commit_message='m')",
    ):
        with pytest.raises(ClientError) as refused:
            run(code, token=hub.read_token)
        assert refused.value.status == 403
    assert hub.repo(REPO).head == before
    run("api.auth_check(repo, write=True)")


def test_an_outsider_may_propose_but_not_write(hub: HubServer, run: Run) -> None:
    before = hub.create_repo(REPO).head
    outsider = hub.add_token("bob", "write", ["bobs"])
    commit = "api.create_commit(repo, [CommitOperationAdd('a', b'a')], commit_message='m'"
    with pytest.raises(ClientError, match="403"):
        run(f"{commit})", token=outsider)
    run(f"{commit}, create_pr=True)", token=outsider)
    assert hub.repo(REPO).head == before
    assert hub.repo(REPO).files("refs/pr/1")["a"] == b"a"
    run("api.create_repo('bobs/own')", token=outsider)
    assert hub.has_repo("bobs/own")


# --- publishing ----------------------------------------------------------------------------------


def test_a_commit_stores_small_and_large_files(hub: HubServer, publish: Run) -> None:
    first = hub.create_repo(REPO).head
    done = publish(FILES, parent=first)
    repository = hub.repo(REPO)
    assert done["oid"] == repository.head
    assert done["url"] == f"{hub.url}/{REPO}/commit/{repository.head}"
    assert published(hub) == FILES
    latest, *older = repository.commits()
    assert [each.oid for each in older] == [first]
    assert (latest.title, latest.message, latest.author) == ("publish", "why", "tester")


def test_large_objects_travel_in_parts_and_small_ones_at_once(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    publish({"big.safetensors": WEIGHTS, "little.safetensors": b"abc"})
    assert [each.path.rsplit("/", 2)[1:] for each in hub.requests("PUT", "/part/")] == [
        ["part", "1"],
        ["part", "2"],
    ]
    assert len(hub.requests("POST", "/complete$")) == 1
    assert len(hub.requests("PUT")) == 3
    assert len(hub.requests("POST", "/verify$")) == 2


def test_the_tree_shows_sizes_and_digests(hub: HubServer, run: Run) -> None:
    hub.create_repo(REPO, files=FILES)
    tree = {each["path"]: each for each in run(TREE, revision=None)}
    assert tree.pop(".gitattributes")["sha256"] is None
    assert {path: each["size"] for path, each in tree.items()} == {
        path: len(content) for path, content in FILES.items()
    }
    assert tree["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    blob = b"blob %d\0" % len(SMALL["config.json"]) + SMALL["config.json"]
    assert tree["config.json"]["blob"] == hashlib.sha1(blob).hexdigest()
    assert len(hub.requests("GET", "/tree/")) == 3, "7 entries in pages of 3"


def test_paths_info_lists_what_exists(hub: HubServer, run: Run) -> None:
    hub.create_repo(REPO, files=FILES)
    found = "result = [(f.path, type(f).__name__) for f in api.get_paths_info(repo, paths)]"
    assert run(found, paths=["config.json", "sub dir", "absent"]) == [
        ["config.json", "RepoFile"],
        ["sub dir", "RepoFolder"],
    ]


def test_committing_the_same_again_changes_nothing(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    oid = publish(FILES)["oid"]
    hub.clear_log()
    assert publish(FILES)["oid"] == oid
    assert hub.repo(REPO).head == oid
    assert not hub.requests("POST", "/commit/")


def test_a_hub_that_tells_no_digests_gets_an_empty_commit(
    client: HubClient, tmp_path: Path
) -> None:
    source = tmp_path / "config.json"
    source.write_bytes(b"{}")
    with HubServer(preupload_oid=False) as hub:
        repository = hub.create_repo(REPO, files={"config.json": b"{}"})
        values = {"parent": None, "revision": None, "pr": False, "delete": ()}
        add = {"config.json": str(source)}
        client.run(hub.url, hub.token, COMMIT, repo=REPO, add=add, **values)
        assert len(repository.commits()) == 3


def test_a_stale_parent_is_refused(hub: HubServer, publish: Run) -> None:
    repository = hub.create_repo(REPO)
    planned = repository.head
    theirs = repository.push({"config.json": b"theirs"})
    with pytest.raises(ClientError, match="A commit has happened since") as refused:
        publish(SMALL, parent=planned)
    assert (refused.value.kind, refused.value.status) == ("HfHubHTTPError", 412)
    assert repository.head == theirs
    assert publish(SMALL, parent=theirs[:8])["oid"] == repository.head


def test_one_of_two_simultaneous_commits_wins(
    hub: HubServer, client: HubClient, tmp_path: Path
) -> None:
    repository = hub.create_repo(REPO)
    hub.inject(Fault.slow(0.2, "/commit/"))
    code = (
        "op = CommitOperationAdd('who.txt', name.encode())\n"
        "api.create_commit(repo, [op], commit_message=name, parent_commit=parent)"
    )

    def attempt(who: HubClient, name: str) -> int | None:
        try:
            who.run(hub.url, hub.token, code, repo=REPO, parent=repository.head, name=name)
        except ClientError as error:
            return error.status
        return 200

    with HubClient(tmp_path / "home") as other, ThreadPoolExecutor() as pool:
        outcomes = pool.map(attempt, (client, other), ("one", "other"))
        assert sorted(map(str, outcomes)) == ["200", "412"]
    assert len(repository.commits()) == 2


def test_a_ref_moves_only_from_where_it_is(hub: HubServer) -> None:
    repository = hub.create_repo(REPO)
    stale = repository.head
    theirs = repository.push({"a.txt": b"theirs"})
    with pytest.raises(StaleParent):
        repository.commit_tree(f"{stale}^{{tree}}", [stale], "late", "refs/heads/main", "late")
    assert repository.head == theirs


def test_a_stale_parent_is_accepted_by_a_lax_hub(client: HubClient, tmp_path: Path) -> None:
    source = tmp_path / "config.json"
    source.write_bytes(b"{}")
    with HubServer(enforce_parent=False, honour_visibility=False) as hub:
        client.run(hub.url, hub.token, "api.create_repo(repo, private=True)", repo=REPO)
        repository = hub.repo(REPO)
        assert not repository.private
        stale = repository.head
        theirs = repository.push({"a.txt": b"theirs"})
        values = {"revision": None, "pr": False, "delete": ()}
        add = {"config.json": str(source)}
        client.run(hub.url, hub.token, COMMIT, repo=REPO, add=add, parent=stale, **values)
        assert [each.oid for each in repository.commits()][1:] == [theirs, stale]


def test_files_and_folders_are_deleted(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO, files=FILES)
    publish({"new.txt": b"n"}, delete=("sub dir/", "model.safetensors"))
    assert published(hub).keys() == {"config.json", "README.md", "empty.bin", "new.txt"}
    with pytest.raises(ClientError, match="doesn't exist") as refused:
        publish({"other.txt": b"o"}, delete=("absent.txt",))
    assert refused.value.kind == "RemoteEntryNotFoundError"
    assert "other.txt" not in published(hub)


def test_a_pointer_to_an_unknown_object_is_refused(hub: HubServer, run: Run) -> None:
    before = hub.create_repo(REPO).head
    with pytest.raises(ClientError, match="does not exist") as refused:
        run(
            "op = CommitOperationAdd('m.safetensors', b'never sent')\n"
            "op._upload_mode, op._is_uploaded = 'lfs', True\n"
            "api.create_commit(repo, [op], commit_message='x')"
        )
    assert (refused.value.kind, refused.value.status) == ("BadRequestError", 400)
    assert hub.repo(REPO).head == before


def test_an_upload_with_another_digest_is_not_kept(hub: HubServer) -> None:
    repository = hub.create_repo(REPO)
    oid = hashlib.sha256(b"announced").hexdigest()
    asked = {"operation": "upload", "objects": [{"oid": oid, "size": 9}]}
    offer = _post(hub, f"/{REPO}.git/info/lfs/objects/batch", asked)["objects"][0]["actions"]
    wrong = urllib.request.Request(offer["upload"]["href"], b"different", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(wrong)
    assert repository.lfs.size(oid) is None
    with pytest.raises(urllib.error.HTTPError, match="422"):
        _post(hub, f"/{REPO}.git/info/lfs/verify", {"oid": oid, "size": 9})
    forged = offer["upload"]["href"][:-1] + "x"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(forged, b"announced", method="PUT"))


def _post(hub: HubServer, path: str, body: dict[str, Any]) -> Any:
    """Post JSON with the write token."""
    headers = {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(hub.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_broken_model_card_is_refused_before_anything_is_sent(
    hub: HubServer, publish: Run
) -> None:
    hub.create_repo(REPO)
    hub.clear_log()
    with pytest.raises(ClientError, match=r"Invalid metadata in README\.md") as refused:
        publish({"README.md": b"---\nlicense mit\n---\n"})
    assert refused.value.kind == "ValueError"
    assert [each.path for each in hub.log] == ["/api/validate-yaml"]


def test_gitignore_is_applied_as_git_would(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    rules = b"*.log\n!keep.log\ndata/\n"
    publish({".gitignore": rules, "a.log": b"a", "keep.log": b"k", "data/x.txt": b"x"})
    assert published(hub).keys() == {".gitignore", "keep.log"}


def test_rolling_back_copies_large_files_without_sending_them(hub: HubServer, run: Run) -> None:
    repository = hub.create_repo(REPO, files=FILES)
    good = repository.head
    repository.push({"model.safetensors": b"bad", "config.json": b"bad"})
    hub.clear_log()
    run(
        "ops = [CommitOperationCopy(p, p, src_revision=good) for p in paths]\n"
        "api.create_commit(repo, ops, commit_message='back')",
        good=good,
        paths=["model.safetensors", "config.json"],
    )
    assert published(hub) == FILES
    assert not hub.requests("PUT")


# --- refs and downloads --------------------------------------------------------------------------


def test_tags_and_branches(hub: HubServer, run: Run, publish: Run) -> None:
    repository = hub.create_repo(REPO, files=SMALL)
    tagged = repository.head
    run("api.create_tag(repo, tag='v1'); api.create_tag(repo, tag='v1.1', tag_message='note')")
    with pytest.raises(ClientError) as taken:
        run("api.create_tag(repo, tag='v1')")
    assert taken.value.status == 409
    run("api.create_branch(repo, branch='staging/a', revision='v1')")
    staged = publish({"model.safetensors": WEIGHTS}, revision="staging/a", parent=tagged)
    refs = run(
        "refs = api.list_repo_refs(repo)\n"
        "result = {each.ref: each.target_commit for each in refs.branches + refs.tags}"
    )
    assert refs == {
        "refs/heads/main": tagged,
        "refs/heads/staging/a": staged["oid"],
        "refs/tags/v1": tagged,
        "refs/tags/v1.1": tagged,
    }
    assert "model.safetensors" not in published(hub)
    assert "model.safetensors" in published(hub, "staging/a")
    run("api.delete_tag(repo, tag='v1'); api.delete_branch(repo, branch='staging/a')")
    for revision in ("v1", "staging/a", "main~1"):
        with pytest.raises(ClientError, match="RevisionNotFoundError"):
            run("api.repo_info(repo, revision=revision)", revision=revision)
    history = run("result = [c.commit_id for c in api.list_repo_commits(repo, revision='v1.1')]")
    assert history == [each.oid for each in repository.commits("v1.1")]


def test_a_snapshot_is_byte_identical(hub: HubServer, run: Run, tmp_path: Path) -> None:
    repository = hub.create_repo(REPO, private=True, files=FILES)
    repository.push({"model.safetensors": b"newer"})
    revision = repository.commits()[1].oid
    into = Path(run(SNAPSHOT, into=str(tmp_path / "copy"), revision=revision))
    assert read_folder(into) == FILES
    verified = (
        "report = api.verify_repo_checksums(repo, local_dir=into, revision=revision)\n"
        "result = [report.checked_count, report.mismatches, report.missing_paths]"
    )
    assert run(verified, into=str(into), revision=revision) == [len(FILES) + 1, [], []]


def test_a_cut_download_is_resumed_by_range(hub: HubServer, run: Run, tmp_path: Path) -> None:
    hub.create_repo(REPO, files=FILES)
    cut = hub.inject(Fault.cut_answer("/_lfs/", "GET"))
    in_small_blocks = f"hub.constants.DOWNLOAD_CHUNK_SIZE = 1024\n{SNAPSHOT}"
    into = Path(run(in_small_blocks, into=str(tmp_path / "copy"), revision=None))
    assert read_folder(into) == FILES
    assert cut.hits == 1
    assert [each.status for each in hub.requests("GET", "/_lfs/")] == [200, 206]


def test_pull_requests_are_opened_and_merged(hub: HubServer, run: Run, publish: Run) -> None:
    repository = hub.create_repo(REPO, files=SMALL)
    before = repository.head
    proposed = publish({"model.safetensors": WEIGHTS}, pr=True)
    assert proposed["pr"] == "refs/pr/1"
    assert repository.head == before
    assert repository.resolve("refs/pr/1") == proposed["oid"]
    publish({"more.txt": b"m"}, revision="refs/pr/1")
    run("api.merge_pull_request(repo, discussion_num=1)")
    assert published(hub) == SMALL | {"model.safetensors": WEIGHTS, "more.txt": b"m"}
    state = (
        "pr = api.get_discussion_details(repo, discussion_num=1)\n"
        "result = [pr.status, pr.merge_commit_oid, pr.is_pull_request]"
    )
    assert run(state) == ["merged", repository.head, True]
    opened = "result = api.create_pull_request(repo, title='two').num"
    assert run(opened) == 2
    closed = "result = api.change_discussion_status(repo, 2, new_status='closed').new_status"
    assert run(closed) == "closed"


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 409, 412, 413, 500, 503])
def test_a_refused_commit_does_nothing(hub: HubServer, publish: Run, status: int) -> None:
    before = hub.create_repo(REPO).head
    fault = hub.inject(Fault.refuse(status, "/commit/"))
    with pytest.raises(ClientError) as refused:
        publish(SMALL)
    assert refused.value.status == status
    assert (fault.hits, hub.repo(REPO).head) == (1, before)
    publish(SMALL)
    assert published(hub) == SMALL


def test_a_rate_limit_tells_when_to_come_back(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    hub.inject(Fault.rate_limit(7, "/commit/"))
    with pytest.raises(ClientError, match="Retry after 7 seconds") as refused:
        publish(SMALL)
    assert refused.value.status == 429


def test_the_client_itself_waits_out_a_rate_limit_on_preupload(
    hub: HubServer, publish: Run
) -> None:
    hub.create_repo(REPO)
    fault = hub.inject(Fault.rate_limit(0, "/preupload/"))
    publish(SMALL)
    assert fault.hits == 1
    assert [each.status for each in hub.requests("POST", "/preupload/")] == [429, 200]


def test_an_answer_lost_after_the_commit(hub: HubServer, publish: Run) -> None:
    repository = hub.create_repo(REPO)
    hub.inject(Fault.lost_answer("/commit/"))
    with pytest.raises(ClientError) as lost:
        publish(SMALL)
    assert lost.value.kind == "RemoteProtocolError"
    assert published(hub) == SMALL
    assert hub.requests("POST", "/commit/")[0].status == 0
    assert publish(SMALL)["oid"] == repository.head
    assert len(repository.commits()) == 2


def test_a_connection_closed_before_the_commit(hub: HubServer, publish: Run) -> None:
    repository = hub.create_repo(REPO)
    hub.inject(Fault.unreachable("/commit/"))
    with pytest.raises(ClientError) as lost:
        publish(SMALL)
    assert lost.value.kind == "RemoteProtocolError"
    assert len(repository.commits()) == 1


def test_an_error_answered_although_the_commit_landed(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    hub.inject(Fault(path="/commit/", status=500, applied=True))
    with pytest.raises(ClientError) as refused:
        publish(SMALL)
    assert refused.value.status == 500
    assert published(hub) == SMALL


def test_an_answer_cut_in_the_middle(hub: HubServer, publish: Run) -> None:
    hub.create_repo(REPO)
    hub.inject(Fault.cut_answer("/commit/"))
    with pytest.raises(ClientError) as cut:
        publish(SMALL)
    assert cut.value.kind == "RemoteProtocolError"
    assert published(hub) == SMALL


def test_faults_combine_and_are_counted(hub: HubServer, run: Run) -> None:
    hub.create_repo(REPO)
    late = hub.inject(Fault(path="/api/models/", method="GET", delay=0.2, times=None, skip=1))
    down = hub.inject(Fault.refuse(502, "/api/models/", "GET", times=2))
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(ClientError, match="502"):
            run("api.repo_info(repo)")
    run("api.repo_info(repo)")
    assert time.monotonic() - started >= 0.4
    assert (late.hits, down.hits) == (2, 2)
    hub.clear_faults()
    hub.clear_log()
    run("api.repo_info(repo)")
    assert hub.log == [("GET", f"/api/models/{REPO}", 200)]


@pytest.mark.parametrize("grow", [False, True])
def test_other_bytes_than_were_sent_show_in_the_tree(
    hub: HubServer, run: Run, publish: Run, grow: bool
) -> None:
    hub.create_repo(REPO)
    hub.inject(Fault.wrong_bytes(r"\.safetensors$", grow=grow))
    publish(FILES)
    tree = {each["path"]: each for each in run(TREE, revision=None)}
    stored = tree["model.safetensors"]
    assert stored["sha256"] != hashlib.sha256(WEIGHTS).hexdigest()
    assert stored["size"] == len(WEIGHTS) + grow
    assert tree["config.json"]["size"] == len(SMALL["config.json"])


# --- witnesses -----------------------------------------------------------------------------------


def test_git_and_git_lfs_accept_what_was_published(
    hub: HubServer, publish: Run, tmp_path: Path
) -> None:
    hub.create_repo(REPO)
    large_text = {"weird [1]* name.txt": b"x" * (10 * 1024 * 1024)}
    first = publish(FILES | large_text)["oid"]
    publish({"model.safetensors": b"second"}, delete=("weird [1]* name.txt",))
    newest = clone_with_lfs(hub.repo(REPO), tmp_path / "newest")
    assert read_folder(newest) == FILES | {"model.safetensors": b"second"}
    oldest = clone_with_lfs(hub.repo(REPO), tmp_path / "oldest", first)
    assert read_folder(oldest) == FILES | large_text
    log = ["git", "-C", str(newest), "log", "--format=%s", "main"]
    titles = subprocess.run(log, capture_output=True, text=True, check=True).stdout.split("\n")
    assert titles[:3] == ["publish", "publish", "initial commit"]


def test_a_rotten_object_is_seen_by_the_witness(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.create_repo(REPO, files=FILES)
    repository.rot("model.safetensors")
    with pytest.raises(WitnessError):
        clone_with_lfs(repository, tmp_path / "clone")


def test_a_missing_git_lfs_is_an_error(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.create_repo(REPO, files=FILES)
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "git-lfs" else tool)
    with pytest.raises(WitnessError, match="git-lfs is not installed"):
        clone_with_lfs(repository, tmp_path / "clone")


# --- Xet -----------------------------------------------------------------------------------------


def test_xet_uploads_and_downloads_through_a_local_store(tmp_path: Path) -> None:
    pytest.importorskip("hf_xet", reason="the Xet client is not installed")
    source = tmp_path / "weights"
    source.write_bytes(WEIGHTS)
    values = {"repo": REPO, "parent": None, "revision": None, "pr": False, "delete": ()}
    with HubServer() as hub, HubClient(tmp_path / "home", xet=True) as client:
        repository = hub.create_repo(REPO)
        add = {"model.safetensors": str(source)}
        client.run(hub.url, hub.token, COMMIT, add=add, **values)
        assert published(hub) == {"model.safetensors": WEIGHTS}
        assert not hub.requests("POST", "/batch$")
        into = str(tmp_path / "copy")
        client.run(hub.url, hub.token, SNAPSHOT, repo=REPO, into=into, revision=None)
        assert read_folder(Path(into)) == {"model.safetensors": WEIGHTS}
        assert not hub.requests("GET", "/_lfs/")
        assert hub.requests("GET", "/xet-read-token/")
        clone_with_lfs(repository, tmp_path / "clone")


def test_a_hub_without_xet_has_no_token_for_it(tmp_path: Path) -> None:
    pytest.importorskip("hf_xet", reason="the Xet client is not installed")
    source = tmp_path / "weights"
    source.write_bytes(WEIGHTS)
    values = {"repo": REPO, "parent": None, "revision": None, "pr": False, "delete": ()}
    with HubServer(xet=False) as hub, HubClient(tmp_path / "home", xet=True) as client:
        before = hub.create_repo(REPO).head
        add = {"model.safetensors": str(source)}
        with pytest.raises(ClientError) as refused:
            client.run(hub.url, hub.token, COMMIT, add=add, **values)
        assert "OSError" in refused.value.kinds
        assert {each.status for each in hub.requests("GET", "/xet-write-token/")} == {404}
        assert hub.repo(REPO).head == before
