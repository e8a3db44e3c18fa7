"""Who we are at a registry: the login that `docker login` keeps, by its config and its helpers.

Decides only where to look; nothing is asked for and nothing is stored.
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from weighbridge.domain.errors import StorageError
from weighbridge.domain.strict_json import StrictJsonError, parse_object

_HELPER_SECONDS = 30
_MOST_BYTES = 4 << 20
_HELPER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: The name that a helper gives to what is no password but an identity token.
_TOKEN_USER = "<token>"


@frozen
class Credential:
    """A user with a password, or an identity token."""

    user: str
    secret: str = field(repr=False)

    @property
    def is_token(self) -> bool:
        """Whether ``secret`` is an identity token."""
        return self.user == _TOKEN_USER

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.user}:{self.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def credential_for(host: str, directory: str | None) -> Credential | None:
    """The login for ``host`` in docker's config below ``directory``; None if there is none.

    In docker's order: the helper of the host, the store of all, what the file itself holds. Raises
    StorageError if the file, or what a helper says, cannot be read.
    """
    if directory is None:
        return None
    file = Path(directory, "config.json")
    config = _read(file)
    helpers, store = config.get("credHelpers"), config.get("credsStore")
    named = helpers.get(host) if isinstance(helpers, dict) else None
    auths = config.get("auths")
    for key in _keys(host, auths if isinstance(auths, dict) else {}):
        helper = named or store
        if isinstance(helper, str) and (found := _asked(helper, key)) is not None:
            return found
        if isinstance(auths, dict) and isinstance(auths.get(key), dict):
            held = _held(auths[key], file)
            if held is not None:
                return held
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return parse_object(stream.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except StrictJsonError as error:
        raise _unreadable(file, error.detail) from None
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None


def _keys(host: str, auths: Mapping[str, Any]) -> list[str]:
    """The host, and what is written in the file for it: older logins are addresses."""
    return [host, *(key for key in auths if key != host and _hostname(key) == host)]


def _hostname(key: str) -> str:
    return re.sub(r"^https?://", "", key).partition("/")[0]


def _held(entry: Mapping[str, Any], file: Path) -> Credential | None:
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Credential(_TOKEN_USER, token)
    if not isinstance(auth, str) or not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user = colon = password = ""
    if not colon:
        raise _unreadable(file, "an auth in it is not user:password in base64")
    return Credential(user, password.rstrip("\0"))


def _asked(helper: str, key: str) -> Credential | None:
    """What a credential helper knows of that host; None if it says that it knows nothing."""
    name = f"docker-credential-{helper}"
    if not _HELPER.fullmatch(helper):
        raise StorageError(path=name, operation="reading the login", reason="is no helper's name")
    try:
        done = subprocess.run(
            [name, "get"], input=key, capture_output=True, text=True, timeout=_HELPER_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageError(path=name, operation="reading the login", reason=str(error)) from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if "not found" in said:
            return None
        raise StorageError(path=name, operation="reading the login", reason=said[:300])
    try:
        answer = parse_object(done.stdout.encode())
    except StrictJsonError:
        answer = {}
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise StorageError(
            path=name, operation="reading the login", reason="its answer is no login"
        )
    return Credential(user, secret) if secret else None


def _unreadable(file: Path, reason: str) -> StorageError:
    return StorageError(path=str(file), operation="reading the login", reason=reason)
