"""With which token the Hub is asked, so that no text shows it.

Decides what is known of the token before the first request: the caller's, or what the client will
send by itself (of trusted publishing, the environment, its login). A refused exchange of a job's
OpenID token is a refused login, whatever the status of the answer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weighbridge.adapters.hub.errors import Translator
from weighbridge.domain.errors import (
    AuthenticationFailed,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
    StorageError,
)

if TYPE_CHECKING:
    from weighbridge.adapters.hub.patience import Patience

_RESOURCE = "HF_OIDC_RESOURCE"


def translator(destination: str, token: str | None, patience: Patience) -> Translator:
    """For calls with that token, or with the client's own, which may have to be asked for. Raises
    AuthenticationFailed, RateLimited, RegistryUnreachable."""
    if token is not None:
        return _sendable(destination, token)
    unknown = Translator(destination, os.environ.get("HF_OIDC_ID_TOKEN"))

    def found() -> str | None:
        with unknown.calls():
            from huggingface_hub import get_token

            return get_token()

    try:
        return _sendable(destination, patience.repeat(found))
    except (RegistryUnreachable, RateLimited):
        raise
    except StorageError as error:
        raise StorageError(
            path=error.path, operation="reading the login", reason=error.reason
        ) from error
    except RegistryError as error:
        raise _no_login(destination, error) from error


def _sendable(destination: str, token: str | None) -> Translator:
    if token is not None and not (token.isascii() and token.isprintable()):
        reason = "the token holds characters that no token has. Set HF_TOKEN to what the Hub gave"
        raise AuthenticationFailed(destination=destination, reason=reason)
    return Translator(destination, token)


def _no_login(destination: str, error: RegistryError) -> AuthenticationFailed:
    resource = os.environ.get(_RESOURCE)
    if not resource:
        return AuthenticationFailed(destination=destination, reason=error.reason)
    return AuthenticationFailed(
        destination=destination,
        reason=f"trusted publishing failed for {_RESOURCE}={resource}: {error.reason}",
    )
