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
    TooLarge,
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
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "SSOError",
     "TokenRetrievalError", "LoginError", "MetadataRetrievalError", "ProfileNotFound"}
)  # fmt: skip
#: What boto3 asks other services for, to have a login.
_LOGGING_IN = ("AssumeRole", "GetRoleCredentials", "GetSessionToken", "CreateToken", "CreateOAuth2")
_SILENT = frozenset({"ReadTimeoutError", "ConnectTimeoutError"})
_TRANSPORT = frozenset({"HTTPClientError", "ConnectionError", "IncompleteReadError"})
_DENIED = ("AccessDenied", "403", "Forbidden")
_FULL = ("EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
#: Codes that say more than their status.
_BY_CODE: Mapping[str, type[RegistryError]] = {
    **dict.fromkeys(_LOGIN, AuthenticationFailed),
    **dict.fromkeys(("SlowDown", "Throttling", "RequestLimitExceeded"), RateLimited),
    **dict.fromkeys(_FULL, TooLarge),
    "InvalidObjectState": RegistryRejected,
}
_REGION = "name the bucket's region in AWS_DEFAULT_REGION (boto3 takes no notice of AWS_REGION)"
_REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed"), _REGION),
    **dict.fromkeys(("TemporaryRedirect", "IllegalLocationConstraintException"), _REGION),
    "RequestTimeTooSkewed": "set the clock of this machine",
    "SignatureDoesNotMatch": "the secret key, the region or the address of the store is another",
    "InvalidObjectState": "it lies in an archive of the store; restore it first",
}
_BY_STATUS: Mapping[int, type[RegistryError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: DestinationMissing,
    409: RevisionConflict,
    412: RevisionConflict,
    429: RateLimited,
    501: Unsupported,
    507: TooLarge,
}


class AskedAgain(RevisionConflict):
    """A condition that did not hold when the client asked once more: the first time it may have."""


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
        if getattr(error, "operation_name", "").startswith(_LOGGING_IN):
            return AuthenticationFailed(destination=destination, reason=_words(doing, error))
        return _answered(getattr(error, "response", {}), destination, doing)
    reason = _words(doing, error)
    if "Invalid header value" in reason:  # which is a token, and is shown whole
        reason = f"{doing}: a key or token in it cannot be sent; is there a line end in it?"
        return AuthenticationFailed(destination=destination, reason=reason)
    # No file that is sent is opened here; those of boto3 are for its login.
    if names & _NO_LOGIN or isinstance(error, FileNotFoundError | PermissionError):
        return AuthenticationFailed(destination=destination, reason=reason)
    if "SSLError" in names and ("CERTIFICATE" in reason or "No such file" in reason):
        reason += "; AWS_CA_BUNDLE names the file with authorities of your own"
        return RegistryRejected(destination=destination, reason=reason)
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
    words = words.rstrip(".")
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    reason = f"{doing}: HTTP {status} {code}: {words}"[:_MOST_WORDS]
    reads = doing.startswith(("reading", "looking"))
    # Where it knows which right is missing, it says so.
    vague = code in _DENIED and "not authorized to perform" not in words
    if reads and status == 403 and vague:
        reason += "; without the right s3:ListBucket it says so of what is not there, too"
    if code in _REMEDIES:
        reason += f"; {_REMEDIES[code]}"
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, RegistryRejected)
    if kind is RegistryRejected and (status == 408 or status >= 500):
        return RegistryUnreachable(destination=destination, reason=reason, applied=False)
    if kind is RevisionConflict and response.get("ResponseMetadata", {}).get("RetryAttempts"):
        kind = AskedAgain
    return kind(destination=destination, reason=reason)


def _words(doing: str, error: Exception) -> str:
    return f"{doing}: {' '.join(str(error).split())[:_MOST_WORDS]}"
