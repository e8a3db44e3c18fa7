"""The client, made ready: its import, which takes as long as half a gigabyte takes to be judged,
and its connections, which depend on the surroundings."""

from __future__ import annotations

import threading
from contextlib import suppress

from weighbridge.adapters.hub.errors import Translator
from weighbridge.domain.errors import RegistryUnreachable

_one_at_a_time = threading.Lock()
_MEANWHILE = "weighbridge-client"


def make_ready(destination: str) -> None:
    """The client can be used when this returns; whoever uses it asks for that first, since modules
    that import each other are not for two threads. Raises RegistryUnreachable."""
    try:
        _made()
    except Exception as error:
        words = Translator(destination, None).clean(f"{type(error).__name__}: {error}")
        raise RegistryUnreachable(
            destination=destination,
            reason=f"no connection can be made in these surroundings: {words.rstrip('.')}. Look at "
            "HF_ENDPOINT, SSL_CERT_FILE, SSL_CERT_DIR, HTTPS_PROXY, ALL_PROXY",
            applied=False,
        ) from None


def make_ready_meanwhile() -> None:
    """The same beside what else is done; an error is for who then needs it."""

    def begin() -> None:
        with suppress(Exception):
            _made()

    threading.Thread(target=begin, name=_MEANWHILE, daemon=True).start()


def _made() -> None:
    with _one_at_a_time:
        import huggingface_hub.hf_api

        huggingface_hub.get_session()
