"""What signs, and verifies what is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from weighbridge.domain.signature import Identity, Signed


class Signatures(Protocol):
    """Signs with a private key and verifies with a public one; each is named by its file."""

    def require(self, key: str) -> None:
        """Find out now whether ``sign`` can use that key. Raises as ``sign``."""

    def sign(self, payload: bytes, key: str) -> Signed:
        """The same for the same payload and key, if the library can.

        Raises MissingExtra; UsageError for what is no such key, or for one that is encrypted with
        another passphrase than is known; StorageError if it is unreadable.
        """

    def problem(self, signed: Signed, key: str) -> str | None:
        """Why this is no signature by that key; None if it is. Raises as ``sign``."""


class Identities(Protocol):
    """Signs as whoever runs this, vouched for by an identity provider, and verifies that."""

    def require(self) -> None:
        """Raises, of what ``sign`` does, all that can be known before there is something to sign:
        that the package is missing, and that nobody is there to sign as, or with a token that is
        none, has expired or is for another service."""

    def sign(self, payload: bytes, earlier: bytes | None) -> bytes:
        """The bundle of a new signature, which is logged for everybody to see; ``earlier``, as it
        is, if that is a valid one of the same payload by the same identity.

        Raises MissingExtra; UsageError if there is nobody to sign as; StorageError; the
        RegistryError family for what the services answer.
        """

    def problem(self, bundle: bytes, identity: Identity) -> str | None:
        """Why this is no signature by that identity; None if it is. Raises MissingExtra, and
        RegistryUnreachable if nobody tells now whom to believe."""
