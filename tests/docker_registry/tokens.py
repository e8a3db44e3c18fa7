"""The token service that a registry sends its users to: checks the password, signs what they may.

The registry itself checks the signature, the times and the names; the key is made anew each time.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ISSUER, _SERVICE = "tests-issuer", "tests-service"


class TokenServer:
    """Answers GET with a password and POST with a refresh token. ``lifetime`` is of the tokens."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self.folder = folder
        self.lifetime = 300
        #: What was asked for, as the queries have it.
        self.asked: list[Mapping[str, str]] = []
        self.given: list[str] = []
        #: Statuses that the next requests are answered with, whoever asks.
        self.refusals: list[int] = []
        #: What users may do, if that is not all that they ask for.
        self.actions: set[str] | None = None
        self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._password = password
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}/token"

    @property
    def terms(self) -> dict[str, str]:
        """The registry's configuration for it."""
        return {
            "realm": self.url,
            "service": _SERVICE,
            "issuer": _ISSUER,
            "rootcertbundle": str(self.folder / "token.crt"),
        }

    def start(self) -> None:
        """Make the key, and answer."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=tests", "-keyout", str(self.folder / "token.key"),
             "-out", str(self.folder / "token.crt")],
            check=True, capture_output=True,
        )  # fmt: skip
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()

    def _token(self, terms: Mapping[str, str], user: str) -> str:
        """A signed token for what was asked, or for nothing if nobody asks."""
        now = int(time.time())
        scopes = [scope.split(":") for scope in terms.get("scope", "").split()] if user else []
        access = [
            {"type": t, "name": n,
             "actions": [a for a in wanted.split(",") if self.actions is None or a in self.actions]}
            for t, n, wanted in scopes
        ]  # fmt: skip
        certificate = (self.folder / "token.crt").read_text()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(certificate.split("\n")[1:-2])]}
        claims = {
            "iss": _ISSUER, "aud": terms.get("service", ""), "sub": user,
            "jti": str(time.time_ns()),
            "nbf": now - 10, "iat": now, "exp": now + self.lifetime, "access": access,
        }  # fmt: skip
        signed = ".".join(_coded(json.dumps(part).encode()) for part in (header, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "token.key")],
            input=signed.encode(), capture_output=True, check=True,
        )  # fmt: skip
        self.given.append(f"{signed}.{_coded(done.stdout)}")
        return self.given[-1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization")
                self._answer(urlsplit(self.path).query, authorization == server._basic,
                             authorization is None)  # fmt: skip

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                token = parse_qs(form).get("refresh_token", [""])[0]
                self._answer(form, token == server._password, False)

            def _answer(self, query: str, known: bool, nobody: bool) -> None:
                terms = {name: values[0] for name, values in parse_qs(query).items()}
                server.asked.append(terms)
                if server.refusals:
                    self.send_error(server.refusals.pop(0))
                    return
                if not known and not nobody:
                    self.send_error(401)
                    return
                body = {"token": server._token(terms, "tester" if known else "")}
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
