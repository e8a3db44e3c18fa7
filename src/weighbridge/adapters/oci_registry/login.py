"""Who we are at a registry: the login that `docker login` keeps, by its config and its helpers.

Decides only where to look; nothing is asked for and nothing is stored. Podman's, skopeo's and
Buildah's auth.json has the same form, and may have a login for a part of a registry.
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from weighbridge.domain.errors import StorageError
from weighbridge.domain.strict_json import StrictJsonError, parse_object

_HELPER_SECONDS = 30
_MOST_BYTES = 4 << 20
_HELPER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# The second form without its scheme is docker's own, of long ago.
_ADDRESS = re.compile(r"https?://(?P<host>[^/]+)(/.*)?|(?P<bare>[^/]+)/v[12]/?")
#: As docker names the registry that it takes for granted, and as others do.
_HUB = ("https://index.docker.io/v1/", "docker.io", "index.docker.io")
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


def credential_for(host: str, name: str, files: Sequence[str]) -> Credential | None:
    """The login for the repository ``name`` of ``host`` in the first of the files that has one;
    None if none has.

    In each in docker's order: the helper of the host, the store of all, what the file itself holds.
    Raises StorageError if a file, or what a helper says, cannot be read.
    """
    return next((found for f in files if (found := _in(Path(f), host, name)) is not None), None)


def _in(file: Path, host: str, name: str) -> Credential | None:
    config = _read(file)
    auths, helpers = (_table(config.get(key)) for key in ("auths", "credHelpers"))
    for key in _keys(host, name, auths):
        helper = helpers.get(key) or config.get("credsStore")
        if isinstance(helper, str) and (found := _asked(helper, key)) is not None:
            return found
        if (held := _held(_table(auths.get(key)), file)) is not None:
            return held
    return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


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


def _keys(host: str, name: str, auths: Mapping[str, Any]) -> Iterator[str]:
    """By what a login may be kept, the narrowest first: parts of a registry only if the file has
    them, since helpers know none; and the addresses that older logins are."""
    parts = [host, *name.split("/")]
    narrower = ("/".join(parts[:length]) for length in range(len(parts), 1, -1))
    yield from (key for key in narrower if key in auths)
    if host in _HUB:
        yield from _HUB
    else:
        yield host
    yield from (key for key in auths if key != host and _is_address(key, host))


def _is_address(key: str, host: str) -> bool:
    found = _ADDRESS.fullmatch(key)
    return found is not None and host in (found["host"], found["bare"])


def _held(entry: Mapping[str, Any], file: Path) -> Credential | None:
    token, auth = entry.get("identitytoken"), entry.get("auth")
    user, password = entry.get("username"), entry.get("password")
    if isinstance(token, str) and token:
        return Credential(_TOKEN_USER, token)
    if not isinstance(auth, str) or not auth:
        # As Kubernetes' secrets may have it.
        whole = isinstance(user, str) and isinstance(password, str) and user
        return Credential(str(user), str(password)) if whole else None
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
