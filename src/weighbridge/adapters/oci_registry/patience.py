"""What is asked of a registry again: what did not arrive, and what it has no time for now.

Decides how often and after what pause. Whoever waits for long is told of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from weighbridge.application.streams import ATTEMPTS, price
from weighbridge.domain.errors import RateLimited, RegistryUnreachable

_MOST_PAUSE = 60.0
_WORTH_TELLING = 2.0
_T = TypeVar("_T")
_log = logging.getLogger("weighbridge.oci")


def pause(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def patiently(work: Callable[[], _T]) -> _T:
    """``work``, again if the connection broke or the registry wants a pause, a few times."""
    spent = 0.0
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except RegistryUnreachable as error:
            spent += price(error)
            if spent >= ATTEMPTS:
                raise
            pause(2.0 ** (attempt - 1))
        except RateLimited as error:
            wait_for(error, attempt)
    return work()


def once(work: Callable[[], _T]) -> _T:
    """``work``, which may have been done when its answer is lost: again only if it was refused for
    the rate, and so not done."""
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except RateLimited as error:
            wait_for(error, attempt)
    return work()


def wait_for(error: RateLimited, attempt: int) -> None:
    """As long as the registry asks for; raises ``error`` if that is too long."""
    wanted = 2.0**attempt if error.retry_after is None else error.retry_after
    if wanted > _MOST_PAUSE:
        raise error
    if wanted >= _WORTH_TELLING:
        told = "%s: waiting for the registry's rate limit, %.0f s"
        _log.warning(told, error.destination, wanted)
    pause(wanted)
