"""Signing by who one is, and verifying it, by the package ``sigstore``: no key is kept.

An identity provider's token (of a CI job, or of a person in a browser) gets a certificate that
lives for minutes, and what it signs is entered in a log for everybody to see.
"""

from __future__ import annotations

import json
import sys
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import field, frozen

from weighbridge.domain.errors import (
    AuthenticationFailed,
    MissingExtra,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    ServerSilent,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from sigstore.models import Bundle, ClientTrustConfig
    from sigstore.oidc import IdentityToken

    from weighbridge.domain.signature import Identity

_T = TypeVar("_T")
_PLACE = "Sigstore"
_INSTALL = "signing by identity needs the package sigstore; pip install 'weighbridge[keyless]'"
_NOBODY = (
    "there is nobody to sign as: run it in a CI job that may ask for its identity (on GitHub "
    "`permissions: id-token: write`), or at a terminal, or set SIGSTORE_IDENTITY_TOKEN"
)
_VENDORS = frozenset({"sigstore", "requests", "urllib3", "tuf", "id"})
#: The claims by which a certificate names who asked for it, whole or below the provider's address.
_NAMING = ("email", "job_workflow_ref", "ci_config_ref_uri", "sub")


@frozen
class SigstoreIdentities:
    """See the port ``Identities``.

    ``token`` is the identity provider's, None to look for one; ``config`` the file with the trust
    config of another Sigstore than the public one; ``timeout`` is in seconds.
    """

    token: str | None = field(default=None, repr=False)
    config: str | None = None
    timeout: float = 60.0

    def require(self) -> None:
        """Raises what ``sign`` would by now; a token may still run out before that."""
        _require_package()
        if self.config is not None:
            self._trust()
        self._at_hand()

    def sign(self, payload: bytes, earlier: bytes | None) -> bytes:
        """The bundle of a signature; ``earlier`` if that is one of the same, by the same."""
        _require_package()
        trust = self._trust()
        token = self._identity(trust)
        if earlier is not None and _is_of(earlier, payload, token, trust):
            return earlier
        return self._answered(lambda: _signed(payload, token, trust), str(token))

    def problem(self, bundle: bytes, identity: Identity) -> str | None:
        """Why this is no signature by that identity; None if it is."""
        _require_package()
        found = _verified(bundle, identity.name, identity.issuer, self._trust())
        return found if isinstance(found, str) else None

    def _trust(self) -> ClientTrustConfig:
        from sigstore.models import ClientTrustConfig

        if self.config is None:
            return self._answered(ClientTrustConfig.production)
        try:
            return ClientTrustConfig.from_json(Path(self.config).read_text("utf-8"))
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                path=self.config, operation="reading the trust config", reason=reason
            ) from error
        except Exception as error:  # whatever a vendor's parser raises
            problem = f"{self.config} is no trust config of a Sigstore: {type(error).__name__}"
            raise UsageError(problem=problem) from error

    def _at_hand(self) -> IdentityToken | None:
        """The identity that is given, or that of a CI job; None for a person, who will be asked."""
        from sigstore.oidc import IdentityToken, detect_credential

        with self._told():
            said = self.token or detect_credential()
            if not said and not sys.stdin.isatty():
                raise UsageError(problem=_NOBODY)
            return IdentityToken(said) if said else None

    def _identity(self, trust: ClientTrustConfig) -> IdentityToken:
        from sigstore.oidc import Issuer

        with self._told():
            return self._at_hand() or Issuer(trust.signing_config.get_oidc_url()).identity_token()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raises whatever stands in the way of an identity as one of ours."""
        from sigstore.oidc import IdentityError

        try:
            yield
        except IdentityError as error:
            because = f": {error.__cause__}" if error.__cause__ else ""
            reason = _without(f"no identity to sign as: {error}{because}", self.token)
            raise AuthenticationFailed(destination=_PLACE, reason=reason) from error
        except Exception as error:
            if (told := _failure(error, self.token)) is None:
                raise
            raise told from error

    def _answered(self, ask: Callable[[], _T], token: str | None = None) -> _T:
        """What ``ask`` returns. Its requests have no limit of their own, so all of it has one."""
        done: list[_T] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                done.append(ask())
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.timeout)
        if failed:
            if (told := _failure(failed[0], token)) is None:
                raise failed[0]
            raise told from failed[0]
        if not done:
            reason = f"no answer within {self.timeout:g} seconds"
            raise ServerSilent(destination=_PLACE, reason=reason, applied=False)
        return done[0]


def _require_package() -> None:
    try:
        import sigstore.sign  # noqa: F401
    except ImportError as error:
        raise MissingExtra(problem=_INSTALL, extra="keyless") from error


def _signed(payload: bytes, token: IdentityToken, trust: ClientTrustConfig) -> bytes:
    from sigstore.dsse import Statement
    from sigstore.sign import SigningContext

    with SigningContext.from_trust_config(trust).signer(token) as signer:
        return signer.sign_dsse(Statement(payload)).to_json().encode() + b"\n"


def _is_of(earlier: bytes, payload: bytes, token: IdentityToken, trust: ClientTrustConfig) -> bool:
    """Whether ``token`` would only sign once more what it signed."""
    claims = json.loads(urlsafe_b64decode(str(token).split(".")[1] + "=="))
    said = [str(claims[claim]) for claim in _NAMING if claims.get(claim)]
    for name in _names(earlier):
        if any(name == each or name.endswith(f"/{each}") for each in said):
            return _verified(earlier, name, token.federated_issuer, trust) == payload
    return False


def _names(bundle: bytes) -> tuple[str, ...]:
    """Whom the certificate of a bundle names, unverified; none if it cannot be read."""
    from cryptography import x509
    from sigstore.models import Bundle

    try:
        certificate = Bundle.from_json(bundle).signing_certificate
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (x509.RFC822Name, x509.UniformResourceIdentifier)
        return tuple(name for kind in kinds for name in found.get_values_for_type(kind))
    except Exception:  # any bytes may be there
        return ()


def _verified(bundle: bytes, name: str, issuer: str, trust: ClientTrustConfig) -> bytes | str:
    """What was signed, or why it is no signature of a statement by that identity."""
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    try:
        read: Bundle = Bundle.from_json(bundle)
        who = policy.Identity(identity=name, issuer=issuer)
        _, payload = Verifier(trusted_root=trust.trusted_root).verify_dsse(read, who)
    except Exception as error:  # any bytes may be there, and what cannot be verified is not signed
        told = str(error) or type(error).__name__
        return f"it is not verified as signed by {name}: {told}"
    return payload


def _failure(error: Exception, token: str | None) -> RegistryError | None:
    """The error as one of ours; None if it is not the vendor's. The token is not repeated."""
    if type(error).__module__.partition(".")[0] not in _VENDORS:
        return None
    answers = (getattr(each, "response", None) for each in _chain(error))
    answer = next((each for each in answers if each is not None), None)
    if answer is None:
        reason = _without(str(error) or type(error).__name__, token)
        return RegistryUnreachable(destination=_PLACE, reason=reason, applied=False)
    reason = _without(f"{answer.status_code} {_words(answer)}".strip(), token)
    match answer.status_code:
        case 401 | 403:
            return AuthenticationFailed(destination=_PLACE, reason=reason)
        case 429:
            return RateLimited(destination=_PLACE, reason=reason)
        case _:
            return RegistryRejected(destination=_PLACE, reason=reason)


def _chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(answer: Any) -> str:
    try:
        return str(answer.json()["message"])[:400]
    except (ValueError, KeyError, TypeError):
        return str(answer.reason or "")


def _without(text: str, token: str | None) -> str:
    return text.replace(token, "***") if token else text
