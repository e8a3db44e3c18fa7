"""What is asked of a registry again: what did not arrive, and what it has no time for now.

Decides how often and after what pause. Whoever waits for long is told of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from weighbridge.application.streams import ATTEMPTS, price
from weighbridge.domain.errors import RateLimited, RegistryUnreachable

_MOST_PAUSE = 60.0
_WORTH_TELLING = 2.0
_T = TypeVar("_T")
_log = logging.getLogger("weighbridge.oci")
#: Of all that were refused for the rate one asks again at a time, or together they would meet it
#: again and again.
_turn = threading.RLock()


def pause(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def patiently(work: Callable[[], _T]) -> _T:
    """``work``, again if the connection broke or the registry wants a pause, a few times."""
    spent = 0.0
    with ExitStack() as turn:
        for attempt in range(1, ATTEMPTS):
            try:
                return work()
            except RegistryUnreachable as error:
                spent += price(error)
                if spent >= ATTEMPTS:
                    raise
                pause(2.0 ** (attempt - 1))
            except RateLimited as error:
                _wait(error, attempt, turn)
        return work()


def once(work: Callable[[], _T]) -> _T:
    """``work``, which may have been done when its answer is lost: again only if it was refused for
    the rate, and so not done."""
    with ExitStack() as turn:
        for attempt in range(1, ATTEMPTS):
            try:
                return work()
            except RateLimited as error:
                _wait(error, attempt, turn)
        return work()


def _wait(error: RateLimited, attempt: int, turn: ExitStack) -> None:
    """As long as the registry asks for, of which waiting for the ``turn`` is a part; raises
    ``error`` if that is too long."""
    wanted = 2.0**attempt if error.retry_after is None else error.retry_after
    if wanted > _MOST_PAUSE:
        raise error
    since = time.monotonic()
    turn.enter_context(_turn)
    left = wanted - (time.monotonic() - since)
    if left <= 0:  # others have waited meanwhile
        return
    if left >= _WORTH_TELLING:
        told = "%s: waiting for the registry's rate limit, %.0f s"
        _log.warning(told, error.destination, left)
    pause(left)
