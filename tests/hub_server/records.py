"""What a repository tells about its files and its history.

Decides how git's output becomes records, and under which name commits are signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tests.hub_server.lfs import Pointer

LOG_FORMAT = "%H%n%P%n%an%n%at%n%s%n%b"


def hub_time(moment: datetime) -> str:
    """A time in UTC as the Hub writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Entry:
    """A file or folder of a revision; ``lfs`` is set for large files."""

    path: str
    is_folder: bool
    oid: str
    blob_size: int
    lfs: Pointer | None

    @property
    def size(self) -> int:
        """The size of the file itself, not of its pointer."""
        return self.lfs.size if self.lfs else self.blob_size


@dataclass(frozen=True)
class Commit:
    """One commit as ``git log`` tells it."""

    oid: str
    parents: tuple[str, ...]
    author: str
    date: str
    title: str
    message: str


def identity(name: str) -> dict[str, str]:
    """The environment that makes git sign a commit as this user."""
    who = {"NAME": name, "EMAIL": f"{name}@hub.test"}
    roles = ("AUTHOR", "COMMITTER")
    return {f"GIT_{role}_{part}": value for role in roles for part, value in who.items()}


def parse_commit(record: str) -> Commit:
    """Parse one record of ``LOG_FORMAT``."""
    oid, parents, author, seconds, title, message = record.split("\n", 5)
    date = hub_time(datetime.fromtimestamp(int(seconds), UTC))
    return Commit(oid, tuple(parents.split()), author, date, title, message.strip())
