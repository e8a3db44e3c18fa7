"""Files of a revision as streams.

Decides what to do when the connection breaks in the middle of a file of many gigabytes: ask for the
rest, a few times.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define, field

from weighbridge.adapters.hub.errors import is_transport, naming
from weighbridge.adapters.hub.patience import patiently
from weighbridge.adapters.hub.ranges import file_request
from weighbridge.application.streams import stream_of
from weighbridge.domain.errors import DestinationMissing, RegistryUnreachable

if TYPE_CHECKING:
    from weighbridge.adapters.hub.patience import Patience
    from weighbridge.adapters.hub.remote import Remote
    from weighbridge.domain.artifact import ArtifactPath

_ATTEMPTS = 5


def opened(remote: Remote, revision: str, path: ArtifactPath) -> BinaryIO:
    """The file as a stream. Raises DestinationMissing, and the rest of the RegistryError family."""
    download = _Download(remote, revision, path.text)
    return stream_of(download.chunks(download.request(0)), download.close)


@define
class _Download:
    remote: Remote
    revision: str
    path: str
    size: int | None = field(default=None, init=False)
    _answers: ExitStack = field(factory=ExitStack, init=False)

    def close(self) -> None:
        """Give the connection back."""
        self._answers.close()

    @property
    def patience(self) -> Patience:
        """Whose requests these are."""
        return self.remote.patience

    @patiently
    def request(self, offset: int) -> Any:
        """An answer with the bytes from ``offset``; the one before is closed."""
        from huggingface_hub.errors import EntryNotFoundError

        # Public, but exported in a way that type checkers do not see.
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        self.close()
        api, name = self.remote.api, self.remote.repo.name
        span = f"{offset}-" if offset else None
        with naming(self.path), self.remote.errors.calls():
            request = file_request(
                name, self.path, self.revision, span,
                endpoint=api.endpoint, token=api.token, timeout=self.patience.timeout,
            )  # fmt: skip
            answer = self._answers.enter_context(request)
            try:
                hf_raise_for_status(answer)
            except EntryNotFoundError as error:
                reason = f"no {self.path} in revision {self.revision}"
                raise DestinationMissing(
                    destination=str(self.remote.repo), reason=reason
                ) from error
            return answer

    def chunks(self, answer: Any) -> Generator[bytes, None, None]:
        """All bytes; asks for the rest where a connection broke."""
        done, self.size = 0, _length(answer)
        for attempt in range(1, _ATTEMPTS + 1):
            with self.remote.errors.calls():
                try:
                    for chunk in answer.iter_bytes():
                        done += len(chunk)
                        yield chunk
                except Exception as error:
                    if not is_transport(error) or attempt == _ATTEMPTS or self.size is None:
                        raise
            if self.size is None or done == self.size:
                return
            answer = self.request(done)
            if answer.status_code != 206:
                break
        reason = f"{self.path} ended after {done} of {self.size} bytes"
        raise RegistryUnreachable(destination=str(self.remote.repo), reason=reason, applied=False)


def _length(answer: Any) -> int | None:
    """The size of the whole file, if the server says it and the bytes are not coded otherwise."""
    said = answer.headers.get("content-length", "")
    return int(said) if said.isdigit() and not answer.headers.get("content-encoding") else None
