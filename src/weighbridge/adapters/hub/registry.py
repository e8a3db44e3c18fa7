"""The Hub as a registry: one plan becomes one commit, or nothing.

Decides the order of a push: what is local first, visibility before any byte, uploads (which stay
invisible) before the commit, and after the commit what a server may have got wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import evolve, field, frozen

from weighbridge.adapters.hub.access import COMMIT, Access
from weighbridge.adapters.hub.client import make_ready
from weighbridge.adapters.hub.commit import Commit
from weighbridge.adapters.hub.download import opened
from weighbridge.adapters.hub.login import translator
from weighbridge.adapters.hub.metering import Meter
from weighbridge.adapters.hub.patience import BUSY, LONGEST, MOST, Patience
from weighbridge.adapters.hub.push import Push
from weighbridge.adapters.hub.refs import Refs
from weighbridge.adapters.hub.remote import Remote
from weighbridge.adapters.hub.silence import SECONDS
from weighbridge.application.ports import no_progress
from weighbridge.domain.errors import (
    RegistryError,
    RegistryRejected,
    RevisionConflict,
    TagTaken,
    UsageError,
)
from weighbridge.domain.publication import (
    Destination,
    HubRepo,
    PublicationPlan,
    Receipt,
    RemoteHead,
    Revision,
    changes_between,
    read_back_differences,
    tagged,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from weighbridge.adapters.hub.transfer import Transfer
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath, Manifest


@frozen
class HubRegistry:
    """A Registry for ``HubRepo`` destinations.

    ``endpoint`` None is the client's default (``HF_ENDPOINT``), ``token`` None the one of its
    login. ``transfer`` "auto" asks the server whether it knows Xet. Where the server wants a pause,
    at most ``longest_wait`` seconds are waited at once and ``most_waiting`` in all of one call;
    ``busy`` are the pauses while it creates another repository; for ``timeout`` seconds it may be
    silent, and five times as long where it has work to do.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    transfer: Transfer = "auto"
    longest_wait: float = LONGEST
    most_waiting: float = MOST
    busy: tuple[float, ...] = BUSY
    timeout: float = SECONDS
    #: What each commit holds that was asked for: it never holds anything else.
    _known: dict[tuple[str, str], Manifest] = field(factory=dict, init=False, repr=False)

    def head(self, destination: Destination) -> RemoteHead | None:
        """The branch; None if it or its repository does not exist."""
        return self._remote(destination).head()

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """That revision as the server lists it; small files have a git digest only."""
        return self._remote(destination).at(revision)

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """The same, asked anew."""
        remote = self._remote(destination)
        if not COMMIT.fullmatch(revision):
            return evolve(remote, known={}).at(revision)
        return RemoteHead(revision, remote.listed(revision))

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """The file as the server sends it, by plain HTTP whatever way it was uploaded."""
        return opened(self._remote(destination), revision, path)

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """One commit on ``plan.parent``. Raises VisibilityMismatch before any byte is sent."""
        if plan.pull_request:
            self.check(plan.destination, pull_request=True)
        remote = self._remote(plan.destination, progress)
        meter = Meter(progress, plan.upload_bytes)
        return Push(remote, plan, blobs, message, self.transfer, meter).run()

    def start(self, destination: Destination) -> RemoteHead | None:
        """The main branch, for any other."""
        remote = self._remote(destination)
        return None if remote.repo.revision == "main" else remote.on("main").head()

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """By the server's own check if it has one, else by the role of the token."""
        Access(self._remote(destination)).check(pull_request=pull_request, writing=writing)

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """The commits of the branch, whoever made them; without tags if the server tells none."""
        remote = self._remote(destination)
        told, tags = remote.history(limit), dict[str, str]()
        with suppress(RegistryRejected):
            tags.update(Refs(remote).tags() if told else {})
        return tagged(told, tags)

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The tags of the repository."""
        return Refs(self._remote(destination)).tags(wanted)

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """A tag is moved by deleting it, which the Hub cannot do in one step with the new one."""
        remote = self._remote(destination)
        found = remote.on(revision).revision() or revision
        now = Refs(remote).tags().get(name)
        if now == found:
            return
        if now is not None and not move:
            raise TagTaken(destination=str(destination), tag=name, revision=now)
        if now is not None:
            remote.delete_tag(name)
        try:
            remote.create_tag(name, found)
        except RegistryError as error:
            _after_all(remote, name, found, error, before=now)

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """One commit that copies within the repository: no large file is sent."""
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete

        remote = self._remote(destination)
        wanted, head = remote.at(revision), remote.head()
        if head is None or head.revision != parent:
            raise RevisionConflict(
                destination=str(destination),
                expected=parent,
                actual=head.revision if head else None,
            )
        changes = [c for c in changes_between(head.manifest, wanted.manifest) if c.action != "keep"]
        operations: list[Any] = [
            CommitOperationDelete(each.path.text, is_folder=False)
            if each.action == "remove"
            else CommitOperationCopy(each.path.text, each.path.text, src_revision=wanted.revision)
            for each in changes
        ]
        made = head.revision
        if operations:
            commit = Commit(
                remote,
                message,
                lambda now: not read_back_differences(wanted.manifest, now.manifest),
            )
            made = commit.make(head, operations)
        return remote.receipt(destination, made, created=made != head.revision)

    def _remote(self, destination: Destination, progress: Progress = no_progress) -> Remote:
        if not isinstance(destination, HubRepo):
            raise UsageError(problem=f"{destination} is not on the Hub")
        make_ready(str(destination))
        patience = Patience(
            str(destination), progress, self.longest_wait, self.most_waiting,
            busy=self.busy, timeout=self.timeout,
        )  # fmt: skip
        errors = translator(patience.destination, self.token, patience)
        with errors.calls():
            return Remote(self._api(), destination, errors, patience, self._known)

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        # Public, but exported in a way that type checkers do not see.
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            disable_progress_bars,
            logging,
        )

        class Asked(HfApi):
            def _validate_yaml(self, *_: Any, **__: Any) -> None:
                """Nothing: ``Remote.require_card`` has asked, before anything was sent."""

        disable_progress_bars()  # Progress is the caller's to show.
        if "HF_HUB_VERBOSITY" not in os.environ:
            # Its warnings show signed addresses.
            logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        return Asked(
            endpoint=self.endpoint,
            token=self.token,
            library_name="weighbridge",
            library_version=_version(),
        )


def _after_all(
    remote: Remote, name: str, wanted: str, error: RegistryError, *, before: str | None
) -> None:
    """A tag was refused, or the answer was lost: look. Raises unless it is where it should be, and
    puts it back to where it was."""
    try:
        there = Refs(remote).tags().get(name)
        if there is None and before is not None:
            remote.create_tag(name, before)
    except RegistryError:
        raise error from None
    if there == wanted:
        return
    if there is not None:  # Somebody was faster.
        raise TagTaken(destination=str(remote.repo), tag=name, revision=there) from error
    raise error


def _version() -> str:
    try:
        return metadata.version("weighbridge")
    except metadata.PackageNotFoundError:
        return "unknown"
