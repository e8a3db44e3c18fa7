"""What a token may do with a repository, as far as a server tells before anything is sent."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.adapters.hub.patience import patiently
from weighbridge.adapters.hub.refs import Refs
from weighbridge.adapters.hub.silence import ServerSilent
from weighbridge.domain.errors import (
    DestinationMissing,
    PermissionDenied,
    RegistryRejected,
    RegistryUnreachable,
    Unsupported,
    UsageError,
)

if TYPE_CHECKING:
    from weighbridge.adapters.hub.patience import Patience
    from weighbridge.adapters.hub.remote import Remote

_PULL_REQUEST = re.compile(r"refs/pr/\d+")
COMMIT = re.compile(r"[0-9a-fA-F]{40}")
# What a server says that does not know the question.
_UNKNOWN = (DestinationMissing, RegistryRejected, RegistryUnreachable)


@frozen
class Access:
    """One repository, asked about with one token. Writes nothing."""

    remote: Remote

    @property
    def patience(self) -> Patience:
        """Whose requests these are."""
        return self.remote.patience

    def check(self, *, pull_request: bool, writing: bool = True) -> None:
        """Raises AuthenticationFailed, PermissionDenied, Unsupported, UsageError; passes if it
        cannot tell."""
        self._require_branch()
        if pull_request:
            self._require_pull_requests()
        if writing:
            (self._require_role if pull_request else self._require_write)()

    def _require_branch(self) -> None:
        """A tag or a commit can be read, but nothing can be put on it."""
        name = self.remote.repo.revision
        if name == "main" or _PULL_REQUEST.fullmatch(name):
            return
        if name == "HEAD" or name.startswith("refs/") or COMMIT.fullmatch(name):
            raise UsageError(problem=f"{self.remote.repo}: {name} cannot be the name of a branch")
        if Refs(self.remote).is_tag(name):
            raise UsageError(
                problem=f"{self.remote.repo}: {name} is a tag; publish to a branch, with --tag "
                f"{name} --move-tag to have the tag name what is published"
            )

    @patiently
    def _require_write(self) -> None:
        api = self.remote.api
        if "write" not in inspect.signature(api.auth_check).parameters:
            return self._require_role()
        try:
            with self.remote.errors.calls():
                api.auth_check(self.remote.repo.name, write=True)
        except ServerSilent:
            raise
        except PermissionDenied as error:
            self._require_role()  # which may say it better
            error.reason += "; whoever may not write can propose: --pull-request"
            raise
        except _UNKNOWN:  # There is no repository yet, or the question is not known.
            self._require_role()

    @patiently
    def _require_role(self) -> None:
        """A token that can only read, or that is for other repositories."""
        try:
            with self.remote.errors.calls():
                who = self.remote.api.whoami()
        except ServerSilent:
            raise
        except _UNKNOWN:
            return
        token = _inside(who, "auth", "accessToken")
        if _inside(token, "role") == "read":
            raise self._denied("the token may read, but not write")
        if not _grants_write(_inside(token, "fineGrained", "scoped"), self.remote.repo.name):
            raise self._denied("the token may not write there: it is fine-grained, and has no "
                               f"repo.write for {self.remote.repo.name}")  # fmt: skip

    def _denied(self, why: str) -> PermissionDenied:
        return PermissionDenied(
            destination=str(self.remote.repo), reason=f"{why}. Nothing was uploaded"
        )

    @patiently
    def _require_pull_requests(self) -> None:
        repo = self.remote.repo
        if repo.revision != "main":
            reason = f"a pull request is to main, not to {repo.revision}"
            raise Unsupported(destination=str(repo), reason=reason)
        if self.remote.is_private() is None:
            reason = "there is no repository yet to which something could be proposed"
            raise Unsupported(destination=str(repo), reason=reason)
        try:
            with self.remote.errors.calls():
                next(iter(self.remote.api.get_repo_discussions(repo.name)), None)
        except _UNKNOWN as error:
            raise no_pull_requests(self.remote, error.reason) from error


def _inside(value: Any, *names: str) -> Any:
    """What a server tells below those names; None if it does not."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _grants_write(scoped: Any, name: str) -> bool:
    """Whether a fine-grained token may write there; also if that is not told as it is known."""
    if not isinstance(scoped, list) or not all(
        isinstance(_inside(each, "permissions"), list) for each in scoped
    ):
        return True
    places = (name, name.partition("/")[0])
    return any(
        _inside(each, "entity", "name") in places and "repo.write" in each["permissions"]
        for each in scoped
    )


def no_pull_requests(remote: Remote, words: str) -> Unsupported:
    """What is said of a server that has none."""
    return Unsupported(
        destination=str(remote.repo),
        reason=f"this server has no pull requests ({words}). Nothing was uploaded; publish to a "
        "--branch instead",
    )
