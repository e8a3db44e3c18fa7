"""Progress on a terminal: one line at the bottom, gone when there is something to read."""

from __future__ import annotations

import sys
import time
from typing import Any

# A command that is done within this says nothing of its progress.
_QUIET_SECONDS = 1.0
_REDRAW_SECONDS = 0.2
# Fewer are items, or not worth a rate.
_BYTES = 1 << 20


class Bar:
    """A progress callback; see ``application.ports.Progress``.

    Bytes get a bar with their rate. A few items, such as the stages of a proof, have none: their
    line names the stage, and its seconds run while it lasts.
    """

    def __init__(self) -> None:
        self._born = self._since = self._drawn = self._told = time.monotonic()
        self._stage = ""
        self._line: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show it, unless everything was quick so far."""
        now, before = time.monotonic(), self._told
        self._told = now
        if done >= total:
            self.close()
            return
        if stage != self._stage:
            self.close()
            # What is done already took the time since the last word; no time gives a silly rate.
            self._stage, self._since = stage, before if done else now
        if now - self._born >= _QUIET_SECONDS:
            self._show(done, total, now)

    def close(self) -> None:
        """Clear the line."""
        if self._line is not None:
            self._line.close()
        self._stage, self._line = "", None

    def _show(self, done: int, total: int, now: float) -> None:
        fresh = self._line is None
        if fresh:
            self._line = _line(self._stage, total)
            # tqdm counts from its own making, but the stage may be older.
            self._line.start_t -= now - self._since
        stepped = total < _BYTES and done != self._line.n
        if fresh or stepped or now - self._drawn >= _REDRAW_SECONDS:
            self._drawn, self._line.n, self._line.total = now, done, total
            self._line.refresh()


def _line(stage: str, total: int) -> Any:
    from tqdm import tqdm

    form = None
    if total < _BYTES:
        form = (
            "{desc} ... {elapsed}" if total == 1 else "[{n_fmt}/{total_fmt}] {desc} ... {elapsed}"
        )
    return tqdm(
        total=total, desc=stage, unit="B", unit_scale=total >= _BYTES, unit_divisor=1024,
        bar_format=form, dynamic_ncols=True, leave=False, file=sys.stderr,
        delay=1e-9,  # else it would draw itself before it is told what is done
    )  # fmt: skip
