"""What an interrupted upload costs on the next run: what had not arrived, and by LFS the files that
were on their way, which that protocol takes only whole."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.contracts.registry import Files, Subject, blobs_of
from tests.hub_server import Fault, HubServer
from tests.places import PLACES
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.application.ports import Blob
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.publication import LocalRegistry

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
MIB = 1 << 20
SHARD = 3 * MIB
#: Requests without the content of files, and the part that was on its way in a block.
AROUND = 256 << 10


def shards(count: int) -> Files:
    noise = random.Random(7)
    return {f"w{n}.safetensors": noise.randbytes(SHARD) for n in range(count)}


class _Breaks(io.BytesIO):
    """A file at whose middle somebody presses Ctrl-C."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= SHARD // 2:
            raise KeyboardInterrupt
        return super().read(size)


def counted(
    blobs: Mapping[ArtifactPath, Blob], opened: Counter[str], breaks: str = ""
) -> dict[ArtifactPath, Blob]:
    """Blobs that tell how often they are opened, one of which breaks."""

    def opener(path: ArtifactPath, blob: Blob) -> Callable[[], io.BytesIO]:
        def call() -> io.BytesIO:
            opened[path.text] += 1
            with blob.open() as stream:
                return (_Breaks if path.text == breaks else io.BytesIO)(stream.read())

        return call

    return {path: Blob(b.entry, opener(path, b)) for path, b in blobs.items()}


@pytest.fixture(params=["directory", "oci", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    with PLACES[request.param](tmp_path, monkeypatch) as made:
        yield made()


def test_whole_files_are_not_sent_again(place: Subject) -> None:
    files = shards(3)
    plan, opened = place.plan(files), Counter[str]()
    with pytest.raises(KeyboardInterrupt):
        place.push(plan, counted(blobs_of(plan, files), opened, breaks="w2.safetensors"))
    assert place.registry.head(place.destination) is None
    opened.clear()
    seen: list[tuple[str, int, int]] = []
    place.registry.push(
        plan, counted(blobs_of(plan, files), opened), message="again",
        progress=lambda *told: seen.append(told),
    )  # fmt: skip
    assert opened == {"w2.safetensors": 1}
    assert place.holds(files)
    sent = [told[1:] for told in seen if told[0] == "upload"]
    assert sent[0] == (0, SHARD) and sent[-1] == (SHARD, SHARD)


def test_unchanged_files_of_a_changed_model_are_not_copied(place: Subject) -> None:
    files = shards(2)
    place.publish(files)
    changed = {**files, "config.json": b'{"n": 7}'}
    plan, opened = place.plan(changed), Counter[str]()
    place.push(plan, counted(blobs_of(plan, changed), opened))
    assert opened == {"config.json": 1}
    assert place.holds(changed)


def test_a_damaged_file_that_was_left_is_not_taken(tmp_path: Path) -> None:
    place = Subject(DirectoryRegistry(), LocalRegistry(str(tmp_path), "acme/m"))
    files = shards(2)
    plan, opened = place.plan(files), Counter[str]()
    with pytest.raises(KeyboardInterrupt):
        place.push(plan, counted(blobs_of(plan, files), opened, breaks="w1.safetensors"))
    [left] = tmp_path.glob("models--acme--m/.weighbridge-*/blobs/*")
    left.write_bytes(b"?" + left.read_bytes()[1:])
    opened.clear()
    place.push(plan, counted(blobs_of(plan, files), opened))
    assert opened == {"w0.safetensors": 1, "w1.safetensors": 1}
    assert place.holds(files)
    assert not list(tmp_path.glob("models--acme--m/.weighbridge-*"))


# --- the Hub, by LFS -----------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(xet=False, part_size=MIB) as running:
        for name, value in (
            ("HF_ENDPOINT", running.url), ("HF_TOKEN", running.token),
            ("HF_HOME", str(tmp_path / "home")), ("NO_PROXY", "127.0.0.1,localhost"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        yield running


def command(tmp_path: Path, files: Files) -> list[str]:
    """The command that copies those files to the Hub."""
    source = LocalRegistry(str(tmp_path / "source"), "acme/source")
    Subject(DirectoryRegistry(), source).publish(files)
    return [WEIGHBRIDGE, "copy", "-q", source.root, "--source-name", source.name, "hf://acme/m"]


def arrived(hub: HubServer) -> int:
    """How many shards are there whole."""
    if not hub.has_repo("acme/m"):
        return 0
    stored = (hub.repo("acme/m").git_dir / "lfs" / "objects").rglob("*")
    return sum(path.is_file() and path.stat().st_size == SHARD for path in stored)


def costs(hub: HubServer, run: list[str]) -> int:
    """Bytes that a run which succeeds sends."""
    before = hub.bytes_received
    subprocess.run(run, check=True)
    return hub.bytes_received - before


def interruptible(run: list[str]) -> subprocess.Popen[bytes]:
    """A run that Ctrl-C reaches: a test runner in the background hands down that it does not."""
    return subprocess.Popen(
        run, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_dead_upload_costs_what_had_not_arrived(
    hub: HubServer, tmp_path: Path, sent: signal.Signals
) -> None:
    files = shards(6)
    run = command(tmp_path, files)
    hub.inject(Fault.slow(0.1, path="/part/", times=None))
    process = interruptible(run)
    while arrived(hub) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait() != 0
    hub.clear_faults()
    there = arrived(hub)
    assert 3 <= there < 6
    # No more than two are on their way at once.
    assert hub.bytes_received < (there + 2) * SHARD + AROUND
    missing = (6 - there) * SHARD
    assert missing <= costs(hub, run) < missing + AROUND
    assert costs(hub, run) < AROUND
    assert set(files) < set(hub.repo("acme/m").files())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_does_not_wait_for_the_files_on_their_way(
    hub: HubServer, tmp_path: Path, number: signal.Signals
) -> None:
    noise = random.Random(8)
    run = command(tmp_path, {f"w{n}.safetensors": noise.randbytes(12 * MIB) for n in range(2)})
    hub.inject(Fault.slow(0.3, path="/part/", times=None))
    process = interruptible(run)
    while hub.bytes_received < 2 * MIB:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert hub.bytes_received < 12 * MIB
    assert len(hub.repo("acme/m").commits()) == 1


def test_a_broken_connection_costs_a_part(hub: HubServer, tmp_path: Path) -> None:
    """The client sends the part again that was on its way, and no other."""
    files = shards(2)
    run = command(tmp_path, files)
    dropped = hub.inject(Fault.unreachable(path="/part/2", method="PUT", times=2))
    assert costs(hub, run) < 2 * SHARD + 2 * MIB + AROUND
    assert dropped.hits == 2


@pytest.mark.slow
def test_a_network_that_is_gone_costs_what_had_not_arrived(hub: HubServer, tmp_path: Path) -> None:
    files = shards(4)
    run = command(tmp_path, files)
    hub.inject(Fault(path="/part/", method="PUT", times=None, skip=7, end="drop"))
    failed = subprocess.run(run, capture_output=True, text=True, check=False)
    assert failed.returncode == 4, failed.stderr
    hub.clear_faults()
    missing = (4 - arrived(hub)) * SHARD
    assert 0 < missing < 4 * SHARD
    assert missing <= costs(hub, run) < missing + AROUND
