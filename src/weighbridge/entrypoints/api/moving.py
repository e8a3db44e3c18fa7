"""From a registry to a directory, or to another registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weighbridge.application.ports import Progress, no_progress
from weighbridge.entrypoints.api.common import (
    PathLike,
    container,
    destination_of,
    keep_apart,
    place,
)
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.application.copy import Copied
    from weighbridge.application.pull import Pulled
    from weighbridge.domain.publication import Destination


def pull(
    source: str | os.PathLike[str] | Destination,
    output: PathLike,
    *,
    name: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Pulled:
    """Write what ``source`` holds to the directory ``output``, all or nothing, digests verified.

    ``source`` is spelled as a destination of ``publish``. Raises ContentMismatch if other bytes
    come than were announced, OutputExists if not ``force``, DestinationMissing.
    """
    from weighbridge.application.pull import PullRequest

    keep_apart(output)
    request = PullRequest(place(source, name), os.fspath(output), force)
    return container(settings).pull()(request, progress)


def copy(
    source: str | os.PathLike[str] | Destination,
    to: str | os.PathLike[str] | Destination,
    *,
    source_name: str | None = None,
    name: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Copied:
    """Publish at ``to`` what ``source`` holds, as it is, as one revision, and read it back.

    ``source_name`` and ``name`` go with directory registries. Raises VisibilityMismatch if the
    destination is public and not ``public``, RevisionConflict, and the rest of RegistryError.
    """
    from weighbridge.application.copy import CopyRequest
    from weighbridge.domain.logins import public_message

    request = CopyRequest(
        place(source, source_name),
        destination_of(to, name),
        public,
        dry_run,
        public_message(message) if message else None,
    )
    return container(settings).copy()(request, progress)
