"""Several at a time: what waits for an answer each time, and would wait longest one after another.

Decides how many, and that what is large is left to one after another: that fills the line by
itself, and whoever sends or takes it may hold a piece of it in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from weighbridge.domain.artifact import ManifestEntry

AT_ONCE = 8
#: Bytes of a file of which several may be on their way.
SMALL = 1 << 20
#: Seconds that an interrupt waits for what has begun. A server that is silent is not waited for.
_GRACE = 2.0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def at_once(work: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
    """What ``work`` makes of each, in their order. Raises what it raises first; then nothing more
    is begun, and what has begun has come to its end."""
    jobs = deque(enumerate(items))
    if len(jobs) < 2:
        return [work(item) for _, item in jobs]
    made: dict[int, _Out] = {}
    failures: list[BaseException] = []

    def run() -> None:
        while not failures:
            try:
                number, item = jobs.popleft()
            except IndexError:
                return
            try:
                made[number] = work(item)
            except BaseException as error:
                failures.append(error)

    # The library's pool would be waited for at the end of the process, however long that takes.
    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(AT_ONCE, len(jobs)))]
    for each in threads:
        each.start()
    try:
        for each in threads:
            each.join()
    except BaseException as interrupt:
        failures.append(interrupt)
        end = time.monotonic() + _GRACE
        for each in threads:
            each.join(max(0.0, end - time.monotonic()))
        raise
    if failures:
        raise failures[0]
    return [made[number] for number in sorted(made)]


def of_files(work: Callable[[ManifestEntry], _Out], entries: Iterable[ManifestEntry]) -> list[_Out]:
    """What ``work`` makes of each file, in their order: of the small ones several at a time, then
    of the others one after another."""
    wanted = list(entries)
    small = [n for n, entry in enumerate(wanted) if entry.size <= SMALL]
    made = dict(zip(small, at_once(lambda n: work(wanted[n]), small), strict=True))
    return [made[n] if n in made else work(entry) for n, entry in enumerate(wanted)]
