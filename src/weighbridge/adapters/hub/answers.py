"""What the Hub answers, seen before the client sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def heard(hear: Callable[[Any], None]) -> Iterator[None]:
    """Call ``hear`` with every answer of the context, in whatever thread of the client it comes."""
    from huggingface_hub import get_session

    _listen(get_session(), lambda hooks: [*hooks, hear])
    try:
        yield
    finally:
        _listen(get_session(), lambda hooks: [h for h in hooks if h != hear])


def _listen(session: Any, change: Callable[[list[Any]], list[Any]]) -> None:
    hooks = session.event_hooks
    session.event_hooks = {**hooks, "response": change(hooks["response"])}
