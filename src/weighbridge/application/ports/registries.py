"""Where artifacts are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol

from attrs import field, frozen

from weighbridge.application.ports.progress import Progress, no_progress

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ArtifactPath, ManifestEntry
    from weighbridge.domain.publication import (
        Destination,
        PublicationPlan,
        Receipt,
        RemoteHead,
        Revision,
    )


@frozen
class Blob:
    """Content to publish; ``open`` gives a new stream each time, since uploads retry.

    ``held`` is a place of a registry where it is already: a registry may take it over from there.
    """

    entry: ManifestEntry
    open: Callable[[], BinaryIO] = field(repr=False)
    held: Destination | None = None


class Registry(Protocol):
    """A remote place that models are published to. Errors are the RegistryError family.

    A revision is named by its id, by a tag or by a branch, wherever one is asked for.
    """

    def head(self, destination: Destination) -> RemoteHead | None:
        """What is there now: revision, manifest, visibility. None if there is nothing yet."""

    def start(self, destination: Destination) -> RemoteHead | None:
        """What the branch would begin with, if ``head`` gives None; None if with nothing."""

    def check(
        self, destination: Destination, *, pull_request: bool = False, writing: bool = True
    ) -> None:
        """Raise now what would refuse a publication later, as far as the registry tells. Without
        ``writing`` no right to write is demanded: who only plans needs none.

        AuthenticationFailed, PermissionDenied; Unsupported if it has no pull requests, or
        cannot keep two writers apart. Leaves nothing behind.
        """

    def push(
        self,
        plan: PublicationPlan,
        blobs: Mapping[ArtifactPath, Blob],
        *,
        message: str,
        progress: Progress,
    ) -> Receipt:
        """Carry out ``plan`` as one atomic revision; ``blobs`` hold every added or changed path.

        Raises RevisionConflict if the head is no longer ``plan.parent``; then nothing is visible.
        A push of what is already there is a no-op (``created`` is False). A failure at any point
        leaves the previous revision visible. No error text holds a token.

        With ``plan.pull_request`` the head stays where it is, and the receipt's url is where the
        revision waits for its review; raises Unsupported before any byte if there is no such thing.
        Tags are not set here.
        """

    def recorded(self, destination: Destination, revision: str) -> RemoteHead:
        """What that revision holds by the registry's own records: no file is read for it.

        The beginning of an id, of seven digits or more, is enough where it is that of one only.
        Raises DestinationMissing if there is none of that name.
        """

    def manifest(
        self, destination: Destination, revision: str, *, progress: Progress = no_progress
    ) -> RemoteHead:
        """What that revision holds, read anew from the registry, for the read-back.

        Raises DestinationMissing if there is none of that name. ``progress`` is told where that
        takes long.
        """

    def open(self, destination: Destination, revision: str, path: ArtifactPath) -> BinaryIO:
        """One published file as a new stream from its first byte, which the caller closes.

        Raises DestinationMissing if there is no such revision or no such file in it, here and not
        with the first read. A read raises the RegistryError family; bytes that are missing at the
        end are an error, never a short file. Memory is bounded, whatever the size. What comes is
        not compared with any digest: that is the caller's to do. Threads may open several at a
        time.
        """

    def history(self, destination: Destination, *, limit: int) -> tuple[Revision, ...]:
        """At most ``limit`` publications of the branch, newest first; () if there is nothing."""

    def tags(self, destination: Destination, *, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The revision that each tag of the model names; empty if there is nothing.

        Raises UsageError if one that is ``wanted`` is the name of a branch.
        """

    def tag(
        self, destination: Destination, name: str, revision: str, *, move: bool = False
    ) -> None:
        """Make a tag name a revision; a no-op if it does.

        Raises TagTaken if it names another and ``move`` is False, DestinationMissing if there is no
        such revision.
        """

    def restore(
        self, destination: Destination, revision: str, *, parent: str, message: str
    ) -> Receipt:
        """Make the head what ``revision`` holds, sending no large file anew, as one step.

        Raises RevisionConflict if the head is no longer ``parent``, DestinationMissing if there is
        no such revision. A no-op (``created`` is False) if the head holds just that.
        """
