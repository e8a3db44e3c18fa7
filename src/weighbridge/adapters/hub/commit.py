"""The one request that counts, and what became of it.

Decides what to believe when the answer to a commit never came, and that a server which put the
commit on another parent is found out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.adapters.hub.errors import NotUnderstood, ParentNotEnforced
from weighbridge.adapters.hub.silence import ServerSilent
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
)
from weighbridge.domain.publication import RemoteHead

if TYPE_CHECKING:
    from weighbridge.adapters.hub.remote import Remote


@frozen
class Commit:
    """A commit to be made on a branch; ``holds`` tells whether a head is what it would make.

    If the answer is lost, the head is looked at, again after each of the ``looks`` (in seconds).
    """

    remote: Remote
    message: str
    holds: Callable[[RemoteHead], bool]
    looks: tuple[float, ...] = (0.5, 1.5)

    def make(self, head: RemoteHead, operations: Sequence[Any]) -> str:
        """Make it on ``head``; the head's own revision if there was nothing to do."""
        try:
            revision = self.remote.commit(operations, self.message, head.revision)
        except RevisionConflict as error:
            raise self._conflict(head, error.reason) from error
        except RegistryUnreachable as error:
            return self._reconciled(head, error)
        except NotUnderstood as error:
            made = self._found(head, self._settled(head))
            if made is None:
                raise error
            return made
        if revision != head.revision:
            self._check_parent(revision, head.revision)
        return revision

    def _conflict(self, head: RemoteHead, words: str) -> RevisionConflict:
        try:
            actual = self.remote.revision()
        except RegistryError:
            actual = None
        return RevisionConflict(
            destination=str(self.remote.repo),
            reason=words,
            expected=head.revision,
            actual=actual,
        )

    def _check_parent(self, commit: str, expected: str) -> None:
        """Not every server honours the parent that a commit demands.

        Not every server tells its history either; the read-back still checks the content there.
        """
        try:
            actual = self.remote.parent_of(commit)
        except (RegistryRejected, DestinationMissing):
            return
        except RegistryError as error:
            raise RegistryUnreachable(
                destination=str(self.remote.repo),
                reason=f"published as {commit}, but what it was based on cannot be read: "
                f"{error.reason}",
                applied=True,
            ) from error
        if (actual or "") != expected:
            raise ParentNotEnforced(
                destination=str(self.remote.repo), expected=expected, actual=actual
            )

    def _reconciled(self, before: RemoteHead, error: RegistryUnreachable) -> str:
        """No answer: the commit may have landed. Look, and say what is known: of a silent server
        nobody knows if it is still at work."""
        error.applied = None
        try:
            after = self._settled(before)
            if after is not None and after.revision == before.revision:
                if isinstance(error, ServerSilent):
                    raise error
                error.applied = False
                error.reason += ". Nothing was published"
            elif made := self._found(before, after):
                return made
        except RegistryError:
            raise error from None
        raise error

    def _found(self, before: RemoteHead, after: RemoteHead | None) -> str | None:
        """The commit, if it is what came after ``before``."""
        if after is None or after.revision == before.revision or not self.holds(after):
            return None
        parent = self.remote.parent_of(after.revision)
        return after.revision if (parent or "") == before.revision else None

    def _settled(self, before: RemoteHead) -> RemoteHead | None:
        """The head, once it moved or had the time to: behind a gateway that gave up, the server may
        still be at work."""
        after = self.remote.head()
        for pause in self.looks:
            if after is None or after.revision != before.revision:
                break
            time.sleep(pause)
            after = self.remote.head()
        return after
