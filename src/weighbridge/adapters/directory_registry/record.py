"""What the cache layout has no place for: the history of a model's refs, and which refs are tags.

Decides that a line is written before the ref moves, so that a line too many may be left by a
crash but never one too few; such a line is passed over by whoever knows where the ref is. Loaders
and the Hub's cache tools do not look into the directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weighbridge.adapters.directory_registry import storage
from weighbridge.domain.publication import Revision


class Record:
    """The record of one model; writing needs the model's lock."""

    def __init__(self, model: Path) -> None:
        self._folder = model / ".weighbridge"
        self._history = self._folder / "history.jsonl"
        self._tags = self._folder / "tags.json"

    def history(self, ref: str) -> Iterator[Revision]:
        """Whatever a ref was made to name, the last first."""
        try:
            lines = self._history.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in reversed(lines):
            entry = _object(line)
            if entry.get("ref") == ref:
                said = [str(entry.get(name, "")) for name in ("revision", "when", "message")]
                yield Revision(said[0], said[1], said[2])

    def add(self, ref: str, revision: str, message: str) -> None:
        """Note what a ref is about to name."""
        now = iso(datetime.now(UTC))
        entry = {"ref": ref, "revision": revision, "when": now, "message": message}
        self._folder.mkdir(exist_ok=True)
        with self._history.open("ab+") as file:
            file.write(_line_end(file) + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        storage.sync_directory(self._folder)

    def tags(self) -> Mapping[str, str]:
        """The revision of each tag."""
        try:
            found = _object(self._tags.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {str(name): str(revision) for name, revision in found.items()}

    def set_tag(self, work: Path, name: str, revision: str) -> None:
        """Note that a ref is a tag, and what it names."""
        self._folder.mkdir(exist_ok=True)
        storage.write_text(work / "tags", json.dumps({**self.tags(), name: revision}, indent=1))
        os.replace(work / "tags", self._tags)
        storage.sync_directory(self._folder)


def iso(moment: datetime) -> str:
    """A moment in UTC as it is told."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line_end(file: Any) -> bytes:
    """What a write that a power failure cut short left to be ended."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
