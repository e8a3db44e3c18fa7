"""From what boto3 raises to our own errors, by the code that S3 gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from weighbridge.domain.errors import (
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    WeighbridgeError,
)

_MOST_WORDS = 600
_LOGIN = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
     "AuthorizationHeaderMalformed", "RequestExpired"}
)  # fmt: skip
_NO_LOGIN = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
     "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound"}
)  # fmt: skip
_TRANSPORT = frozenset({"HTTPClientError", "ConnectionError", "IncompleteReadError"})
_BY_STATUS: Mapping[int, type[RegistryError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: DestinationMissing,
    409: RevisionConflict,
    412: RevisionConflict,
    429: RateLimited,
}


@contextmanager
def translated(destination: str, doing: str) -> Iterator[None]:
    """Raises whatever escapes as one of the RegistryError family."""
    try:
        yield
    except WeighbridgeError:
        raise
    except Exception as error:
        translation = _translation(error, destination, doing)
        if translation is None:
            raise
        raise translation from None


def _translation(error: Exception, destination: str, doing: str) -> RegistryError | None:
    """By the names of classes, so that this module needs no boto3; None for what is a bug."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ClientError" in names:
        return _answered(getattr(error, "response", {}), destination, doing)
    reason = f"{doing}: {' '.join(str(error).split())[:_MOST_WORDS]}"
    if names & _NO_LOGIN:
        return AuthenticationFailed(destination=destination, reason=reason)
    if names & _TRANSPORT or isinstance(error, OSError):
        return RegistryUnreachable(destination=destination, reason=reason, applied=False)
    if "BotoCoreError" in names:
        return RegistryRejected(destination=destination, reason=reason)
    return None


def _answered(response: Mapping[str, Any], destination: str, doing: str) -> RegistryError:
    said = response.get("Error", {})
    code, words = str(said.get("Code", "")), " ".join(str(said.get("Message", "")).split())
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    reason = f"{doing}: HTTP {status} {code}: {words}"[:_MOST_WORDS]
    if code in _LOGIN:
        return AuthenticationFailed(destination=destination, reason=reason)
    if code in ("SlowDown", "Throttling", "RequestLimitExceeded"):
        return RateLimited(destination=destination, reason=reason)
    if status == 408 or status >= 500:
        return RegistryUnreachable(destination=destination, reason=reason, applied=False)
    return _BY_STATUS.get(status, RegistryRejected)(destination=destination, reason=reason)
