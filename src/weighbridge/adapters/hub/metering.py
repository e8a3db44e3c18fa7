"""How many bytes are on their way, told while they go.

The client shows bars of its own or nothing. With LFS it reads each file through an operation that
may hand it any stream, so the stream counts; Xet tells the class that draws its bars, which is
replaced while an upload runs (and if it cannot be, only the beginning and the end are told).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

    from weighbridge.application.ports import Progress


class Meter:
    """The bytes of one upload; what the client repeats counts once. Safe in its threads."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._at: dict[str, int] = {}
        self._lock = threading.Lock()

    def reached(self, path: str, done: int) -> None:
        """``done`` bytes of a file were sent."""
        with self._lock:
            if done > self._at.get(path, 0):
                self._at[path] = done
                self._progress("upload", min(sum(self._at.values()), self._total), self._total)

    def addition(self, path: str, content: str | bytes | BinaryIO) -> CommitOperationAdd:
        """An operation that tells of what the client sends of it."""
        from huggingface_hub import CommitOperationAdd

        meter = self

        class Metered(CommitOperationAdd):
            @contextmanager
            def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
                """Counted where the client would draw a bar, which is where it sends."""
                with super().as_file() as file:
                    yield _Counted(file, path, meter) if with_tqdm else file  # type: ignore[misc]

        return Metered(path, content)


class _Counted(io.BufferedIOBase):
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, path: str, meter: Meter) -> None:
        self._file, self._path, self._meter = file, path, meter

    def read(self, size: int | None = -1) -> bytes:
        """See io."""
        data = self._file.read(-1 if size is None else size)
        self._meter.reached(self._path, self._file.tell())
        return data

    def readable(self) -> bool:
        """See io."""
        return True

    def seekable(self) -> bool:
        """See io."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """See io."""
        return self._file.tell()

    def fileno(self) -> int:
        """See io."""
        return self._file.fileno()


@contextmanager
def xet_tells(meter: Meter | None) -> Iterator[None]:
    """Have Xet tell the meter. Needs the turn of ``chosen_transfer``."""
    if meter is None:
        yield
        return
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        _xet_progress_reporting as reporting,
        disable_progress_bars,
        enable_progress_bars,
    )

    name = "XetUploadProgressReporter"
    theirs = getattr(reporting, name, None)
    if theirs is None:
        yield
        return
    setattr(reporting, name, lambda: _Reporter(meter))
    enable_progress_bars()
    try:
        yield
    finally:
        disable_progress_bars()
        setattr(reporting, name, theirs)


class _Reporter:
    """In the place of the client's bars."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def update_progress(self, group: Any, _items: Any = None) -> None:
        """What Xet took in so far; it sends less, since it knows what is there."""
        self._meter.reached("", int(getattr(group, "total_bytes_completed", 0)))

    def close(self) -> None:
        """Nothing is open."""
