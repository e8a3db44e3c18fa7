"""From whatever ``huggingface_hub``, its HTTP library or ``hf_xet`` raise to our own errors.

Decides what each failure means for the operator, and that no text holds a token or the signature
of a signed address. Anything a vendor raises is translated, known or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

from attrs import define, frozen

from weighbridge.adapters.hub.ranges import NoRanges
from weighbridge.adapters.hub.silence import ServerSilent
from weighbridge.domain.errors import (
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    StorageError,
    TooLarge,
    WeighbridgeError,
)

_HTTP_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
_LOGIN_ERRORS = frozenset(
    {"LocalTokenNotFoundError", "OIDCError", "DeviceCodeError", "XetAuthenticationError"}
)
# Of the errors that have words, those whose words say nothing.
_NO_WORDS = frozenset({"JSONDecodeError", "HfUriError", "UnicodeDecodeError"})
# Tokens of the Hub, those that it signs among them, and any other that is signed as they are.
_TOKENS = re.compile(r"\bhf_[\w.-]{8,}|\beyJ[\w-]{8,}\.[\w.-]{8,}|(?<=Bearer )\S+")
_LOGIN = re.compile(r"(?<=://)[^/\s]+(?=@)")
_SIGNED = re.compile(r"(https?://[^\s?]+)\?\S+")
_RESET = re.compile(r"\b(?:t|reset)=(\d+)")
_RESETS = ("ratelimit-reset", "x-ratelimit-reset")
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_MAX_WORDS = 600
_NOT_IMPLEMENTED = 501
#: Who has no room left is told that it is not allowed, that it costs, or that there is none.
_FULL = (402, 413, 507)
_NO_ROOM = re.compile(r"\bstorage\b.{0,20}\b(limit|quota)|\bquota\b.{0,20}\bexceeded", re.I)
_PASSING = (500, 502, 503, 504)
_BROKEN = ("RemoteProtocolError", "ReadError")


@define(kw_only=True, eq=False, slots=False)
class ParentNotEnforced(RevisionConflict):
    """The server made our commit on another parent than the one that was demanded."""

    def message(self) -> str:
        return (
            f"{self.destination}: published on top of {self.actual or 'an unknown revision'} "
            f"instead of the planned {self.expected}. This server does not enforce the parent of a "
            "commit: another publication came in between, and both are now mixed. Run again."
        )


class NotUnderstood(RegistryRejected):
    """The client made nothing of an answer; what the server did is not known by that."""

    def message(self) -> str:
        return (
            f"{super().message()}. The server's answer was not understood: HF_ENDPOINT must name "
            "one that speaks the Hub's protocol, and nothing in between may answer in its place"
        )


@frozen
class Translator:
    """Words and classifies errors of calls that concern one destination."""

    destination: str
    token: str | None

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Translate everything that escapes; our own errors pass through."""
        try:
            yield
        except (WeighbridgeError, NoRanges):
            raise
        except Exception as error:
            # The vendor's texts stay out of the traceback if they are not fit to be shown.
            fit = all(self._without_secrets(str(e)) == str(e) for e in _chain(error))
            raise self.translate(error) from (error if fit else None)

    def translate(self, error: BaseException) -> WeighbridgeError:
        """The error that tells the operator what to do."""
        if isinstance(error, WeighbridgeError):
            return error
        response = getattr(error, "response", None)
        if response is not None:
            return self._answered(error, response)
        if isinstance(error, RuntimeError) and error.__cause__ is not None:
            return self.translate(error.__cause__)  # How an upload in a thread fails.
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _LOGIN_ERRORS:
            return self._make(AuthenticationFailed, error)
        if is_transport(error):
            silent = any("Timeout" in name for name in names)
            kind = ServerSilent if silent else RegistryUnreachable
            reason = self.clean(f"{_where(error)}{self._words(error)}")
            return kind(destination=self.destination, reason=reason, applied=False)
        if isinstance(error, OSError):
            where = str(error.filename or self.destination)
            return StorageError(path=where, operation="upload", reason=self._words(error))
        in_words = isinstance(error, ValueError) and not names & _NO_WORDS
        return self._make(RegistryRejected if in_words else NotUnderstood, error)

    def clean(self, text: str) -> str:
        """One short line without tokens and signatures."""
        return " ".join(self._without_secrets(text).split())[:_MAX_WORDS]

    def _without_secrets(self, text: str) -> str:
        token = self.token or ""
        for secret in filter(None, (token, token.strip(), repr(token)[1:-1])):
            text = text.replace(secret, "[token]")
        text = _LOGIN.sub("[login]", _TOKENS.sub("[token]", text))
        return _SIGNED.sub(r"\1?[...]", text)

    def _answered(self, error: BaseException, response: Any) -> RegistryError:
        """By what the server said; the classes of the client only refine the status."""
        status = int(response.status_code)
        names = {kind.__name__ for kind in type(error).__mro__}
        if status == 401:
            return AuthenticationFailed(
                destination=self.destination,
                reason=f"{self._words(error).rstrip('.')}. {_what_to_do(response)}",
            )
        if status in _FULL or (status == 403 and _NO_ROOM.search(self._words(error))):
            return self._make(TooLarge, error)
        if status == 403 or "GatedRepoError" in names:
            return self._make(PermissionDenied, error)
        if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
            return self._make(DestinationMissing, error)
        if status in (409, 412):
            return RevisionConflict(destination=self.destination, reason=self._words(error))
        if status == 429:
            pause = retry_after(response.headers)
            words = self._words(error)
            return RateLimited(destination=self.destination, reason=words, retry_after=pause)
        if status == 408 or (status >= 500 and status != _NOT_IMPLEMENTED):
            return RegistryUnreachable(
                destination=self.destination, reason=self._words(error), applied=False
            )
        return self._make(RegistryRejected, error)

    def _make(self, kind: type[RegistryError], error: BaseException) -> RegistryError:
        return kind(destination=self.destination, reason=self._words(error))

    def _words(self, error: BaseException) -> str:
        """The server's own words where there are some, else the client's, with the status."""
        said = getattr(error, "server_message", None) or str(error)
        response = getattr(error, "response", None)
        label = type(error).__name__ if response is None else f"HTTP {response.status_code}"
        return self.clean(f"{label}: {said}" if said else label)


def _where(error: BaseException) -> str:
    """What was asked of whom; and what to do about its certificate."""
    request = getattr(error, "_request", None)
    if request is None:
        return ""
    url = request.url
    proxy = (
        None if proxy_bypass(url.host) else getproxies().get(url.scheme) or getproxies().get("all")
    )
    way = f", by way of the proxy {proxy}" if proxy else ""
    trust = " (SSL_CERT_FILE names the authorities to trust)" if "CERTIFICATE" in str(error) else ""
    return f"{request.method} {url.scheme}://{url.netloc.decode()}{url.path}{way}{trust}: "


def _what_to_do(refused: Any) -> str:
    """The client takes no token along to another host."""
    asked = refused.history[0].url if refused.history else refused.url
    if asked.netloc != refused.url.netloc:
        there = f"{refused.url.scheme}://{refused.url.netloc.decode()}"
        return f"The server redirects to {there}, where no token is sent: set HF_ENDPOINT to that"
    return "Set HF_TOKEN, or log in with: hf auth login"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that a traceback of it would show."""
    shown: BaseException | None = error
    while shown is not None:
        yield shown
        hidden = shown.__suppress_context__
        shown = shown.__cause__ or (None if hidden else shown.__context__)


def is_transport(error: BaseException) -> bool:
    """Whether the conversation failed, rather than one side saying no.

    By the module's name: the client has changed its HTTP library twice, and ``hf_xet`` reports
    everything as a builtin ``ConnectionError``.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(modules & _HTTP_LIBRARIES)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """A store says no without a word of which file it was."""
    try:
        yield
    except RegistryError as error:
        if path not in error.reason:
            error.reason = f"{path}: {error.reason}"
        raise


def is_passing(error: BaseException) -> bool:
    """Whether what was asked may be had a moment later: the server is overloaded, or a connection
    broke that it had taken."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code) in _PASSING
    return type(error).__name__ in _BROKEN


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause in seconds that the server asks for, in any of the spellings that are in use."""
    plain = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(plain):
        return float(plain)
    match = _RESET.search(headers.get("ratelimit", ""))
    if match is not None:
        return float(match.group(1))
    for name in _RESETS:  # In seconds, or as some gateways have it the moment since 1970.
        said = headers.get(name, "").strip()
        if _SECONDS.fullmatch(said):
            now = datetime.now(UTC).timestamp()
            return float(said) if float(said) < now / 2 else max(0.0, float(said) - now)
    try:
        moment = parsedate_to_datetime(plain)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
