"""Discussions and pull requests as records.

Decides how they are numbered, their status, and their shape on the wire. What a pull request
does to git is in ``handlers_discussions``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.hub_server.errors import ApiError
from tests.hub_server.records import hub_time
from tests.hub_server.storage import Repository


def now() -> str:
    """The current time as the Hub writes it."""
    return hub_time(datetime.now(UTC))


@dataclass(frozen=True)
class Discussion:
    """One discussion; a pull request also has a ref."""

    num: int
    title: str
    author: str
    is_pull_request: bool
    status: str
    events: tuple[dict[str, Any], ...] = ()
    merge_commit: str | None = None
    created_at: str = field(default_factory=now)

    @property
    def ref(self) -> str:
        """The ref that holds the proposed commits."""
        return f"refs/pr/{self.num}"

    def with_event(self, kind: str, data: dict[str, Any]) -> Discussion:
        """The same discussion after one more event."""
        event = {
            "id": f"{self.num:08x}{len(self.events):08x}",
            "type": kind,
            "createdAt": now(),
            "author": {"name": self.author},
            "data": data,
        }
        return replace(self, events=(*self.events, event))

    def with_comment(self, text: str) -> Discussion:
        """The same discussion after a comment."""
        latest = {"raw": text, "html": text}
        return self.with_event("comment", {"edited": False, "hidden": False, "latest": latest})

    def with_status(self, status: str) -> Discussion:
        """The same discussion after its status changed."""
        return replace(self.with_event("status-change", {"status": status}), status=status)

    def merged(self, commit: str) -> Discussion:
        """The same pull request after it was merged as ``commit``."""
        return replace(self.with_status("merged"), merge_commit=commit)

    def summary(self, repository: Repository) -> dict[str, Any]:
        """What a list of discussions shows."""
        return {
            "num": self.num,
            "title": self.title,
            "status": self.status,
            "author": {"name": self.author},
            "createdAt": self.created_at,
            "isPullRequest": self.is_pull_request,
            "repo": {"name": repository.repo_id, "type": repository.kind[:-1]},
        }

    def details(self, repository: Repository, diff: str) -> dict[str, Any]:
        """What the page of a discussion shows."""
        shown = self.summary(repository) | {"events": list(self.events)}
        if not self.is_pull_request:
            return shown
        changes = {"base": "refs/heads/main", "mergeCommitId": self.merge_commit}
        return shown | {"changes": changes, "filesWithConflicts": [], "diff": diff}


class Discussions:
    """The discussions of all repositories."""

    def __init__(self) -> None:
        self._by_repository: dict[Repository, dict[int, Discussion]] = {}

    def all(self, repository: Repository) -> list[Discussion]:
        """Every discussion of a repository, oldest first."""
        return list(self._by_repository.get(repository, {}).values())

    def get(self, repository: Repository, num: int) -> Discussion:
        """One discussion by number."""
        found = self._by_repository.get(repository, {}).get(num)
        if found is None:
            raise ApiError(404, "Discussion not found")
        return found

    def open(
        self, repository: Repository, title: str, author: str, *, is_pull_request: bool, status: str
    ) -> Discussion:
        """Start a discussion under the next free number."""
        with repository.lock:
            records = self._by_repository.setdefault(repository, {})
            opened = Discussion(len(records) + 1, title, author, is_pull_request, status)
            records[opened.num] = opened
            return opened

    def change(
        self, repository: Repository, num: int, step: Callable[[Discussion], Discussion]
    ) -> Discussion:
        """Replace a discussion by what ``step`` makes of it."""
        with repository.lock:
            changed = step(self.get(repository, num))
            self._by_repository[repository][num] = changed
            return changed

    def forget(self, repository: Repository) -> None:
        """Drop the discussions of a deleted repository."""
        self._by_repository.pop(repository, None)
