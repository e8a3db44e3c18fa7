"""From statuses and broken connections to our own errors, without a secret in any word.

Addresses are shown without their query: registries put signatures and states of uploads there.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import define, field

from weighbridge.domain.errors import (
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    ServerSilent,
    TooLarge,
    WeighbridgeError,
)
from weighbridge.domain.strict_json import StrictJsonError, parse_object

if TYPE_CHECKING:
    from weighbridge.adapters.oci_registry.transport import Answer

_SIGNED = re.compile(r"(https?://[^\s?]+)\?\S+")
_MOST_WORDS = 600
_KINDS: Mapping[int, type[RegistryError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: DestinationMissing,
    413: TooLarge,
}


@define
class Failures:
    """Makes the errors that concern one destination. ``secrets`` never come out."""

    destination: str
    secrets: set[str] = field(factory=set, repr=False)

    def words(self, text: str) -> str:
        """One short line without secrets."""
        for secret in filter(None, tuple(self.secrets)):  # to which other threads may add
            text = text.replace(secret, "[secret]")
        return " ".join(_SIGNED.sub(r"\1?[...]", text).split())[:_MOST_WORDS]

    def make(self, kind: type[RegistryError], reason: str) -> RegistryError:
        """An error of that kind about the destination."""
        return kind(destination=self.destination, reason=self.words(reason))

    @contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Turns what a connection raises into RegistryUnreachable."""
        try:
            yield
        except WeighbridgeError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = self.words(
                f"{doing}: {getattr(error, 'reason', error) or type(error).__name__}"
            )
            if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                raise RegistryRejected(  # which no second attempt would change
                    destination=self.destination,
                    reason=f"{reason}; SSL_CERT_FILE names authorities of your own, or certs.d "
                    "as docker has it",
                ) from None
            silent = isinstance(getattr(error, "reason", error), TimeoutError)
            # The texts of the library may hold an address with a signature.
            raise (ServerSilent if silent else RegistryUnreachable)(
                destination=self.destination, reason=reason, applied=False
            ) from None

    def answered(self, answer: Answer, doing: str) -> RegistryError:
        """The error for an answer that is not what was hoped for."""
        said = _said(answer)
        reason = self.words(f"{doing}: HTTP {answer.status}" + (f": {said}" if said else ""))
        if answer.status == 401:
            reason += "; log in with `docker login`, or check the login there is"
        if answer.status == 429:
            pause = pause_of(answer.headers)
            return RateLimited(destination=self.destination, reason=reason, retry_after=pause)
        if answer.status == 408 or answer.status >= 500:
            return RegistryUnreachable(destination=self.destination, reason=reason, applied=False)
        return _KINDS.get(answer.status, RegistryRejected)(
            destination=self.destination, reason=reason
        )


def _said(answer: Answer) -> str:
    """The registry's own words, from the body that the specification gives to errors, or the plain
    text of what stands before it."""
    content = answer.content(1 << 16)
    try:
        document = parse_object(content)
    except StrictJsonError:
        plain = answer.headers.get("content-type", "text/plain").startswith("text/plain")
        return content.decode(errors="replace") if plain else ""
    errors = document.get("errors")
    # Some that are not registries alone say it in a form of their own.
    if not isinstance(errors, list):
        return str(document.get("message") or document.get("error") or "")
    said = [e for e in errors if isinstance(e, dict)]
    return "; ".join(f"{e.get('code', '')} {e.get('message', '')}".strip() for e in said)


def pause_of(headers: Mapping[str, str]) -> float | None:
    """The pause in seconds that a registry asks for."""
    from datetime import UTC, datetime

    said = headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
