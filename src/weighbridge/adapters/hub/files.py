"""Repositories on the Hub as directories to read from: listings, and exact ranges of files.

What a check needs of a base of 140 GB are its config and its tensor headers, some hundred
kilobytes; so nothing is downloaded whole, and nothing is kept on the disk.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import unquote

from attrs import define, field, frozen

from weighbridge.adapters.hub.client import make_ready
from weighbridge.adapters.hub.errors import is_passing, naming
from weighbridge.adapters.hub.login import translator
from weighbridge.adapters.hub.patience import Patience
from weighbridge.adapters.hub.ranges import NoRanges, fetch_range
from weighbridge.adapters.hub.silence import SECONDS
from weighbridge.application.ports import FileSystem, Reader, Stage
from weighbridge.domain.artifact import (
    ArtifactPath,
    FileEntry,
    IrregularEntry,
    Oddity,
    Scan,
    sorted_entries,
)
from weighbridge.domain.errors import (
    DestinationMissing,
    PathConflict,
    PathMissing,
    StorageError,
    UsageError,
)
from weighbridge.domain.logins import require_no_login

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
#: As the Hub's own client has it: of a revision's slashes only those of a pull request are written.
_LOCATION = re.compile(
    r"hf://(?P<name>[^/@]+/[^/@]+)(@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(/(?P<below>.*))?"
)
_MOST_STREAMED = 64 << 20
#: Bytes of one file that is kept, and of all.
_KEPT, _ALL_KEPT = 1 << 20, 64 << 20
#: Seconds before what broke is asked for again; one of hundreds of answers may.
_PAUSES = (0.5, 1.0, 2.0)
_T = TypeVar("_T")


@frozen
class _Place:
    """A directory of a repository at one commit."""

    name: str
    revision: str
    below: str

    def path(self, name: str) -> str:
        """The path in the repository of a file below."""
        return f"{self.below}/{name}" if self.below else name


@define
class _Kept:
    """Small files, by their place."""

    files: dict[tuple[_Place, str], bytes] = field(factory=dict)
    _room: int = _ALL_KEPT

    def keep(self, where: tuple[_Place, str], content: bytes) -> None:
        """Keep it, if it is small and there is room."""
        if len(content) <= min(_KEPT, self._room):
            self._room -= len(content)
            self.files[where] = content


@frozen
class HubFiles(FileSystem):
    """A FileSystem for ``hf://org/name[@revision][/directory]``; it cannot be written to.

    What a revision is, and what it holds, is asked once for each repository, and so is a small
    file: a commit does not change. Raises PathMissing for what is not there, and the RegistryError
    family for what the Hub refuses.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    timeout: float = SECONDS
    _known: dict[str, tuple[str, str, dict[str, int]]] = field(factory=dict, init=False, repr=False)
    _kept: _Kept = field(factory=_Kept, init=False, repr=False)

    def scan(self, root: str) -> Scan:
        """All files at that revision, below the directory."""
        place, sizes = self._listed(root)
        prefix = f"{place.below}/" if place.below else ""
        inside = {n.removeprefix(prefix): s for n, s in sizes.items() if n.startswith(prefix)}
        if not inside:
            raise PathMissing(path=root, operation="list")
        odd = {n: p for n in inside if (p := ArtifactPath.problem_with(n))}
        entries = [FileEntry(ArtifactPath(n), s) for n, s in inside.items() if n not in odd]
        irregular = tuple(IrregularEntry(n, Oddity.NAME, p) for n, p in sorted(odd.items()))
        return Scan(sorted_entries(entries), irregular)

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``offset``, by a range request."""
        place, sizes = self._listed(root)
        name = place.path(path.text)
        if name not in sizes:
            raise PathMissing(path=f"{root}/{path}", operation="read")
        wanted = sizes[name] - offset if length < 0 else length
        if wanted < 0 or offset + wanted > sizes[name]:
            reason = f"{wanted} bytes from {offset} of {sizes[name]}"
            raise StorageError(path=f"{root}/{path}", operation="read", reason=reason)
        whole = self._kept.files.get((place, name))
        if whole is not None or wanted == 0:
            return (whole or b"")[offset : offset + wanted]
        data = self._fetch(root, place, name, offset, wanted)
        if wanted == sizes[name]:
            self._kept.keep((place, name), data)
        return data

    @contextmanager
    def open(self, root: str, path: ArtifactPath) -> Iterator[Reader]:
        """The file for ranged reads; each is a request."""
        place, sizes = self._listed(root)
        name = place.path(path.text)
        if name not in sizes:
            raise PathMissing(path=f"{root}/{path}", operation="read")
        yield _RangeReader(self, root, path, sizes[name])

    def open_stream(self, root: str, path: ArtifactPath) -> BinaryIO:
        """A small file as a stream."""
        place, sizes = self._listed(root)
        if sizes.get(place.path(path.text), 0) > _MOST_STREAMED:
            raise StorageError(path=f"{root}/{path}", operation="read",
                               reason="is too large to be held; download it first")  # fmt: skip
        return io.BytesIO(self.read(root, path))

    def stage(self, target: str | None, *, resume: bool = False) -> AbstractContextManager[Stage]:
        """Always refused: what is written to the Hub is published."""
        raise PathConflict(path=str(target), operation="write",
                           reason="is on the Hub; use weighbridge publish")  # fmt: skip

    def pinned(self, root: str) -> str:
        """The same place at the commit that it is now. Raises PathMissing, UsageError, and the
        RegistryError family."""
        place, _ = self._listed(root)
        below = f"/{place.below}" if place.below else ""
        return f"{SCHEME}{place.name}@{place.revision}{below}"

    def _listed(self, root: str) -> tuple[_Place, dict[str, int]]:
        """The commit behind ``root``, and the size of each of its files."""
        require_no_login(root)
        found = _LOCATION.fullmatch(root.rstrip("/"))
        if found is None:
            raise UsageError(problem=f"{root!r} is not hf://org/name[@revision]")
        name, asked = found["name"], unquote(found["revision"] or "main")
        key = f"{name}@{asked}"
        if key not in self._known:
            self._known[key] = self._list(name, asked)
        now, commit, sizes = self._known[key]
        return _Place(now, commit, found["below"] or ""), sizes

    def _list(self, name: str, revision: str) -> tuple[str, str, dict[str, int]]:
        """What it is called now, its commit, and its files with their sizes."""

        def listed() -> tuple[str, str, dict[str, int]]:
            from huggingface_hub.hf_api import RepoFile

            api = self._api()
            info = api.model_info(name, revision=revision)
            now, commit = info.id or name, info.sha
            if commit is None:
                raise DestinationMissing(destination=name, reason="there is no commit")
            tree = api.list_repo_tree(now, recursive=True, revision=commit)
            return now, commit, {i.path: i.size for i in tree if isinstance(i, RepoFile)}

        try:
            return self._asked(name, listed)
        except DestinationMissing as error:
            raise PathMissing(
                path=f"{SCHEME}{name}@{revision}", operation="read", reason=error.reason
            ) from error

    def _fetch(self, root: str, place: _Place, name: str, offset: int, length: int) -> bytes:
        def fetched() -> bytes:
            return fetch_range(
                place.name, name, place.revision, offset, length,
                endpoint=self.endpoint, token=self.token, timeout=self.timeout,
            )  # fmt: skip

        try:
            with naming(name):
                data = self._asked(place.name, fetched)
        except NoRanges as error:
            raise StorageError(path=f"{root}/{name}", operation="read",
                               reason="the server does not answer ranges") from error  # fmt: skip
        if len(data) != length:
            reason = f"{len(data)} bytes came instead of {length}"
            raise StorageError(path=f"{root}/{name}", operation="read", reason=reason)
        return data

    def _asked(self, name: str, ask: Callable[[], _T]) -> _T:
        """What is asked of a repository, with errors of ours."""
        make_ready(f"{SCHEME}{name}")
        patience = Patience(f"{SCHEME}{name}", timeout=self.timeout)
        errors = translator(patience.destination, self.token, patience)

        def translated() -> _T:
            with errors.calls():
                for pause in _PAUSES:
                    try:
                        return ask()
                    except Exception as error:
                        if not is_passing(error):
                            raise
                    time.sleep(pause)
                return ask()

        return patience.repeat(translated)

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token, library_name="weighbridge")


@frozen
class _RangeReader:
    """One file of a repository, read by requests."""

    files: HubFiles
    root: str
    path: ArtifactPath
    size: int

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """See ``Reader``."""
        buffer[:] = self.files.read(self.root, self.path, offset, buffer.nbytes)
