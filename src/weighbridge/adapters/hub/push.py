"""One push to the Hub, step by step.

Decides what counts as the same content and which parent the commit gets. A pull request is opened
before its files are sent, so that a server that has none cannot take them for a commit on main.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from weighbridge.adapters.hub.commit import Commit
from weighbridge.adapters.hub.content import Addition, additions, with_git_digests
from weighbridge.adapters.hub.errors import ParentNotEnforced
from weighbridge.adapters.hub.transfer import Transfer, chosen_transfer
from weighbridge.domain.artifact import Manifest
from weighbridge.domain.errors import (
    DestinationMissing,
    PermissionDenied,
    RegistryError,
    RegistryRejected,
    RevisionConflict,
    StorageError,
    VisibilityMismatch,
)
from weighbridge.domain.publication import (
    SERVER_OWNED,
    HubRepo,
    PublicationPlan,
    Receipt,
    RemoteHead,
    read_back_differences,
)

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationDelete

    from weighbridge.adapters.hub.metering import Meter
    from weighbridge.adapters.hub.remote import Remote
    from weighbridge.application.ports import Blob
    from weighbridge.domain.artifact import ArtifactPath


class _MadeMeanwhile(Exception):
    """The repository or branch that was to be created is there now."""


@frozen
class Push:
    """A plan, its content and where it goes."""

    remote: Remote
    plan: PublicationPlan
    blobs: Mapping[ArtifactPath, Blob]
    message: str
    transfer: Transfer
    meter: Meter

    @property
    def repo(self) -> HubRepo:
        """The destination."""
        return self.remote.repo

    def run(self) -> Receipt:
        """Carry the plan out; again if somebody made the repository or the branch meanwhile."""
        while True:
            with suppress(_MadeMeanwhile):
                return self._run()

    def _run(self) -> Receipt:
        if self.plan.is_noop and self._unmoved():
            return self._receipt(str(self.plan.parent), created=False)
        changed = [self.blobs[c.path] for c in self.plan.changes if c.action in ("add", "change")]
        head = self.remote.head()
        private = bool(head.private) if head is not None else self.remote.is_private()
        fresh = private is None
        self._check_visibility(private)
        if head is not None and not self._may_start_on(head):
            return self._already_there(head)
        if head is not None and self.plan.is_noop:
            return self._receipt(head.revision, created=False)
        if head is None and (self.plan.parent or (fresh and self.plan.start)):
            raise self._conflict(None)
        with ExitStack() as streams:
            # Unreadable or changed files show here, before anything is created.
            with self.remote.errors.calls():
                ready = additions(changed, streams, self.meter)
            for each in ready:
                each.require_card(self.remote.require_card)
            if self.plan.pull_request and head is not None:
                return self._proposed(head, ready, streams)
            return self._publish(head or self._make_room(streams, fresh), ready)

    def _unmoved(self) -> bool:
        with suppress(DestinationMissing):
            return self.remote.revision() == self.plan.parent
        return False

    def _proposed(self, head: RemoteHead, ready: Sequence[Addition], streams: ExitStack) -> Receipt:
        """The same on the branch of a pull request, which is closed if that fails."""
        number, proposal, url = self.remote.open_pull_request(self.message)
        streams.push(lambda kind, *_: self._withdraw(kind, number))
        there = proposal.head()
        if there is None or there.revision != head.revision:
            raise self._conflict(there.revision if there else None, head.revision)
        receipt = evolve(self, remote=proposal)._publish(there, ready)
        with suppress(PermissionDenied):  # Then it stays a draft, which others can open.
            self.remote.set_pull_request(number, "open")
        return evolve(receipt, url=url)

    def _withdraw(self, kind: object, number: int) -> None:
        if kind is not None:
            with suppress(RegistryError):
                self.remote.set_pull_request(number, "closed")

    def _check_visibility(self, private: bool | None) -> None:
        """Refuses a public repository for private files."""
        if self.plan.private and private is False:
            raise VisibilityMismatch(
                destination=str(self.repo),
                reason="the repository is public, or the server does not tell. Nothing was "
                "uploaded; make it private, or allow this publication to be public",
            )

    def _may_start_on(self, head: RemoteHead) -> bool:
        """Whether the head is what was planned on, of a new branch what it was to be made from; an
        empty repository is as good as none."""
        empty = all(e.path.text in SERVER_OWNED for e in head.manifest.entries)
        planned = self.plan.parent or self.plan.start
        return head.revision == planned or (self.plan.parent is None and empty)

    def _already_there(self, head: RemoteHead) -> Receipt:
        """The head has moved, which is well if it moved to just this content."""
        if not self._holds_the_plan(head):
            raise self._conflict(head.revision)
        return self._receipt(head.revision, created=False)

    def _made_by_another(self, error: RevisionConflict) -> Receipt:
        """Somebody was faster, which is well if it was with just this content."""
        head = None if isinstance(error, ParentNotEnforced) else self.remote.head()
        if head is None or not self._holds_the_plan(head):
            raise error
        return self._receipt(head.revision, created=False)

    def _holds_the_plan(self, head: RemoteHead) -> bool:
        with self.remote.errors.calls():
            sent = with_git_digests(self.plan.manifest, head.manifest, self.blobs)
        return not read_back_differences(sent, head.manifest)

    def _make_room(self, streams: ExitStack, fresh: bool) -> RemoteHead:
        """Create the repository or branch that is missing; the head is then the server's first."""
        if fresh:
            with self._by_us(self.remote.is_private):
                self.remote.create(private=self.plan.private)
        head = self.remote.head()
        if head is None and self.repo.revision == "main":
            return RemoteHead("", Manifest(()))  # Not every server begins with a commit.
        if head is None and self.repo.revision.startswith("refs/"):
            reason = f"there is no {self.repo.revision}, and it cannot be made as a branch is"
            raise DestinationMissing(destination=str(self.repo), reason=reason)
        if head is None:
            with self._by_us(self.remote.head):
                self.remote.create_branch(self.plan.start)
            head = self.remote.at(self.repo.revision)
            streams.push(lambda kind, *_: self._take_branch_back(kind, head))
        return head

    @contextmanager
    def _by_us(self, found: Callable[[], object]) -> Iterator[None]:
        """Raises _MadeMeanwhile if what is made within is refused, and is ``found`` to be there."""
        try:
            yield
        except RevisionConflict as error:
            if found() is None:
                raise
            raise _MadeMeanwhile from error

    def _take_branch_back(self, kind: object, first: RemoteHead) -> None:
        """After a failure, remove the branch that we made, unless something was published there."""
        if kind is not None:
            with suppress(RegistryError):
                if self.remote.revision() == first.revision:
                    self.remote.delete_branch()

    def _publish(self, head: RemoteHead, ready: Sequence[Addition]) -> Receipt:
        """Upload, which nobody sees; then commit, which everybody does."""
        self.meter.begin()
        using = chosen_transfer(self.remote, ready, self.transfer)
        with self.remote.errors.calls(), using:
            self._upload(ready)
            operations = [*self._removals(head), *(each.operation for each in ready)]
            try:
                revision = Commit(self.remote, self.message, self._holds_the_plan).make(
                    head, operations
                )
            except RevisionConflict as error:
                return self._made_by_another(error)
        self.meter.end()
        return self._receipt(revision, created=revision != head.revision)

    def _upload(self, ready: Sequence[Addition]) -> None:
        """Raises ArtifactChanged if what was sent is not what was planned."""
        try:
            self.remote.upload([each.operation for each in ready])
        except StorageError:
            for each in ready:
                each.require_file()
            raise
        for each in ready:
            each.check()
            if each.is_dropped:
                reason = f"the server would leave {each.entry.path} out, as ignored by its rules"
                raise RegistryRejected(destination=str(self.repo), reason=reason)

    def _removals(self, head: RemoteHead) -> list[CommitOperationDelete]:
        """Whatever is there and not planned; for a new branch that is more than the plan knows."""
        from huggingface_hub import CommitOperationDelete

        kept = {e.path for e in self.plan.manifest.entries}
        gone = [e.path.text for e in head.manifest.entries if e.path not in kept]
        return [
            CommitOperationDelete(path, is_folder=False)
            for path in gone
            if path not in SERVER_OWNED
        ]

    def _conflict(self, actual: str | None, expected: str | None = None) -> RevisionConflict:
        planned = self.plan.parent or expected
        return RevisionConflict(destination=str(self.repo), expected=planned, actual=actual)

    def _receipt(self, revision: str, *, created: bool) -> Receipt:
        return self.remote.receipt(self.plan.destination, revision, created=created)
