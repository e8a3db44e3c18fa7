"""Who asks, and what they may do.

Decides the meaning of a token: ``write`` and ``read`` belong to members of the namespaces
they list (of every namespace when none is listed), ``none`` is a valid token of a stranger.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tests.hub_server.errors import ApiError

Role = Literal["write", "read", "none"]


@dataclass(frozen=True)
class Account:
    """A user as one of their tokens shows them."""

    name: str
    role: Role
    namespaces: frozenset[str] | None
    repository: str | None = None

    def member_of(self, namespace: str) -> bool:
        """Whether the token sees the namespace's private repositories."""
        if self.role == "none":
            return False
        return self.namespaces is None or namespace in self.namespaces | {self.name}

    def may_write(self, namespace: str | None) -> bool:
        """Whether the token may change a namespace's repositories (``None``: propose changes)."""
        return self.role == "write" and (namespace is None or self.member_of(namespace))

    def may_use(self, repo_id: str) -> bool:
        """Whether the token is not for another repository alone."""
        return self.repository in (None, repo_id)


class Accounts:
    """The tokens that the server knows."""

    def __init__(self) -> None:
        self._by_token: dict[str, Account] = {}
        #: Also those that are good no more.
        self.tokens: list[str] = []

    def add(
        self,
        user: str,
        role: Role,
        namespaces: Iterable[str] | None = None,
        *,
        repository: str | None = None,
        prefix: str = "hubtest_",
    ) -> str:
        """Issue a token, for one repository alone if that is given."""
        token = f"{prefix}{role}_{secrets.token_hex(8)}"
        spaces = None if namespaces is None else frozenset(namespaces)
        self._by_token[token] = Account(user, role, spaces, repository)
        self.tokens.append(token)
        return token

    def revoke(self, token: str) -> None:
        """Make a token unknown."""
        self._by_token.pop(token, None)

    def identify(self, authorization: str | None) -> Account | None:
        """The account behind a header; nobody without one, an error for an unknown token."""
        if not authorization:
            return None
        account = self._by_token.get(authorization.removeprefix("Bearer "))
        if account is None:
            raise ApiError(401, "Invalid credentials in Authorization header")
        return account
