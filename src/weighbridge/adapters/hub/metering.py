"""How many bytes are on their way, told while they go.

The client shows bars of its own or nothing. With LFS it reads each file through a stream of ours,
which counts (see ``sending``), and the server's answer names what it has already; Xet tells the
class that draws its bars, which is replaced while an upload runs (and if it cannot be, only the
beginning and the end are told).
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from weighbridge.adapters.hub.answers import heard

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress

#: What ends a process, and may be heard.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BATCH = "/info/lfs/objects/batch"


class Meter:
    """The bytes of one upload; what the client repeats counts once. Safe in its threads."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._at: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Whoever sends is to stop, wherever it is."""
        self._stopped = True

    def begin(self) -> None:
        """Nothing was sent yet."""
        self._progress("upload", 0, self._total)

    def end(self) -> None:
        """All that there was to send was sent."""
        self._progress("upload", self._total, self._total)

    def there(self, count: int) -> None:
        """So many bytes need not be sent: an upload that broke off had brought them."""
        with self._lock:
            self._total = max(0, self._total - count)
            self._tell()

    def reached(self, path: str, done: int) -> None:
        """``done`` bytes of a file were sent. Raises KeyboardInterrupt after ``stop``."""
        if self._stopped:
            raise KeyboardInterrupt
        with self._lock:
            if done > self._at.get(path, 0):
                self._at[path] = done
                self._tell()

    def _tell(self) -> None:
        done = sum(self._at.values())
        if done < self._total:
            self._progress("upload", done, self._total)


@contextmanager
def batches_tell(meter: Meter) -> Iterator[None]:
    """Have the LFS server's answers tell the meter what is there already."""

    def hear(answer: Any) -> None:
        if answer.status_code == 200 and answer.request.url.path.endswith(_BATCH):
            answer.read()
            meter.there(_present(answer.content))

    with heard(hear):
        yield


def _present(answer: bytes) -> int:
    """Bytes of the objects that have no action; what is no such answer is the client's to say."""
    try:
        objects = json.loads(answer)["objects"]
        return sum(o["size"] for o in objects if "actions" not in o and "error" not in o)
    except (ValueError, LookupError, TypeError):
        return 0


@contextmanager
def interrupts_reach(meter: Meter) -> Iterator[None]:
    """Ctrl-C stops the client's threads too. It would wait for them, and each would send its file
    to the end first, minutes long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDS}

    def interrupted(number: int, frame: FrameType | None) -> None:
        meter.stop()
        cast(Callable[..., object], before[signal.Signals(number)])(number, frame)

    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def xet_tells(meter: Meter) -> Iterator[None]:
    """Have Xet tell the meter. Needs the turn of ``chosen_transfer``."""
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
