"""What to do when the Hub says 429: wait for as long as it asks, visibly, but not for ever.

The client by itself sleeps for whatever the server asks, an hour too, and says nothing; and of
the requests that count most, the commit among them, it repeats none. A refused request has done
nothing, so it may be repeated. The one that it repeats without end and without a pause is to create
a repository, as long as the Hub says that it creates another one: that gets pauses and an end here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from attrs import define, field

from weighbridge.adapters.hub.answers import heard
from weighbridge.adapters.hub.errors import retry_after
from weighbridge.adapters.hub.silence import SECONDS, Silence
from weighbridge.application.ports import no_progress
from weighbridge.domain.errors import RateLimited, RevisionConflict

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress

STAGE = "waiting for the registry's rate limit"
#: Seconds: of one wait, and of all of one piece of work.
LONGEST, MOST = 300.0, 900.0
#: Seconds between requests to create a repository, each once.
BUSY = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
_HEADERS = ("ratelimit", "retry-after", "ratelimit-reset", "x-ratelimit-reset")
_WAITED = "weighbridge.waited"
_log = logging.getLogger("weighbridge.hub")


@define
class Patience:
    """Waits in the course of one piece of work. Safe in the client's threads."""

    destination: str
    progress: Progress = no_progress
    longest: float = LONGEST
    most: float = MOST
    waited: float = field(default=0.0, init=False)
    #: Whether a wait was too long to be waited; nothing is repeated then.
    over: bool = field(default=False, init=False)
    busy: tuple[float, ...] = BUSY
    #: Seconds that the server may be silent; see ``silence``.
    timeout: float = SECONDS
    _silence: Silence = field(init=False, repr=False)
    _waits: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _depth: int = field(default=0, init=False)
    _lock: Any = field(factory=threading.Lock, init=False, repr=False)

    @_silence.default
    def _(self) -> Silence:
        return Silence(self.destination, self.timeout)

    @property
    def at_work(self) -> float:
        """Seconds that it may be silent where it has something to do."""
        return self._silence.at_work

    def repeat(self, work: Callable[[], _T]) -> _T:
        """Do it, again after every wait. Raises RateLimited if that would take too long."""
        with self._watching():
            while True:
                before = self._waits
                try:
                    return work()
                except RateLimited:
                    if self.over or self._waits == before:
                        raise

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """See every answer that the client gets, before the client does."""
        with self._lock:
            self._depth += 1
            first = self._depth == 1
        try:
            with heard(self._see, self._silence.ask) if first else nullcontext():
                yield
        finally:
            with self._lock:
                self._depth -= 1

    def _see(self, answer: Any) -> None:
        self._silence.hear(answer)
        if answer.status_code == 409 and answer.request.url.path.endswith("/api/repos/create"):
            self._rest()
        if answer.extensions.get(_WAITED):  # by other work of this process
            with self._lock:
                self._waits += 1
        pause = retry_after(answer.headers) if answer.status_code == 429 else None
        if pause is None:
            return
        with self._lock:  # The threads of an upload wait one after another.
            self._wait(max(pause, 1.0))
        answer.extensions[_WAITED] = True
        for name in _HEADERS:  # Else the client would wait once more, in silence.
            answer.headers.pop(name, None)

    def _rest(self) -> None:
        """Before a repository is asked for again. The first refusal may be the last word."""
        if self._refused >= len(self.busy):
            raise RevisionConflict(
                destination=self.destination,
                reason="the registry is creating another repository of this account all the time",
            )
        time.sleep(self.busy[self._refused])
        self._refused += 1

    def _wait(self, pause: float) -> None:
        if self.over or pause > self.longest or self.waited + pause > self.most:
            self.over = True
            raise RateLimited(
                destination=self.destination,
                reason=f"the registry asks for a pause of {pause:.0f} seconds after "
                f"{self.waited:.0f} seconds of waiting; at most {self.longest:.0f} at once and "
                f"{self.most:.0f} in all are waited",
                retry_after=pause,
            )
        _log.warning("%s: %s, %.0f s", self.destination, STAGE, pause)
        self._waits += 1
        self.waited += pause
        end, total = time.monotonic() + pause, max(1, round(pause))
        while (left := end - time.monotonic()) > 0:
            self.progress(STAGE, min(total - 1, max(0, round(pause - left))), total)
            time.sleep(min(1.0, left))
        self.progress(STAGE, total, total)


_T = TypeVar("_T")
_P = ParamSpec("_P")


class Patient(Protocol):
    """Whoever has patience."""

    @property
    def patience(self) -> Patience:
        """How long it is."""


_S = TypeVar("_S", bound=Patient)


def patiently(
    method: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], _T]:
    """Repeat a method that was refused for its rate, and that does nothing if it is refused."""

    def repeated(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.patience.repeat(lambda: method(self, *args, **kwargs))

    update_wrapper(repeated, method)
    return repeated
