"""What can go wrong, and how the Hub says it over HTTP.

Decides the status, ``X-Error-Code`` and wording of every refusal. Storage raises the plain
exceptions below and knows nothing of HTTP; ``as_api_error`` is the only translation.
"""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """A refusal that is already worded for the client."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class StorageError(Exception):
    """A repository cannot do what was asked of it."""


class UnknownRevision(StorageError):
    """No branch, tag or commit has this name."""


class UnknownEntry(StorageError):
    """The revision holds no such file or folder."""


class StaleParent(StorageError):
    """The branch moved after the caller looked at it."""


class RefExists(StorageError):
    """A branch or tag with this name is already there."""


class Rejected(StorageError):
    """The content itself is unacceptable."""


class MergeConflict(StorageError):
    """The pull request cannot be merged automatically."""


_TRANSLATION: dict[type[StorageError], tuple[int, str | None]] = {
    UnknownRevision: (404, "RevisionNotFound"),
    UnknownEntry: (404, "EntryNotFound"),
    StaleParent: (412, None),
    RefExists: (409, None),
    Rejected: (400, None),
    MergeConflict: (409, None),
}


def as_api_error(error: StorageError) -> ApiError:
    """Word a storage failure the way the Hub does."""
    status, code = _TRANSLATION.get(type(error), (500, None))
    return ApiError(status, str(error), code)


def repository_not_found(*, anonymous: bool) -> ApiError:
    """Hide whether a repository exists: 401 for strangers, 404 for signed-in ones."""
    if anonymous:
        return ApiError(401, "Invalid username or password.", "RepoNotFound")
    return ApiError(404, "Repository not found", "RepoNotFound")
