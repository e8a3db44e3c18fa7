"""One docker-registry process, with what is around it for a login.

Decides nothing of the protocol: that is the registry's own.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.docker_registry.tokens import TokenServer

USER, PASSWORD = "tester", "planted-password-of-the-tests"
#: bcrypt of the password, which htpasswd files of the registry must have.
_HASHED = "$2b$04$B7PLQCTQzLzAkn1.xUy.dOF3mbYL9g0bm7Dmy8vdn4dZnR16RnoJ6"


class Guard(Enum):
    """How the registry knows its users."""

    NONE = "none"
    BASIC = "basic"
    TOKEN = "token"


class DockerRegistry:
    """A registry that keeps everything below ``folder``."""

    def __init__(
        self,
        folder: Path,
        guard: Guard = Guard.NONE,
        tls: tuple[Path, Path] | None = None,
        clients: Path | None = None,
    ) -> None:
        """``tls`` are a certificate and its key; ``clients`` the authority of its users'."""
        self.folder, self.guard, self.tls, self.clients = folder, guard, tls, clients
        self.host = f"127.0.0.1:{_free_port()}"
        self.log = folder / "registry.log"
        self.tokens = TokenServer(folder, USER, PASSWORD) if guard is Guard.TOKEN else None

    def __enter__(self) -> Self:
        """Start, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.tokens:
            self.tokens.start()
        self._write_login()
        config = self.folder / "registry.yml"
        config.write_text(json.dumps(self._config()))  # JSON is YAML
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdout=log, stderr=log
            )
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()
        if self.tokens:
            self.tokens.stop()

    @property
    def logins(self) -> tuple[str, ...]:
        """The file with the login, as `docker login` would have left it."""
        return (str(self.folder / "docker" / "config.json"),)

    def requests(self, method: str, path: str) -> list[str]:
        """The paths of the logged requests of that method that contain ``path``."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line for line in lines if f'"{method} ' in line and path in line]
        return [line.split(f'"{method} ')[1].split(" ")[0] for line in found]

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host},
        }
        if self.tls:
            certificate, key = map(str, self.tls)
            config["http"]["tls"] = {"certificate": certificate, "key": key}
            if self.clients:
                config["http"]["tls"]["clientcas"] = [str(self.clients)]
        if self.guard is Guard.BASIC:
            passwords = self.folder / "htpasswd"
            passwords.write_text(f"{USER}:{_HASHED}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
        if self.tokens:
            config["auth"] = {"token": self.tokens.terms}
        return config

    def _write_login(self) -> None:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        place = Path(self.logins[0])
        place.parent.mkdir(exist_ok=True)
        auths = {} if self.guard is Guard.NONE else {self.host: {"auth": pair}}
        place.write_text(json.dumps({"auths": auths}))

    def _wait(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(200):
            try:
                opener.open(f"http://{self.host}/", timeout=5).close()
                return
            except urllib.error.HTTPError:  # as one with TLS answers
                return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"docker-registry does not answer: {self.log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
