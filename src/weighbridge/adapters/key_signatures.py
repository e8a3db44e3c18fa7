"""Signing and verifying with an elliptic curve key, by the package ``cryptography``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from weighbridge.domain.errors import MissingExtra, PathMissing, StorageError, UsageError
from weighbridge.domain.signature import Signed, signed_message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_INSTALL = "a signature needs the package cryptography; pip install 'weighbridge[sign]'"
#: No key has more.
_MOST_BYTES = 1 << 20
#: The curves that the format's own tools take, with the hash for each.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_REWRITE = "ssh-keygen -p -m PKCS8 -f KEY and openssl pkey write it in a form that all can"
_NO_PASSPHRASE = "is encrypted; give its passphrase in WEIGHBRIDGE_SIGN_PASSPHRASE"


@frozen
class KeySignatures:
    """See the port ``Signatures``.

    ``passphrase`` is that of private keys that have one; without it ``ask`` is, with the path of
    the key, for what a person types. A key is opened once.
    """

    passphrase: str | None = field(default=None, repr=False)
    ask: Callable[[str], str | None] | None = field(default=None, repr=False)
    _opened: dict[str, Any] = field(factory=dict, init=False, repr=False, eq=False)

    def require(self, key: str) -> None:
        """Open the private key in the file ``key``, for ``sign`` after hours of work."""
        self._private(key)

    def sign(self, payload: bytes, key: str) -> Signed:
        """Sign with the private key in the file ``key``; the same bytes for the same text."""
        private = self._private(key)
        signature = private.sign(signed_message(payload), _algorithm(private, deterministic=True))
        return Signed(payload, signature, _fingerprint(private.public_key()))

    def problem(self, signed: Signed, key: str) -> str | None:
        """Why this is no signature by the public key in the file ``key``; None if it is."""
        from cryptography.exceptions import InvalidSignature

        public: Any = _public(key)
        if signed.key is None:
            return "it is by a certificate and not by a key; verify it with --identity"
        if signed.key and signed.key != _fingerprint(public):
            return "it was made with another key"
        try:
            public.verify(signed.signature, signed.message, _algorithm(public))
        except InvalidSignature:
            return "the signature is not of what it says, or not by this key"
        return None

    def _private(self, path: str) -> Any:
        if path not in self._opened:
            self._opened[path] = _on_a_curve(path, self._unlocked(path, _read(path)))
        return self._opened[path]

    def _unlocked(self, path: str, raw: bytes) -> Any:
        kind = "ssh" if b"-----BEGIN OPENSSH PRIVATE KEY-----" in raw else "pem"
        try:
            return _loaded(f"{kind}_private_key", path, raw, None)
        except TypeError:  # it is encrypted
            said = self.passphrase or (self.ask(path) if self.ask else None)
        except ValueError as error:
            raise _no_key(path, "private", raw) from error
        if not said:
            raise UsageError(problem=f"{path}: the key {_NO_PASSPHRASE}")
        try:
            passphrase = said.encode(errors="surrogateescape")
            return _loaded(f"{kind}_private_key", path, raw, passphrase)
        except ValueError as error:
            problem = f"{path}: the key is encrypted, and with another passphrase than that given"
            raise UsageError(problem=problem) from error


def _public(path: str) -> Any:
    raw = _read(path)
    kind = "ssh" if raw.lstrip().startswith(b"ecdsa-sha2-") else "pem"
    try:
        return _on_a_curve(path, _loaded(f"{kind}_public_key", path, raw))
    except ValueError as error:
        raise _no_key(path, "public", raw) from error


def _loaded(kind: str, path: str, *content: bytes | None) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtra(problem=_INSTALL, extra="sign") from error
    try:
        return getattr(serialization, f"load_{kind}")(*content)
    except UnsupportedAlgorithm as error:  # one of OpenSSH's own ciphers, without bcrypt
        problem = f"{path}: cryptography cannot read this key here: {error}; {_REWRITE}"
        raise UsageError(problem=problem) from error


def _no_key(path: str, kind: str, raw: bytes) -> UsageError:
    label = _LABEL.search(raw)
    found = f"is {label[1].decode()!r}" if label else "cannot be read as one"
    return UsageError(problem=f"{path}: expected a {kind} key in PEM; it {found}")


def _on_a_curve(path: str, key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    kinds = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
    if not isinstance(key, kinds) or key.curve.name not in _HASHES:
        raise UsageError(
            problem=f"{path}: the key must be of the curve P-256, P-384 or P-521; make one with "
            "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
        )
    return key


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise PathMissing(path=path, operation="read the key") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(path=path, operation="read the key", reason=reason) from error
    if len(raw) > _MOST_BYTES:
        raise UsageError(problem=f"{path} is no key: it has more than {_MOST_BYTES} bytes")
    return raw


def _algorithm(key: Any, *, deterministic: bool = False) -> ec.ECDSA:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    kind = getattr(hashes, _HASHES[key.curve.name])()
    try:
        # RFC 6979: publishing the same release again changes nothing.
        return ec.ECDSA(kind, deterministic_signing=deterministic)
    except UnsupportedAlgorithm:  # an OpenSSL before 3.2
        return ec.ECDSA(kind)


def _fingerprint(public: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()
