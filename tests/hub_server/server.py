"""``HubServer``: what a test starts, inspects and breaks.

Decides the life of the server (a thread, a port of its own, a folder that goes with it) and
the vocabulary of tests; everything it does is done by the other modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import TracebackType
from typing import Self

from tests.hub_server import (
    handlers_commit,
    handlers_discussions,
    handlers_lfs,
    handlers_oauth,
    handlers_read,
    handlers_refs,
    handlers_repo,
    handlers_xet,
)
from tests.hub_server.auth import Role
from tests.hub_server.faults import Fault, Injection
from tests.hub_server.hub import MIB, Capabilities, Hub
from tests.hub_server.routes import Router
from tests.hub_server.storage import Repository
from tests.hub_server.transport import HubHttpServer, LogEntry

_HANDLERS = (
    handlers_repo,
    handlers_read,
    handlers_commit,
    handlers_lfs,
    handlers_refs,
    handlers_discussions,
    handlers_xet,
    handlers_oauth,
)


class HubServer:
    """A Hub on 127.0.0.1 for the time of a ``with`` block.

    ``token`` may write everywhere, ``read_token`` may read everywhere, ``stranger_token`` is
    valid but belongs to nobody's organization.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        xet: bool = True,
        enforce_parent: bool = True,
        honour_visibility: bool = True,
        preupload_oid: bool = True,
        pull_requests: bool = True,
        page_size: int = 1000,
        part_size: int = 32 * MIB,
        keep_content: bool = True,
        first_commit: bool = True,
    ) -> None:
        self._scratch = TemporaryDirectory(prefix="hub-")
        folder = root or Path(self._scratch.name)
        capabilities = Capabilities(
            xet=xet,
            enforce_parent=enforce_parent,
            honour_visibility=honour_visibility,
            preupload_oid=preupload_oid,
            pull_requests=pull_requests,
            page_size=page_size,
            part_size=part_size,
            keep_content=keep_content,
            first_commit=first_commit,
        )
        self.hub = Hub(folder.resolve(), capabilities)
        self._http = HubHttpServer(self.hub, Router(r for m in _HANDLERS for r in m.ROUTES))
        self.url = self.hub.url = f"http://127.0.0.1:{self._http.server_port}"
        self.hub.store_url = f"http://localhost:{self._http.server_port}"
        self.token = self.add_token("tester", "write")
        self.read_token = self.add_token("reader", "read")
        self.stranger_token = self.add_token("stranger", "none")

    def __enter__(self) -> Self:
        """Start answering."""
        Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop answering, hang up on every client and remove the folder."""
        self._http.stop()
        self._scratch.cleanup()

    @property
    def log(self) -> list[LogEntry]:
        """Every request so far as (method, quoted path, status); 0 stands for no answer."""
        return list(self._http.log)

    @property
    def bytes_sent(self) -> int:
        """Bytes of all bodies that were sent so far."""
        return self._http.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of the bodies of all requests so far, of those too that broke off."""
        return self._http.bytes_received

    def requests(self, method: str = "", path: str = "") -> list[LogEntry]:
        """The logged requests with this method whose path matches."""
        return [
            each
            for each in self.log
            if method in ("", each.method) and re.search(path, each.path) is not None
        ]

    def clear_log(self) -> None:
        """Forget the requests so far."""
        self._http.log.clear()

    def inject(self, fault: Fault) -> Injection:
        """Add a fault; the handle tells how many requests it has struck."""
        return self._http.plan.inject(fault)

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._http.plan.clear()

    def add_token(self, user: str, role: Role, namespaces: Iterable[str] | None = None) -> str:
        """Issue a token; without namespaces it is good for all of them."""
        return self.hub.accounts.add(user, role, namespaces)

    def revoke(self, token: str) -> None:
        """Make a token invalid."""
        self.hub.accounts.revoke(token)

    def trusted_job(self, repo: str, workflow: str = "acme/training/release.yml") -> dict[str, str]:
        """The environment of a job of a workflow that ``repo`` trusts."""
        self.hub.publishers.trusted[repo] = workflow
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/_ci/id-token",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.hub.publishers.job(workflow),
            "HF_OIDC_RESOURCE": repo,
        }

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every token that this server or its CI ever gave out."""
        publishers = self.hub.publishers
        return (*self.hub.accounts.tokens, *publishers.jobs, *publishers.issued)

    def create_repo(
        self,
        name: str,
        *,
        private: bool = False,
        files: Mapping[str, bytes] | None = None,
        repo_type: str = "model",
    ) -> Repository:
        """Set up a repository without HTTP; files go to git or LFS as the Hub would decide."""
        repository = self.hub.create(name, f"{repo_type}s", private=private)
        if files:
            repository.push(files, "seed")
        return repository

    def delete_repo(self, name: str, repo_type: str = "model") -> None:
        """Remove a repository, if it is there."""
        repository = self.hub.find(name, f"{repo_type}s")
        if repository is not None:
            self.hub.delete(repository)

    def has_repo(self, name: str, repo_type: str = "model") -> bool:
        """Whether a repository exists."""
        return self.hub.find(name, f"{repo_type}s") is not None

    def repo(self, name: str, repo_type: str = "model") -> Repository:
        """A repository, for inspection."""
        repository = self.hub.find(name, f"{repo_type}s")
        if repository is None:
            raise KeyError(name)
        return repository
