"""How a worker tells its launcher what it is at: one line of a file for each stage.

A file needs no reader to be there, and neither side can wait for the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress

_EVERY_SECONDS = 0.2
#: Told how many stages the worker has begun, and which is the last of them.
Listener: TypeAlias = Callable[[int, str], None]


def nobody(begun: int, stage: str) -> None:
    """The listener that shows nothing."""


def begin(request: Mapping[str, Any], stage: str) -> None:
    """In the worker: say that a stage begins. No-op if the request names no file for it."""
    if "stages" in request:
        with Path(request["stages"]).open("a", encoding="utf-8") as file:
            file.write(stage + "\n")


def wait(process: Popen[bytes], stages: Path, listener: Listener, timeout: float) -> int:
    """The exit code. Tells ``listener`` five times a second. Raises TimeoutExpired."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return process.wait(max(0.0, min(_EVERY_SECONDS, left)))
        except TimeoutExpired:
            if left <= _EVERY_SECONDS:
                raise
        lines = stages.read_text(encoding="utf-8").splitlines() if stages.exists() else []
        listener(len(lines), lines[-1] if lines else "")


@define
class Steps:
    """The listener that counts the stages of several workers as items of one piece of work.

    ``done`` is what there was before the worker that runs now.
    """

    progress: Progress
    title: str
    total: int
    done: int = 0
    _shown: str = field(default="", init=False)

    def __call__(self, begun: int, stage: str) -> None:
        """See Listener. The last item is not done before the end."""
        self._shown = f"{self.title}: {stage}" if stage else self._shown or self.title
        at = self.done + max(0, begun - 1)
        self.progress(self._shown, min(at, self.total - 1), self.total)

    def end(self) -> None:
        """All is done, or given up."""
        if self._shown:
            self.progress(self._shown, self.total, self.total)
