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
    ServerSilent,
    Unsupported,
    WeighbridgeError,
)

_MOST_WORDS = 600
_LOGIN = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
     "AuthorizationHeaderMalformed", "RequestExpired", "RequestTimeTooSkewed",
     "ExpiredTokenException", "TokenRefreshRequired"}
)  # fmt: skip
_NO_LOGIN = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
     "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound"}
)  # fmt: skip
_SILENT = frozenset({"ReadTimeoutError", "ConnectTimeoutError"})
_TRANSPORT = frozenset({"HTTPClientError", "ConnectionError", "IncompleteReadError"})
_BY_STATUS: Mapping[int, type[RegistryError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: DestinationMissing,
    409: RevisionConflict,
    412: RevisionConflict,
    429: RateLimited,
    501: Unsupported,
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


@contextmanager
def configured(destination: str) -> Iterator[None]:
    """The same while boto3 reads what its surroundings say, of which it raises ValueError, too."""
    with translated(destination, "reading the login"):
        try:
            yield
        except (ValueError, KeyError, TypeError) as error:
            if "BotoCoreError" in {kind.__name__ for kind in type(error).__mro__}:
                raise
            reason = f"boto3 cannot use the settings that it finds: {error}"
            raise RegistryRejected(destination=destination, reason=reason) from None


def _translation(error: Exception, destination: str, doing: str) -> RegistryError | None:
    """By the names of classes, so that this module needs no boto3; None for what is a bug."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ClientError" in names:
        return _answered(getattr(error, "response", {}), destination, doing)
    reason = f"{doing}: {' '.join(str(error).split())[:_MOST_WORDS]}"
    if "Invalid header value" in reason:  # which is a token, and is shown whole
        reason = f"{doing}: a key or token in it cannot be sent; is there a line end in it?"
        return AuthenticationFailed(destination=destination, reason=reason)
    # No file that is sent is opened here; those of boto3 are for its login.
    if names & _NO_LOGIN or isinstance(error, FileNotFoundError | PermissionError):
        return AuthenticationFailed(destination=destination, reason=reason)
    if names & _SILENT:
        return ServerSilent(destination=destination, reason=reason, applied=False)
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
    reads = doing.startswith(("reading", "looking"))
    if reads and status == 403 and code in ("AccessDenied", "403", "Forbidden"):
        reason += "; without the right s3:ListBucket it says so of what is not there, too"
    if code in _LOGIN:
        return AuthenticationFailed(destination=destination, reason=reason)
    if code in ("SlowDown", "Throttling", "RequestLimitExceeded"):
        return RateLimited(destination=destination, reason=reason)
    if status == 408 or (status >= 500 and status not in _BY_STATUS):
        return RegistryUnreachable(destination=destination, reason=reason, applied=False)
    return _BY_STATUS.get(status, RegistryRejected)(destination=destination, reason=reason)
