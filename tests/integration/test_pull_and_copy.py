"""Pulling and copying between real registries: what arrives, what is refused, what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import weighbridge
from tests.contracts.registry import FIRST, LARGE, SECOND, Files, Subject
from tests.docker_registry import DockerRegistry
from tests.hub_server import Fault, HubServer
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.hub import HubRegistry
from weighbridge.adapters.numpy_comparison import NumpyComparer
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.application.compare import Compare
from weighbridge.domain.errors import (
    ArtifactChanged,
    ContentMismatch,
    DestinationMissing,
    NotAnOutput,
    OutputExists,
    RegistryRejected,
    RegistryUnreachable,
    UsageError,
    VisibilityMismatch,
)
from weighbridge.domain.publication import HubRepo, LocalRegistry, OciRepo
from weighbridge.entrypoints.settings import Settings

HUB = "hf://acme/m"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer(xet=False) as running:
        yield running


@pytest.fixture
def settings(hub: HubServer) -> Settings:
    return Settings(endpoint=hub.url, token=hub.token)


def on_hub(hub: HubServer, name: str = "acme/m") -> Subject:
    return Subject(HubRegistry(hub.url, hub.token), HubRepo(name), hub.token)


def on_shelf(shelf: Path, name: str = "acme/m") -> Subject:
    return Subject(DirectoryRegistry(), LocalRegistry(str(shelf), name))


def read(directory: Path) -> Files:
    return {
        p.relative_to(directory).as_posix(): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file()
    }


# --- pull ----------------------------------------------------------------------------------------


def test_what_is_pulled_is_what_was_published(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    old = on_hub(hub).publish(FIRST)
    on_hub(hub).publish(SECOND)
    told: list[tuple[str, int, int]] = []
    done = weighbridge.pull(
        HUB, tmp_path / "new", settings=settings, progress=lambda *step: told.append(step)
    )
    assert read(tmp_path / "new") == SECOND  # and no .gitattributes
    assert all(entry.digest("sha256") for entry in done.entries)
    total = sum(map(len, SECOND.values()))
    assert told[0] == ("download", 0, total) and told[-1] == ("download", total, total)
    done = weighbridge.pull(f"{HUB}@{old.revision}", tmp_path / "old", settings=settings)
    assert read(tmp_path / "old") == FIRST and done.revision == old.revision


@pytest.mark.parametrize("folder", ["shelf", "she@lf"])
def test_a_directory_registry_is_pulled_from_by_branch_and_by_revision(
    tmp_path: Path, folder: str
) -> None:
    shelf = tmp_path / folder
    old = on_shelf(shelf).publish(FIRST)
    on_shelf(shelf).publish(SECOND)
    for number, (where, name, files) in enumerate((
        (shelf, "acme/m", SECOND),
        (shelf, f"acme/m@{old.revision}", FIRST),
        (f"{shelf}@{old.revision[:8]}", "acme/m", FIRST),  # as ``diff`` takes it
    )):  # fmt: skip
        weighbridge.pull(where, tmp_path / str(number), name=name)
        assert read(tmp_path / str(number)) == files


def test_an_output_is_never_replaced_unasked(tmp_path: Path) -> None:
    on_shelf(tmp_path / "shelf").publish({"config.json": b"{}"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(OutputExists):
        weighbridge.pull(tmp_path / "shelf", tmp_path / "out", name="acme/m")
    assert read(tmp_path / "out") == {"mine.txt": b"kept"}


def test_an_earlier_pull_is_replaced_with_its_directories(tmp_path: Path) -> None:
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    on_shelf(shelf).publish(FIRST)
    weighbridge.pull(shelf, out, name="acme/m")
    on_shelf(shelf).publish(SECOND)
    weighbridge.pull(shelf, out, name="acme/m", force=True)
    assert read(out) == SECOND


@pytest.mark.parametrize("foreign", ["mine/notes.txt", "weights/notes/x.txt", "weights/more/a/b"])
def test_a_directory_with_others_in_it_is_not_replaced(tmp_path: Path, foreign: str) -> None:
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    on_shelf(shelf).publish(FIRST)
    weighbridge.pull(shelf, out, name="acme/m")
    (out / foreign).parent.mkdir(parents=True)
    (out / foreign).write_text("kept")
    with pytest.raises(NotAnOutput, match=f"holds {foreign}, and the output has no directory"):
        weighbridge.pull(shelf, out, name="acme/m", force=True)
    assert read(out) == {**FIRST, foreign: b"kept"}


def test_what_is_not_there(hub: HubServer, settings: Settings, tmp_path: Path) -> None:
    on_shelf(tmp_path / "shelf").publish(FIRST)
    for source, name in ((HUB, None), (tmp_path / "shelf", "acme/none")):
        with pytest.raises(DestinationMissing):
            weighbridge.pull(source, tmp_path / "out", name=name, settings=settings)
    assert not (tmp_path / "out").exists()


def test_bytes_that_were_not_announced_are_not_kept(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    on_shelf(shelf).publish(FIRST)
    blob = next(p for p in shelf.rglob("blobs/*") if p.stat().st_size == len(LARGE))
    blob.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(ContentMismatch, match=r"weights/more/part\.safetensors"):
        weighbridge.pull(shelf, tmp_path / "out", name="acme/m")
    with pytest.raises(ArtifactChanged, match=r"weights/more/part\.safetensors"):
        weighbridge.copy(shelf, tmp_path / "other", source_name="acme/m", name="acme/m")
    assert not (tmp_path / "out").exists()
    assert (
        on_shelf(tmp_path / "other").registry.head(LocalRegistry(str(tmp_path / "other"), "acme/m"))
        is None
    )


def test_a_link_out_of_the_registry_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("private")
    receipt = on_shelf(tmp_path / "shelf").publish(FIRST)
    (Path(receipt.url) / "notes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(RegistryRejected, match="leads out"):
        weighbridge.pull(tmp_path / "shelf", tmp_path / "out", name="acme/m")
    assert not (tmp_path / "out").exists()


def test_a_broken_download_asks_for_the_rest(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    on_hub(hub).publish(FIRST)
    before = hub.bytes_sent
    fault = hub.inject(Fault.cut_answer("/_lfs/", "GET", times=2))
    weighbridge.pull(HUB, tmp_path / "out", settings=settings)
    assert fault.hits == 2 and read(tmp_path / "out") == FIRST
    assert hub.bytes_sent - before < sum(map(len, FIRST.values())) + 100_000


def test_a_download_that_never_gets_through(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    on_hub(hub).publish(FIRST)
    hub.inject(Fault.cut_answer("/_lfs/", "GET", times=None))
    with pytest.raises(RegistryUnreachable):
        weighbridge.pull(HUB, tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


# --- copy ----------------------------------------------------------------------------------------


def test_from_the_hub_to_a_directory_and_back(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    on_hub(hub).publish(FIRST)
    shelf = tmp_path / "shelf"
    first = weighbridge.copy(HUB, shelf, name="acme/m", settings=settings)
    assert first.receipt is not None and first.receipt.created
    assert on_shelf(shelf).holds(FIRST)
    back = weighbridge.copy(shelf, "hf://acme/again", source_name="acme/m", settings=settings)
    assert back.receipt is not None and back.receipt.created
    assert on_hub(hub, "acme/again").holds(FIRST)
    # From Hub to Hub large files pass through a file on the disk, which is gone afterwards.
    onward = weighbridge.copy("hf://acme/again", "hf://acme/third", settings=settings)
    assert onward.receipt is not None and on_hub(hub, "acme/third").holds(FIRST)
    for source, to, names in (
        (HUB, shelf, {"name": "acme/m"}),
        (shelf, "hf://acme/again", {"source_name": "acme/m"}),
        ("hf://acme/again", "hf://acme/third", {}),
    ):
        again = weighbridge.copy(source, to, settings=settings, **names)  # type: ignore[arg-type]
        assert again.plan.is_noop and again.receipt is not None and not again.receipt.created


def test_what_is_equal_has_another_digest_elsewhere(hub: HubServer, tmp_path: Path) -> None:
    on_hub(hub).publish(FIRST)
    with DockerRegistry(tmp_path) as server:  # which knows the sha256 only
        held = Subject(OciRegistry(), OciRepo(server.host, "acme/m", "v1"))
        held.publish(FIRST)
        registries = {HubRepo: on_hub(hub).registry, OciRepo: held.registry}
        compare = Compare(registries, NumpyComparer())
        for sides in ((HubRepo("acme/m"), held.destination), (held.destination, HubRepo("acme/m"))):
            assert {c.action for c in compare(*sides).changes} == {"keep"}


def test_a_copy_makes_the_destination_equal(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    on_hub(hub).publish(SECOND)
    shelf = tmp_path / "shelf"
    on_shelf(shelf).publish(FIRST)
    planned = weighbridge.copy(HUB, shelf, name="acme/m", dry_run=True, settings=settings)
    assert planned.receipt is None and on_shelf(shelf).holds(FIRST)
    assert {c.path.text for c in planned.plan.of("remove")} == {"empty.txt", "weights/notes.txt"}
    assert {c.path.text for c in planned.plan.of("keep")} == {
        "README.md", "weights/more/part.safetensors"
    }  # fmt: skip
    weighbridge.copy(HUB, shelf, name="acme/m", settings=settings)
    assert on_shelf(shelf).holds(SECOND)


def test_nothing_private_becomes_public_by_a_copy(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    on_shelf(tmp_path / "shelf").publish(FIRST)
    hub.create_repo("acme/open", private=False)
    before = len(hub.repo("acme/open").commits())
    with pytest.raises(VisibilityMismatch):
        weighbridge.copy(
            tmp_path / "shelf", "hf://acme/open", source_name="acme/m", settings=settings
        )
    assert len(hub.repo("acme/open").commits()) == before and not hub.requests("PUT")
    weighbridge.copy(
        tmp_path / "shelf", "hf://acme/open", source_name="acme/m", public=True, settings=settings
    )
    assert on_hub(hub, "acme/open").holds(FIRST)


def test_a_copy_onto_itself_is_a_mistake(settings: Settings) -> None:
    with pytest.raises(UsageError, match="both"):
        weighbridge.copy(HUB, HUB, settings=settings)
