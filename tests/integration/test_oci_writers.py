"""What two writers of one name get in two processes, where no lock of ours is between them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.contracts.registry import FIRST, SECOND, Files, Subject, blobs_of
from tests.docker_registry import DockerRegistry
from tests.docker_registry.faulty import FaultyWay
from tests.integration.test_oci_registry import on
from tests.places import PLACES
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.domain.errors import RegistryRejected, RevisionConflict
from weighbridge.domain.publication import LocalRegistry, OciRepo, S3Prefix

ROUNDS = 3
WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")


def together(commands: Sequence[Sequence[str]]) -> list[subprocess.CompletedProcess[str]]:
    """The outcomes of commands that begin at once."""
    running = [
        subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    said = [process.communicate(timeout=120) for process in running]
    return [
        subprocess.CompletedProcess(c, p.returncode, out, err)
        for c, p, (out, err) in zip(commands, running, said, strict=True)
    ]


@pytest.fixture(params=["oci", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    with PLACES[request.param](tmp_path, monkeypatch) as made:
        yield made()


@pytest.mark.slow
def test_two_processes_and_one_name(place: Subject, tmp_path: Path) -> None:
    """One of the two is there, whole, and was told so. On S3 the past holds just what was told to
    be published; on OCI a success may have been written over at once, which it cannot prevent."""
    published = 0
    variants: list[Files] = [{"config.json": b'{"writer": %d}' % n, "w": b"w"} for n in range(2)]
    shelves = [LocalRegistry(str(tmp_path / f"s{n}"), "acme/m") for n in range(2)]
    for number in range(ROUNDS):
        contents = [{**each, "round": b"%d" % number} for each in variants]
        for shelf, content in zip(shelves, contents, strict=True):
            Subject(DirectoryRegistry(), shelf).publish(content)
        outcomes = together(
            [[WEIGHBRIDGE, "copy", "--format", "json", shelf.root, "--source-name", shelf.name,
              str(place.destination)] for shelf in shelves]
        )  # fmt: skip
        held = [place.holds(content) for content in contents]
        assert sorted(held) == [False, True]
        won = [outcome.returncode == 0 for outcome in outcomes]
        assert won[held.index(True)], outcomes
        published += sum(won)
        if isinstance(place.destination, S3Prefix):
            assert len(place.registry.history(place.destination, limit=100)) == published
        for outcome in outcomes:
            if outcome.returncode == 0:
                assert json.loads(outcome.stdout)
            else:
                assert "the head is now" in outcome.stderr or "at the same moment" in outcome.stderr


def test_a_writer_who_comes_in_between_is_overwritten_and_the_docs_say_so(
    plain: DockerRegistry, way: FaultyWay
) -> None:
    """Between the last look at the tag and the manifest: the later write is what the tag names."""
    place = on(way.host)
    place.publish(FIRST)
    assert isinstance(place.destination, OciRepo)
    other = on(plain.host, name=place.destination.name)
    plan = place.plan(SECOND)
    between = {"config.json": b"between"}
    way.meanwhile("before", "PUT", "/manifests/v1", lambda: other.publish(between))
    assert place.push(plan, blobs_of(plan, SECOND)).created and place.holds(SECOND)
    docs = Path(__file__).parents[2] / "docs" / "how-to" / "publish-to-oci.md"
    assert "no compare-and-swap" in docs.read_text()


@pytest.mark.parametrize("answer", ["given", "lost"])
def test_a_writer_who_comes_right_after_is_noticed(
    answer: str, plain: DockerRegistry, way: FaultyWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    place = on(way.host)
    place.publish(FIRST)
    assert isinstance(place.destination, OciRepo)
    other = on(plain.host, name=place.destination.name)
    plan = place.plan(SECOND)
    way.trouble("lost", "PUT", "/manifests/v1", 1 if answer == "lost" else 0)
    later = {"config.json": b"after"}
    way.meanwhile("after", "PUT", "/manifests/v1", lambda: other.publish(later))
    with pytest.raises(RevisionConflict, match="by another writer") as failed:
        place.push(plan, blobs_of(plan, SECOND))
    assert place.holds(later) and failed.value.expected == plan.parent
    assert ("at the same moment" in str(failed.value)) is (answer == "given")


@pytest.mark.parametrize("parent", [False, True], ids=["new", "moved"])
def test_a_registry_that_compares(
    parent: bool, way: FaultyWay, plain: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP's conditions close the gap, where a registry knows them; docker's takes no notice."""
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    place = on(way.host)
    assert isinstance(place.destination, OciRepo)
    before = place.publish(FIRST).revision if parent else None
    other = on(plain.host, name=place.destination.name)
    plan = place.plan(SECOND)
    later = {"config.json": b"later"}
    way.meanwhile("before", "PUT", "/manifests/v1", lambda: other.publish(later))
    way.compares = True
    with pytest.raises(RevisionConflict, match="but the head is now sha256:") as lost:
        place.push(plan, blobs_of(plan, SECOND))
    assert lost.value.expected == before and place.holds(later)
    # Of one that compares something else, or says 412 to any writer, no harm is done.
    trouble = way.trouble(412, "PUT", "/manifests/v1")
    assert place.publish(SECOND).created and place.holds(SECOND) and trouble.hits
    way.trouble(412, "PUT", "/manifests/v1", 2)
    with pytest.raises(RegistryRejected, match="writing the manifest: HTTP 412"):
        place.publish(FIRST)


@pytest.mark.parametrize("looks", [2, 100])
def test_a_registry_that_tells_what_was(
    looks: int, way: FaultyWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    place = on(way.host)
    way.meanwhile("after", "PUT", "/manifests/v1",
                  lambda: way.trouble(404, "GET", "/manifests/v1", looks))  # fmt: skip
    if looks == 2:
        assert place.publish(FIRST).created and place.holds(FIRST)
    else:
        with pytest.raises(RegistryRejected, match="but the tag still names nothing"):
            place.publish(FIRST)
