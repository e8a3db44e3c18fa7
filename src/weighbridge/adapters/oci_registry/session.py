"""Requests to one repository in the name of its user, as the registry's challenges demand.

Decides when a login is asked for (never before the registry asks), and to whom it is told.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from attrs import define, field

from weighbridge.adapters.oci_registry.failures import Failures
from weighbridge.adapters.oci_registry.login import Credential
from weighbridge.adapters.oci_registry.transport import Answer, Transport
from weighbridge.domain.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from weighbridge.domain.strict_json import StrictJsonError, parse_object

Body = Callable[[], Iterable[bytes]]
#: By scheme in lower case, the parameters of what a registry wants to know us by.
Challenges = Mapping[str, Mapping[str, str]]
# Of a list of challenges: a parameter, or the scheme that begins the next one.
_CHALLENGE = re.compile(
    r'(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^",\s]*))'
    r"|(?P<scheme>[A-Za-z][\w-]*)"
)
_MOST_BYTES = 1 << 20
# Of a header; what never ends takes the square of its length to read.
_LONGEST = 8192
_MOST_REDIRECTS = 5
#: Which leave the method as it is.
_SAME_AGAIN = (307, 308)
_AGENT = {"User-Agent": "weighbridge"}


@define
class Session:
    """One repository, as seen by one user. ``login`` is called when a registry demands it."""

    host: str
    name: str
    transport: Transport
    failures: Failures
    login: Callable[[], Credential | None]
    _authorization: str | None = field(default=None, init=False, repr=False)
    #: On what terms the token was asked for, if it is one.
    _terms: Mapping[str, str] = field(factory=dict, init=False, repr=False)
    _asking: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        good: Iterable[int] = (200,),
        longer: float = 0.0,
    ) -> Answer:
        """An answer with one of the ``good`` statuses; a refusal is met with the login, once.

        ``path`` is below the registry's API, or an address that it gave. ``body`` is called for
        each attempt. ``longer`` are seconds that the registry may take more than usual. Raises the
        RegistryError family.
        """
        with self.failures.calls(doing):
            url = urljoin(self.transport.base(self.host), path)
            known = self._authorization
            answer = self._followed(method, url, headers, body, longer)
            # Of wherever a read was sent on to, nobody asks who we are.
            if answer.status in (401, 403) and self._is_ours(answer.url):
                with self._asking:  # once for all threads that it happens to
                    if self._authorization != known:
                        answer.close()
                        answer = self._followed(method, url, headers, body, longer)
                    if asked := self._asked_for(answer, method, good):
                        answer.close()
                        self._authorization = self._authorized(asked)
                        answer = self._followed(method, url, headers, body, longer)
            if answer.status not in good:
                raise self._refused(answer, doing)
        return answer

    def _asked_for(self, answer: Answer, method: str, good: Iterable[int]) -> Challenges | None:
        """The challenges that a refusal is to be met with; None if no login would change it.

        Some registries answer 403 where the specification has 401: to a token that is for reading
        only, or to nobody. They do not say what they want, but that can be known.
        """
        asked = _challenges_of(answer)
        if answer.status == 401:
            return asked
        if answer.status != 403 or answer.status in good:
            return None
        own, known = asked.get("bearer", {}), self._terms
        if self._authorization is None and "realm" not in own:
            asked = self._challenged()
            if "bearer" not in asked and "basic" in asked:
                return asked
            known = asked.get("bearer", {})  # whose scope, if any, is an example
        actions = "pull" if method in ("GET", "HEAD") else "pull,push"
        terms = {**known, "scope": f"repository:{self.name}:{actions}", **own}
        if "realm" not in terms or terms["scope"] in self._terms.get("scope", ""):
            return None
        return {"bearer": terms}

    def _challenged(self) -> Challenges:
        """What the registry answers to nobody in particular, if there is a login to answer with."""
        if self.login() is None:
            return {}
        answer = self.transport.send("GET", self.transport.base(self.host), _AGENT)
        answer.close()
        return _challenges_of(answer)

    def _refused(self, answer: Answer, doing: str) -> RegistryError:
        """The error for an answer that no login has changed."""
        asked = _challenges_of(answer).get("bearer", {})
        error = self.failures.answered(answer, doing)
        if answer.status not in (401, 403):
            return error
        is_known = self.login() is not None
        if is_known and asked.get("error") == "insufficient_scope":
            reason = f"{doing}: the login is good, and has no right to {asked.get('scope')}"
            return self.failures.make(PermissionDenied, reason)
        if not is_known and answer.status == 403 and self._is_ours(answer.url):
            error.reason += f"; {self._no_login}"
        return error

    def _followed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Body | None,
        longer: float,
    ) -> Answer:
        """The answer of whoever a writing request is sent on to, with the same body; for reading
        ones the transport does that."""
        for _ in range(_MOST_REDIRECTS):
            self.transport.require_safe(self.transport.base(self.host), url)
            more = dict(headers or {}) | _AGENT
            if self._authorization is not None and self._is_ours(url):
                more["Authorization"] = self._authorization
            answer = self.transport.send(method, url, more, body() if body else None, longer)
            if answer.status not in _SAME_AGAIN or "location" not in answer.headers:
                return answer
            answer.close()
            url = urljoin(url, answer.headers["location"])
        raise OSError("is sent from one address to the next")

    def _is_ours(self, url: str) -> bool:
        """Only the registry itself is told who we are; uploads may go to another host."""
        return _place(url) == _place(self.transport.base(self.host))

    def _authorized(self, asked: Challenges) -> str:
        """The header that answers one of the challenges: a token's before a password's."""
        self._terms = asked.get("bearer", {})
        credential = self.login()
        if credential is not None:
            self.failures.secrets |= {credential.secret, credential.basic.partition(" ")[2]}
        if "realm" in asked.get("bearer", {}):
            token = self._token(asked["bearer"], credential)
            self.failures.secrets.add(token)
            return f"Bearer {token}"
        if "basic" not in asked:
            kinds = ", ".join(filter(None, asked)) or "that it does not name"
            raise self._denied(f"the registry demands a login of a kind {kinds}")
        if credential is None or credential.is_token:
            raise self._denied(self._no_login)
        return credential.basic

    def _token(self, asked: Mapping[str, str], credential: Credential | None) -> str:
        """A token from the address that the challenge names."""
        realm = asked.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and self.transport.may_be_plain(parts.netloc)
        ):
            raise self._denied(f"tokens are to be had from {realm}, which is not safe")
        terms = {name: asked[name] for name in ("service", "scope") if name in asked}
        answer = self._asked(realm, terms, credential)
        if answer.status != 200:
            error = self.failures.answered(answer, f"asking {realm} for a token")
            known = credential is not None and isinstance(error, PermissionDenied)
            if known or isinstance(error, (RateLimited, RegistryUnreachable)):
                raise error
            reason = error.reason if credential else f"{error.reason}; {self._no_login}"
            raise AuthenticationFailed(destination=error.destination, reason=reason)
        try:
            document = parse_object(answer.content(_MOST_BYTES))
        except StrictJsonError:
            document = {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise self._denied(f"{realm} gave no token")
        return token

    def _asked(self, realm: str, terms: dict[str, str], credential: Credential | None) -> Answer:
        if credential is not None and credential.is_token:
            form = {"grant_type": "refresh_token", "client_id": "weighbridge",
                    "refresh_token": credential.secret, **terms}  # fmt: skip
            content = urlencode(form).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded",
                       "Content-Length": str(len(content)), **_AGENT}  # fmt: skip
            return self.transport.send("POST", realm, headers, [content])
        headers = dict(_AGENT)
        if credential is not None:
            headers["Authorization"] = credential.basic
        mark = "&" if urlsplit(realm).query else "?"
        return self.transport.send("GET", f"{realm}{mark}{urlencode(terms)}", headers)

    @property
    def _no_login(self) -> str:
        return f"there is no login for {self.host}: `docker login {self.host}`"

    def _denied(self, reason: str) -> RegistryError:
        return self.failures.make(AuthenticationFailed, reason)


def _place(url: str) -> tuple[str | None, int]:
    """Whom a connection to an address is to, however that is spelled."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _challenges_of(answer: Answer) -> Challenges:
    return dict(_challenges(answer.headers.get("www-authenticate", "")))


def _challenges(header: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each scheme in lower case with its parameters. Of one that comes twice, the last counts."""
    scheme, found = "", dict[str, str]()
    for part in _CHALLENGE.finditer(header[:_LONGEST]):
        if part["scheme"]:
            yield scheme, found
            scheme, found = part["scheme"].lower(), {}
        elif part["name"]:
            value = part["plain"] if part["quoted"] is None else part["quoted"]
            found[part["name"].lower()] = re.sub(r"\\(.)", r"\1", value)
    yield scheme, found
