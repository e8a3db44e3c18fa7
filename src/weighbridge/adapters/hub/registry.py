"""The Hub as a registry: one plan becomes one commit, or nothing.

Decides the order of a push: what is local first, visibility before any byte, uploads (which stay
invisible) before the commit, and after the commit what a server may have got wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, BinaryIO

from attrs import field, frozen

from weighbridge.adapters.hub.download import opened
from weighbridge.adapters.hub.errors import Translator
from weighbridge.adapters.hub.push import Push
from weighbridge.adapters.hub.remote import Remote
from weighbridge.domain.errors import UsageError
from weighbridge.domain.publication import (
    Destination,
    HubRepo,
    PublicationPlan,
    Receipt,
    RemoteHead,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from weighbridge.adapters.hub.transfer import Transfer
    from weighbridge.application.ports import Blob, Progress
    from weighbridge.domain.artifact import ArtifactPath


@frozen
class HubRegistry:
    """A Registry for ``HubRepo`` destinations.

    ``endpoint`` None is the client's default (``HF_ENDPOINT``), ``token`` None the one of its
    login. ``transfer`` "auto" asks the server whether it knows Xet.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    transfer: Transfer = "auto"

    def head(self, destination: Destination) -> RemoteHead | None:
        """The branch; None if it or its repository does not exist."""
        return self._remote(destination).head()

    def manifest(self, destination: Destination, revision: str) -> RemoteHead:
        """That revision as the server lists it; small files have a git digest only."""
        return self._remote(destination).at(revision)

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
        remote = self._remote(plan.destination)
        return Push(remote, plan, blobs, message, progress, self.transfer).run()

    def _remote(self, destination: Destination) -> Remote:
        if not isinstance(destination, HubRepo):
            raise UsageError(problem=f"{destination} is not on the Hub")
        errors = Translator(str(destination), self.token)
        with errors.calls():
            return Remote(self._api(), destination, errors)

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        # Public, but exported in a way that type checkers do not see.
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()  # Progress is the caller's to show.
        return HfApi(
            endpoint=self.endpoint,
            token=self.token,
            library_name="weighbridge",
            library_version=_version(),
        )


def _version() -> str:
    try:
        return metadata.version("weighbridge")
    except metadata.PackageNotFoundError:
        return "unknown"
