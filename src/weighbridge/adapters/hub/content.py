"""What is sent: the operations of a commit, made from verified content.

Decides how each content is handed to the client. Small files are read and checked here, so what
was judged is what is sent. Large ones go by path where they have one, since the Xet client takes
no streams; what is sent of them is checked in passing, or between upload and commit.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from attrs import field, frozen

from weighbridge.adapters.hub.sending import Sent
from weighbridge.application.send import git_blob_id
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged
from weighbridge.domain.shipping import CARD

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

    from weighbridge.adapters.hub.metering import Meter
    from weighbridge.application.ports import Blob

_SMALL = 1 << 20
_CHUNK = 1 << 20


@frozen
class Addition:
    """One file on its way, and what the client makes of it."""

    entry: ManifestEntry
    operation: CommitOperationAdd
    meter: Meter
    sent: list[Sent] = field(factory=list, repr=False)

    @property
    def is_stream(self) -> bool:
        """Whether the content is a stream without a path, which Xet cannot send."""
        return isinstance(self.operation.path_or_fileobj, io.BufferedIOBase)

    def announce(self) -> None:
        """Tell the client the planned digest, so that it reads the file only to send it, and not
        at all if the server has the content."""
        planned = self.entry.digest("sha256")
        if planned is not None:
            self.operation.upload_info.sha256 = bytes.fromhex(planned.value)
        self.check()

    def require_card(self, judge: Callable[[str], None]) -> None:
        """Have it judged, if it is the card."""
        content = self.operation.path_or_fileobj
        if self.entry.path.text == CARD and isinstance(content, bytes):
            judge(content.decode("utf-8", "replace"))

    @property
    def is_dropped(self) -> bool:
        """Whether the server wants it ignored, which the client obeys without a word."""
        return bool(getattr(self.operation, "_should_ignore", False))

    def require_file(self) -> None:
        """Raise ArtifactChanged if it is gone, which the clients do not tell by name."""
        content = self.operation.path_or_fileobj
        if isinstance(content, str) and not os.path.exists(content):
            planned = f"{self.entry.size} bytes {self.entry.digests[0]}"
            raise ArtifactChanged(path=self.entry.path.text, expected=planned, actual="nothing")

    def check(self) -> None:
        """Raise ArtifactChanged if what the client hashed or sent is not what was planned."""
        if not all(each.in_order for each in self.sent):
            with self.operation.as_file() as again:
                while again.read(_CHUNK):
                    pass
        info = self.operation.upload_info
        digests = (Digest("sha256", info.sha256.hex()),)
        _check(self.entry, ManifestEntry(self.entry.path, info.size, digests))


def additions(blobs: Iterable[Blob], streams: ExitStack, meter: Meter) -> list[Addition]:
    """One addition a blob; ``streams`` keeps open what the client will read."""
    return [_addition(blob, streams, meter) for blob in blobs]


def _addition(blob: Blob, streams: ExitStack, meter: Meter) -> Addition:
    from huggingface_hub import CommitOperationAdd

    entry, sent = blob.entry, list[Sent]()

    class Checked(CommitOperationAdd):
        """An operation whose content is checked in passing."""

        @contextmanager
        def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
            """Counted where the client would draw a bar, which is where it sends."""
            count = partial(meter.reached, entry.path.text) if with_tqdm else _unheard
            with super().as_file() as file:
                sent.append(Sent(file, entry, count))
                yield cast(BinaryIO, sent[-1])

    return Addition(entry, Checked(entry.path.text, _content(blob, streams)), meter, sent)


def _unheard(_: int) -> None:
    """Whoever reads without sending tells nobody."""


def _content(blob: Blob, streams: ExitStack) -> str | bytes | BinaryIO:
    """Bytes or a path where possible, so that few files are open at a time."""
    with ExitStack() as opened:
        stream = opened.enter_context(blob.open())
        if blob.entry.size <= _SMALL:
            content = stream.read(_SMALL + 1)
            _check(blob.entry, ManifestEntry(blob.entry.path, len(content), _digests(content)))
            return content
        path = _path_of(stream)
        if path is not None:
            return path
        if not stream.seekable():
            return _spooled(stream, streams)
        streams.push(opened.pop_all())
        return stream


def _spooled(stream: BinaryIO, streams: ExitStack) -> str:
    """A file with the content of a stream from another registry: the client reads content twice,
    and Xet sends files only. Gone when ``streams`` is closed."""
    spool = tempfile.NamedTemporaryFile(prefix="weighbridge-")  # noqa: SIM115
    streams.enter_context(spool)
    shutil.copyfileobj(stream, spool, _CHUNK)
    spool.flush()
    return spool.name


def with_git_digests(
    manifest: Manifest, remote: Manifest, blobs: Mapping[ArtifactPath, Blob]
) -> Manifest:
    """``manifest``, knowing the git digest where the remote has no other to compare with."""
    more = {}
    for entry in manifest.entries:
        there = remote.find(entry.path)
        if there is None or there.size != entry.size or entry.path not in blobs:
            continue
        if there.digest("git-sha1") and not entry.comparable(there):
            more[entry.path] = git_blob_id(blobs[entry.path])
    return manifest.with_digests(more)


def _digests(content: bytes) -> tuple[Digest, ...]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return (
        Digest("sha256", hashlib.sha256(content).hexdigest()),
        Digest("git-sha1", git.hexdigest()),
    )


def _check(planned: ManifestEntry, actual: ManifestEntry) -> None:
    differs = planned.comparable(actual) and not planned.same_content(actual)
    if planned.size != actual.size or differs:
        expected, found = (f"{e.size} bytes {e.digests[0]}" for e in (planned, actual))
        raise ArtifactChanged(path=planned.path.text, expected=expected, actual=found)


def _path_of(stream: BinaryIO) -> str | None:
    """The absolute path of the very file that is open as ``stream``, if it still has one."""
    try:
        handle = stream.fileno()
        path = _named(handle)
        same = path is not None and os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return None
    return path if same else None


def _named(handle: int) -> str | None:
    """The path that the system knows for a handle: files may be opened relative to another."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{handle}")
