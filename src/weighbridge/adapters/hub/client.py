"""The import of the client, which takes as long as half a gigabyte takes to be judged."""

from __future__ import annotations

import threading
from contextlib import suppress

_one_at_a_time = threading.Lock()


def imported() -> None:
    """The client can be used when this returns. Whoever uses it asks for that first: modules that
    import each other are not for two threads."""
    with _one_at_a_time:
        import huggingface_hub.hf_api  # noqa: F401


def import_meanwhile() -> None:
    """Import it beside what else is done; an error is for who then needs it."""

    def begin() -> None:
        with suppress(Exception):
            imported()

    threading.Thread(target=begin, daemon=True).start()
