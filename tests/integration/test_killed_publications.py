"""A process that is killed at any moment leaves the old revision or the new; it may run again.

The command's own process, and SIGKILL. `WEIGHBRIDGE_KILLS=100` kills each so often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import weighbridge
from tests.contracts.registry import Files, Subject
from tests.places import PLACES
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.domain.publication import LocalRegistry

KILLS = int(os.environ.get("WEIGHBRIDGE_KILLS", "6"))
WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")


def variant(number: int) -> Files:
    """Files of which a few change with the number."""
    noise = random.Random(number)
    return {
        "config.json": b'{"n": %d}' % number,
        "kept.safetensors": b"kept" * 500_000,
        **{f"w{n}.safetensors": noise.randbytes(3 << 20) for n in range(3)},
    }


@pytest.fixture(params=[name for name in PLACES if name != "memory"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    with PLACES[request.param](tmp_path, monkeypatch) as made:
        yield made()


def command(source: LocalRegistry, place: Subject) -> list[str]:
    target = place.destination
    where = [str(target)]
    if isinstance(target, LocalRegistry):
        where = [target.root, "--name", target.name]
    return [WEIGHBRIDGE, "copy", "-q", source.root, "--source-name", source.name, *where]


@pytest.mark.slow
@pytest.mark.timeout(300 + 20 * KILLS)
def test_old_or_new_whenever_it_dies(place: Subject, tmp_path: Path) -> None:
    source = LocalRegistry(str(tmp_path / "source"), "acme/source")
    shelf = Subject(DirectoryRegistry(), source)
    run = command(source, place)
    old = variant(0)
    shelf.publish(old)
    began = time.monotonic()
    subprocess.run(run, check=True)
    usual = time.monotonic() - began
    clock, died = random.Random(7), 0
    for number in range(1, KILLS + 1):
        new = variant(number)
        shelf.publish(new)
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The imports are the first part of it, in which little can go wrong.
        time.sleep(usual * clock.uniform(0.3, 1.1))
        process.kill()
        died += process.wait() != 0
        assert place.holds(old) or place.holds(new)
        if number % 3 == 0:
            out = tmp_path / f"out{number}"
            weighbridge.pull(place.destination, out)  # which verifies every digest
        subprocess.run(run, check=True)
        assert place.holds(new)
        old = new
    assert died, "nothing was killed in time"
