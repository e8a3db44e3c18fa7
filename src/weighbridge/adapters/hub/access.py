"""What a token may do with a repository, as far as a server tells before anything is sent."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.adapters.hub.patience import patiently
from weighbridge.adapters.hub.silence import ServerSilent
from weighbridge.domain.errors import (
    DestinationMissing,
    PermissionDenied,
    RegistryRejected,
    RegistryUnreachable,
    Unsupported,
)

if TYPE_CHECKING:
    from weighbridge.adapters.hub.patience import Patience
    from weighbridge.adapters.hub.remote import Remote

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

    def check(self, *, pull_request: bool) -> None:
        """Raises AuthenticationFailed, PermissionDenied, Unsupported; passes if it cannot tell."""
        if pull_request:
            self._require_pull_requests()
            self._require_role()
        else:
            self._require_write()

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
        except _UNKNOWN:  # There is no repository yet, or the question is not known.
            self._require_role()

    @patiently
    def _require_role(self) -> None:
        """A token that can only read. Of a fine-grained one nobody knows before it is tried."""
        try:
            with self.remote.errors.calls():
                who = self.remote.api.whoami()
        except ServerSilent:
            raise
        except _UNKNOWN:
            return
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise PermissionDenied(
                destination=str(self.remote.repo),
                reason="the token may read, but not write. Nothing was uploaded",
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


def no_pull_requests(remote: Remote, words: str) -> Unsupported:
    """What is said of a server that has none."""
    return Unsupported(
        destination=str(remote.repo),
        reason=f"this server has no pull requests ({words}). Nothing was uploaded; publish to a "
        "--branch instead",
    )
