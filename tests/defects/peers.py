"""The other checkers: each in a virtual environment of its own, since they conflict."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

BUILD = Path(__file__).resolve().parents[2] / ".build"
_HOMES = BUILD / "peers"
#: What a checker may take of a processor for one directory.
SECONDS = 60
HANG = "hang"
TIMERS = {signal.SIGPROF, signal.SIGALRM}
#: One thread, no network, no telling home.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
}


@frozen
class Ran:
    """What a command left behind."""

    code: int
    out: str
    directory: Path


@frozen
class Peer:
    """A checker: its package, its arguments before the directory, and how to read its report."""

    package: str
    arguments: tuple[str, ...]
    findings: Callable[[Ran], Iterator[str]]

    @property
    def home(self) -> Path:
        return _HOMES / self.package


def install(peer: Peer) -> str | None:
    """The version that is installed now; None if it cannot be had here."""
    python = peer.home / "bin" / "python"
    try:
        if not python.exists():
            _call([sys.executable, "-m", "venv", str(peer.home)])
        _call([str(python), "-m", "pip", "install", "-q", peer.package])
        asked = f"from importlib.metadata import version; print(version({peer.package!r}))"
        return _call([str(python), "-c", asked]).strip()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def run(peer: Peer, listed: Path) -> None:
    """Run it on each directory of the list; ``reactions`` reads what it said."""
    command = [str(peer.home / "bin" / "python"), str(Path(__file__).with_name("forked.py"))]
    command += [peer.package, str(SECONDS), str(listed), *peer.arguments]
    subprocess.run(command, env=os.environ | QUIET, stdin=subprocess.DEVNULL, check=True)


def reactions(peer: Peer, directory: Path) -> set[str]:
    """All that it said of the directory, in a form that can be compared with a twin's."""
    code = int(directory.with_name(f"{peer.package}.code").read_text())
    if -code in TIMERS:
        return {HANG}
    out = directory.with_name(f"{peer.package}.out").read_text("utf-8", "replace")
    found = {_plain(finding, directory) for finding in peer.findings(Ran(code, out, directory))}
    return found | {f"exit code {code}"}


def _plain(text: str, directory: Path) -> str:
    """Without what differs between two runs on like directories: the path, counts and sizes."""
    return re.sub(r"\d+", "#", text.replace(str(directory), ""))


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return done.stdout


def _table(text: str) -> Any:
    """The JSON object within what was printed; empty if there is none, as after a crash."""
    begin = text.find("{")
    try:
        return json.loads(text[begin:], strict=False) if begin >= 0 else {}
    except ValueError:
        return {}


def _doctor(ran: Ran) -> Iterator[str]:
    for one in _table(ran.out).get("results", ()):
        if one["status"] not in {"pass", "skip"}:
            yield f"{one['check_id']} {one['status']}: {one['message']}"


def _modelscan(ran: Ran) -> Iterator[str]:
    report = _table(ran.out.replace("\n", ""))
    yield from (f"{one['severity']}: {one['description']}" for one in report.get("issues", ()))
    yield from (f"error {one}" for one in report.get("errors", ()))


def _modelaudit(ran: Ran) -> Iterator[str]:
    for one in _table(ran.out).get("issues", ()):
        yield f"{one['severity']}: {one['message']} ({one.get('location')})"


def _picklescan(ran: Ran) -> Iterator[str]:
    ours = (line for line in ran.out.splitlines() if not line.startswith("Scanned files"))
    yield from (line for line in ours if not re.search(r": 0$|SUMMARY", line))


PEERS = (
    Peer("modelaudit", ("scan", "--no-cache", "--format", "json"), _modelaudit),
    Peer("mlx-model-doctor", ("check", "local", "--format", "json"), _doctor),
    Peer("modelscan", ("scan", "-r", "json", "-p"), _modelscan),
    Peer("picklescan", ("-p",), _picklescan),
)
