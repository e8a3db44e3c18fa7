"""Reading a repository on the Hub by range requests: listings, exact bytes, how little moves."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

import weighbridge
from tests import builders
from tests.hub_server import HubServer
from tests.hub_server.faults import Fault
from weighbridge.adapters.hub import HubFiles
from weighbridge.adapters.hub.ranges import NoRanges, fetch_range
from weighbridge.application.load import read_base
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    ArtifactChanged,
    NotConvertible,
    PathConflict,
    PathMissing,
    RegistryUnreachable,
    StorageError,
)
from weighbridge.domain.models import Kind
from weighbridge.domain.tensors import TensorSpec
from weighbridge.entrypoints.settings import Settings

LLAMA = {
    "model_type": "llama", "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2,
    "intermediate_size": 32, "vocab_size": 64, "tie_word_embeddings": False, "rms_norm_eps": 1e-05,
}  # fmt: skip
SPECS = (
    *(TensorSpec(f"model.layers.{i}.self_attn.q_proj.weight", "F32", (16, 16)) for i in range(2)),
    TensorSpec("lm_head.weight", "F32", (262144, 16)),
)
ROOT = "hf://acme/base"


pytestmark = pytest.mark.usefixtures("hub_alone")


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    """A Hub with one base model of 16 MiB."""
    with HubServer(xet=False) as running:
        content = {
            "config.json": json.dumps(LLAMA).encode(),
            "model.safetensors": builders.tensors(SPECS),
            "sub/x.txt": b"0123456789",
        }
        running.create_repo("acme/base", private=True, files=content)
        yield running


@pytest.fixture
def files(hub: HubServer) -> HubFiles:
    return HubFiles(hub.url, hub.token)


def test_a_listing_is_sorted_and_has_sizes(files: HubFiles) -> None:
    listed = {e.path.text: e.size for e in files.scan(ROOT).files}
    assert list(listed) == sorted(listed)
    assert listed["sub/x.txt"] == 10 and "model.safetensors" in listed


def test_a_directory_of_a_repository_is_one(files: HubFiles) -> None:
    assert [e.path.text for e in files.scan(f"{ROOT}@main/sub").files] == ["x.txt"]
    assert files.read(f"{ROOT}/sub", ArtifactPath("x.txt"), 3, 4) == b"3456"


def test_ranges_are_exact(files: HubFiles) -> None:
    path = ArtifactPath("sub/x.txt")
    assert files.read(ROOT, path) == b"0123456789"
    assert files.read(ROOT, path, 10) == b""
    with files.open(ROOT, path) as reader:
        room = bytearray(4)
        reader.read_into(memoryview(room), 5)
        assert bytes(room) == b"5678" and reader.size == 10
    assert files.open_stream(ROOT, path).read() == b"0123456789"
    with pytest.raises(StorageError, match="8 bytes from 5 of 10"):
        files.read(ROOT, path, 5, 8)


def test_a_revision_may_be_a_pull_request_or_any_branch(hub: HubServer) -> None:
    hub.create_repo("acme/open", files={"a.txt": b"old"})
    client = HfApi(endpoint=hub.url, token=hub.token)
    new = [CommitOperationAdd("a.txt", b"newer")]
    client.create_commit("acme/open", new, commit_message="m", create_pr=True)
    client.create_branch("acme/open", branch="feat/x")
    files, path = HubFiles(hub.url, hub.token), ArtifactPath("a.txt")
    assert files.read("hf://acme/open@refs/pr/1", path) == b"newer"
    assert files.read("hf://acme/open@feat%2Fx", path) == b"old"


@pytest.mark.parametrize("root", ["hf://acme/none", f"{ROOT}@none", f"{ROOT}/none"])
def test_what_is_not_there_is_missing(files: HubFiles, root: str) -> None:
    with pytest.raises(PathMissing):
        files.scan(root)


def test_a_missing_file_is_missing(files: HubFiles) -> None:
    with pytest.raises(PathMissing):
        files.read(ROOT, ArtifactPath("none.json"))


def test_nothing_is_written_there(files: HubFiles) -> None:
    with pytest.raises(PathConflict, match="weighbridge publish"):
        files.stage(ROOT)


def test_a_base_is_known_by_its_headers(files: HubFiles, hub: HubServer) -> None:
    before = hub.bytes_sent
    base = read_base(files, ROOT)
    assert base.layers == 2 and base.tied is False
    assert base.tensors["lm_head.weight"].shape == (262144, 16)
    assert hub.bytes_sent - before < 100_000


def test_a_conversion_is_checked_against_a_base_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    settings = Settings(endpoint=hub.url, token=hub.token)
    run = builders.write(tmp_path / "run", builders.lora_files())
    done = weighbridge.convert(run, tmp_path / "out", base=ROOT, settings=settings)
    assert done.plan is not None and done.plan.config["base_model_name_or_path"] == "acme/base"
    other = builders.write(tmp_path / "other", builders.lora_files())
    specs = [TensorSpec(s.name, s.dtype, tuple(8 if n == 16 else n for n in s.shape))
             for s in builders.LORA_SPECS]  # fmt: skip
    (other / "adapters.safetensors").write_bytes(builders.tensors(specs))
    with pytest.raises(NotConvertible, match="maps 8 -> 8, but the base's"):
        weighbridge.convert(other, tmp_path / "no", base=ROOT, settings=settings)


def test_a_repository_is_judged_by_headers_and_small_files(hub: HubServer) -> None:
    settings = Settings(endpoint=hub.url, token=hub.token)
    before = hub.bytes_sent
    report = weighbridge.validate(ROOT, settings=settings)
    assert hub.bytes_sent - before < 200_000
    assert report.kind is Kind.FUSED and "TK001" in {f.code for f in report.findings}
    assert [part.what for part in report.unexamined] == ["values of the weights"]
    assert report.complete and report.manifest.fingerprint is None
    whole = weighbridge.validate(ROOT, weights=True, settings=settings)
    assert whole.unexamined == () and whole.manifest.fingerprint is not None


def test_the_header_of_each_shard_is_asked_for_once(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(name: str, path: str, *more: Any, **options: Any) -> bytes:
        asked.append(path)
        return fetch_range(name, path, *more, **options)

    monkeypatch.setattr("weighbridge.adapters.hub.files.fetch_range", counted)
    hub.create_repo("acme/shards", files=builders.sharded_files())
    report = weighbridge.validate(
        "hf://acme/shards", settings=Settings(endpoint=hub.url, token=hub.token)
    )
    assert report.kind is Kind.FUSED
    # Its beginning, which tells the length, and the rest; small files are looked through as well.
    shards = Counter(path for path in asked if path.endswith(".safetensors"))
    assert len(shards) == 2 and max(shards.values()) <= 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault.refuse(503, "/resolve/.*config.json"),
        Fault.refuse(500, "/tree/"),
        Fault.unreachable("/resolve/"),
        Fault.cut_answer("/resolve/.*config.json"),
    ],
)
def test_one_of_hundreds_of_answers_may_break(
    hub: HubServer, files: HubFiles, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.adapters.hub.files._PAUSES", (0.0,))
    struck = hub.inject(fault)
    assert json.loads(files.read(ROOT, ArtifactPath("config.json"))) == LLAMA and struck.hits == 1
    files = HubFiles(hub.url, hub.token)
    hub.inject(Fault.refuse(503, "/resolve/", times=2))
    with pytest.raises(RegistryUnreachable, match=r"config\.json: HTTP 503"):
        files.read(ROOT, ArtifactPath("config.json"))


def test_small_files_are_asked_for_once_and_what_is_in_a_picture_is_not(hub: HubServer) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(900_000) + b"/Users/ada/cats"
    notes = {f"notes/{n}.txt": b"of run %d" % n for n in range(40)}
    hub.create_repo("acme/old", files=builders.fused_files() | notes | {"a.png": picture})
    hub.hub.rename(hub.repo("acme/old"), "acme/new")
    hub.clear_log()
    before = hub.bytes_sent
    settings = Settings(endpoint=hub.url, token=hub.token)
    report = weighbridge.validate("hf://acme/old", settings=settings)
    asked = Counter(entry.path.rpartition("/")[2] for entry in hub.requests("GET", "/resolve/"))
    assert all(asked[name.rpartition("/")[2]] == 1 for name in notes) and asked["a.png"] == 2
    assert hub.bytes_sent - before < 200_000
    assert [f.where for f in report.findings if f.code == "SC003"] == ["a.png: line 3"]
    assert not hub.requests("GET", "/acme/old/resolve/")


@pytest.mark.parametrize("place", ["acme/none", "acme/base@none", "acme/base/none"])
def test_what_nobody_shows_is_no_verdict(hub: HubServer, place: str) -> None:
    with pytest.raises(PathMissing):
        weighbridge.validate(f"hf://{place}", settings=Settings(endpoint=hub.url, token=hub.token))


def test_a_release_names_the_commit_of_its_base(hub: HubServer, tmp_path: Path) -> None:
    """Whatever the base is called: main is another commit tomorrow."""
    settings = Settings(endpoint=hub.url, token=hub.token)
    run = builders.write(tmp_path / "run", builders.lora_files())
    commit = hub.repo("acme/base").head
    for base in (ROOT, f"{ROOT}@main", f"{ROOT}@{commit}"):
        done = weighbridge.publish(
            run, tmp_path / "shelf", name="acme/bot", base=base, settings=settings
        )
        said = json.loads((Path(done.receipt.url) / "weighbridge.json").read_text())
        first, *_ = said["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert first["uri"] == f"pkg:huggingface/acme/base@{commit}"
        assert first["digest"] == {"gitCommit": commit}
    # What it was trained on may be a copy, whose commit is none of the original.
    other = weighbridge.publish(
        run, tmp_path / "copy", name="acme/bot", base=ROOT, base_model="acme/original",
        settings=settings,
    )  # fmt: skip
    said = json.loads((Path(other.receipt.url) / "weighbridge.json").read_text())
    first, *_ = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert first["uri"] == "pkg:huggingface/acme/original"
    # The same release each time, and a plan on a base that moved is no plan any more.
    assert not done.receipt.created
    planned = weighbridge.plan(run, tmp_path / "other", name="acme/b", base=ROOT, settings=settings)
    hub.repo("acme/base").push({"note.txt": b"moved"})
    with pytest.raises(ArtifactChanged, match=r"weighbridge\.json"):
        weighbridge.publish(plan=planned, settings=settings)


class _Store(BaseHTTPRequestHandler):
    """A file of ten digits, in ways that proxies and stores have of sending it; a redirect leads to
    the same store under another name. ``seen`` has the authorisation of each request."""

    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        way, digits = self.path.rpartition("/")[2], b"0123456789"
        port = self.server.server_address[1]
        answers: dict[str, tuple[int, bytes, dict[str, str]]] = {
            "away": (302, b"", {"Location": f"http://localhost:{port}/range"}),
            "range": (206, digits[3:7], {"Content-Range": "bytes 3-6/10"}),
            "whole": (200, digits, {}),
            "packed": (200, gzip.compress(digits), {"Content-Encoding": "gzip"}),
            "other": (206, digits[:4], {"Content-Range": "bytes 0-3/10"}),
            "unsaid": (206, digits[3:7], {}),
        }
        status, body, headers = answers[way]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    _Store.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("way", ["away", "range", "whole", "packed"])
def test_a_range_is_had_from_any_server(store: str, way: str) -> None:
    asked = {"endpoint": store, "token": "hf_of_nobody", "timeout": 20}
    assert fetch_range("acme/bot", way, "main", 3, 4, **asked) == b"3456"
    ((_, first), *others) = _Store.seen
    assert first == "Bearer hf_of_nobody" and {sent for _, sent in others} <= {None}
    assert len(others) == (way == "away")


@pytest.mark.parametrize("way", ["other", "unsaid"])
def test_another_range_is_not_taken_for_the_one_asked_for(store: str, way: str) -> None:
    with pytest.raises(NoRanges):
        fetch_range("acme/bot", way, "main", 3, 4, endpoint=store, token=None, timeout=20)
