"""``python -m tests.defects``: run every checker on every defect, and write docs/defects.md.

With ``--page`` the other checkers are not run again: what they said is in .build/defects.json.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import DEFECTS, Twin, base_of, good_twin, spoiled
from .loaders import LOADERS
from .page import PAGE, Column, page
from .peers import BUILD, PEERS, QUIET, Peer, install, reactions, run
from .seen import codes

_SAID = BUILD / "defects.json"
_ROOT = Path(__file__).resolve().parents[2]
#: The directories of a run by name; the twins are among them.
Places = dict[str, Path]


def _places(scratch: Path) -> Places:
    made = {name: _spoiled(name, scratch) for name in DEFECTS}
    return made | {twin.value: _copied(twin, scratch) for twin in Twin}


def _copied(twin: Twin, scratch: Path) -> Path:
    return Path(shutil.copytree(good_twin(twin), scratch / twin.value / "model"))


def _spoiled(name: str, scratch: Path) -> Path:
    (scratch / name).mkdir()
    return spoiled(DEFECTS[name], scratch / name)


def _of_peer(peer: Peer, places: Places, listed: Path) -> dict[str, list[str]]:
    run(peer, listed)
    return {name: sorted(reactions(peer, place)) for name, place in places.items()}


def _of_loader(loader: str, places: Places, listed: Path) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.defects.loaders", loader, str(listed)],
        env=os.environ | QUIET,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")]
    return dict(zip(places, lines, strict=True))


def _said() -> dict[str, Any]:
    """What every other checker says of every directory."""
    said: dict[str, Any] = {"date": datetime.date.today().isoformat(), "columns": {}}
    with tempfile.TemporaryDirectory() as held, ThreadPoolExecutor(2) as pool:
        scratch = Path(held)
        places = _places(scratch)
        listed = scratch / "directories.txt"
        listed.write_text("".join(f"{place}\n" for place in places.values()))
        versions = {peer.package: install(peer) for peer in PEERS}
        runs = {
            peer.package: pool.submit(_of_peer, peer, places, listed)
            for peer in PEERS
            if versions[peer.package]
        }
        runs |= {one: pool.submit(_of_loader, one, places, listed) for one in LOADERS}
        for name, running in runs.items():
            installed = versions.get(name) or version(name)
            said["columns"][name] = {"version": installed, "said": running.result()}
    return said


def main(arguments: Iterable[str]) -> None:
    """Write the page."""
    if "--page" not in arguments:
        said = _said()
        BUILD.mkdir(exist_ok=True)
        _SAID.write_text(json.dumps(said, indent=1))
    said = json.loads(_SAID.read_text())
    columns = [Column(n, c["version"], c["said"]) for n, c in said["columns"].items()]
    ours = {name: _seen(name) for name in DEFECTS}
    PAGE.write_text(page(said["date"], ours, columns), encoding="utf-8")


def _seen(name: str) -> set[str]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = spoiled(DEFECTS[name], Path(scratch))
        return codes(directory, base_of(DEFECTS[name], directory))


if __name__ == "__main__":
    main(sys.argv[1:])
