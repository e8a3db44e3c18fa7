"""Signing and verifying with an elliptic curve key, by the package ``cryptography``."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.domain.errors import MissingExtra, PathMissing, StorageError, UsageError
from weighbridge.domain.signature import Signed, signed_message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_INSTALL = "a signature needs the package cryptography; pip install 'weighbridge[sign]'"
#: The curves that the format's own tools take, by size of the key, with the hash for each.
_HASHES = {256: "SHA256", 384: "SHA384", 521: "SHA512"}


@frozen
class KeySignatures:
    """See the port ``Signatures``."""

    def sign(self, payload: bytes, key: str) -> Signed:
        """Sign with the private key in the PEM file ``key``; the same bytes for the same text."""
        private: Any = _loaded(key, private=True)
        signature = private.sign(signed_message(payload), _algorithm(private, deterministic=True))
        return Signed(payload, signature, _fingerprint(private.public_key()))

    def problem(self, signed: Signed, key: str) -> str | None:
        """Why this is no signature by the public key in the PEM file ``key``; None if it is."""
        from cryptography.exceptions import InvalidSignature

        public: Any = _loaded(key, private=False)
        if signed.key is None:
            return "it is by a certificate and not by a key; verify it with --identity"
        if signed.key and signed.key != _fingerprint(public):
            return "it was made with another key"
        try:
            public.verify(signed.signature, signed.message, _algorithm(public))
        except InvalidSignature:
            return "the signature is not of what it says, or not by this key"
        return None


def _loaded(path: str, *, private: bool) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingExtra(problem=_INSTALL, extra="sign") from error
    raw = _read(path)
    try:
        key = (
            serialization.load_pem_private_key(raw, password=None)
            if private
            else serialization.load_pem_public_key(raw)
        )
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        kind = "private" if private else "public"
        label = _LABEL.search(raw)
        found = f"is {label[1].decode()!r}" if label else "cannot be read as one"
        reason = "is encrypted; openssl pkey -in KEY -out PLAIN writes it without a passphrase"
        reason = reason if isinstance(error, TypeError) else found
        raise UsageError(problem=f"{path}: expected a {kind} key in PEM; it {reason}") from error
    kinds = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
    if not isinstance(key, kinds) or key.curve.key_size not in _HASHES or "k1" in key.curve.name:
        raise UsageError(
            problem=f"{path}: the key must be of the curve P-256, P-384 or P-521; make one with "
            "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
        )
    return key


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise PathMissing(path=path, operation="read the key") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(path=path, operation="read the key", reason=reason) from error


def _algorithm(key: Any, *, deterministic: bool = False) -> ec.ECDSA:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    kind = getattr(hashes, _HASHES[key.curve.key_size])()
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
