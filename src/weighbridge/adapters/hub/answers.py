"""What the client asks of the Hub, and what the Hub answers, seen before the client sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_Hook = Callable[[Any], None]
_changing = threading.Lock()


@contextmanager
def heard(hear: _Hook, ask: _Hook | None = None) -> Iterator[None]:
    """Call ``hear`` with every answer of the context, and ``ask`` with every request, in whatever
    thread of the client it comes."""
    more = {"response": [hear], "request": [ask] if ask else []}
    with _on_new_sessions(more):
        _change(_session(), more, _added)
        try:
            yield
        finally:
            _change(_session(), more, _without)


#: The hooks of all contexts that have not ended, which need not end in their order.
_hooks_now: list[dict[str, list[_Hook]]] = []
_FACTORY, _THEIRS = "_GLOBAL_CLIENT_FACTORY", "weighbridge_theirs"


@contextmanager
def _on_new_sessions(more: dict[str, list[_Hook]]) -> Iterator[None]:
    """The client makes a new session where it could not connect, and asks again with that."""
    from huggingface_hub.utils import _http

    with _changing:
        _hooks_now.append(more)
        theirs = getattr(_http, _FACTORY, None)
        if theirs is not None and not hasattr(theirs, _THEIRS):
            setattr(_http, _FACTORY, _hearing(theirs))
    try:
        yield
    finally:
        with _changing:
            _hooks_now.remove(more)
            if not _hooks_now:
                ours = getattr(_http, _FACTORY, None)
                setattr(_http, _FACTORY, getattr(ours, _THEIRS, ours))


def _hearing(theirs: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        session = theirs()
        for more in tuple(_hooks_now):
            _change(session, more, _added)
        return session

    setattr(made, _THEIRS, theirs)
    return made


def _session() -> Any:
    from huggingface_hub import get_session

    return get_session()


def _change(
    session: Any,
    more: dict[str, list[_Hook]],
    change: Callable[[list[_Hook], list[_Hook]], list[_Hook]],
) -> None:
    with _changing:
        hooks = session.event_hooks
        session.event_hooks = {name: change(hooks[name], more[name]) for name in hooks}


def _added(hooks: list[_Hook], more: list[_Hook]) -> list[_Hook]:
    return [*hooks, *(each for each in more if each not in hooks)]


def _without(hooks: list[_Hook], more: list[_Hook]) -> list[_Hook]:
    return [each for each in hooks if each not in more]
