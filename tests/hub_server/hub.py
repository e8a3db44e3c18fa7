"""The state of the Hub: repositories, accounts and what this Hub is capable of.

Decides who may open which repository, where the repositories lie, and which of the Hub's
habits a less capable server would lack (``Capabilities``).
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.hub_server.auth import Account, Accounts
from tests.hub_server.discussions import Discussions
from tests.hub_server.errors import ApiError, repository_not_found
from tests.hub_server.messages import Request
from tests.hub_server.oidc import TrustedPublishers
from tests.hub_server.storage import Repository
from tests.hub_server.xet import XetStore

Need = Literal["read", "propose", "write"]
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Where this Hub differs from huggingface.co; the defaults are its behaviour.

    Without ``keep_content`` it checks what is uploaded and forgets it: there is nothing to
    download then, but room for any model.
    """

    xet: bool = True
    enforce_parent: bool = True
    honour_visibility: bool = True
    preupload_oid: bool = True
    pull_requests: bool = True
    page_size: int = 1000
    part_size: int = 32 * MIB
    keep_content: bool = True
    first_commit: bool = True


class Hub:
    """Everything the handlers need to answer."""

    def __init__(self, root: Path, capabilities: Capabilities) -> None:
        self.root = root
        self.can = capabilities
        self.url = ""
        self.store_url = ""
        self.accounts = Accounts()
        self.publishers = TrustedPublishers()
        self.xet = XetStore(root / "cas")
        self.discussions = Discussions()
        self._repositories: dict[tuple[str, str], Repository] = {}
        self._moved: dict[tuple[str, str], str] = {}
        self._lock = threading.RLock()
        self._secret = secrets.token_bytes(16)

    def caller(self, request: Request) -> Account | None:
        """Who sends the request."""
        return self.accounts.identify(request.headers.get("Authorization"))

    def signed_in(self, request: Request) -> Account:
        """Who sends the request, refusing strangers."""
        account = self.caller(request)
        if account is None:
            raise ApiError(401, "Invalid username or password.")
        return account

    def open(self, request: Request, need: Need = "read") -> Repository:
        """The repository that the path names, if the caller may do with it what they need."""
        account = self.caller(request)
        namespace = request.args["ns"]
        repo_id = f"{namespace}/{request.args['name']}"
        kind = request.args.get("kind") or "models"
        repository = self.find(repo_id, kind)
        if repository is None and (now := self._moved.get((kind, repo_id))):
            target = request.target.replace(repo_id, now, 1)
            raise ApiError(307, f"moved to {now}", headers={"Location": target})
        member = account is not None and account.member_of(namespace)
        if repository is None or (repository.private and not member):
            raise repository_not_found(anonymous=account is None)
        if need != "read":
            caller = self.signed_in(request)
            allowed = caller.may_write(namespace if need == "write" else None)
            if not allowed or not caller.may_use(repo_id):
                raise ApiError(403, "Forbidden: this needs a token with write access.")
        return repository

    @staticmethod
    def change(request: Request, ref: str | None = None) -> Need:
        """What a change of ``ref`` (that of the path, if none is given) needs: to propose is
        everybody's right, and so are the commits of a proposal."""
        ref = request.args.get("rev", "") if ref is None else ref
        return "propose" if request.flag("create_pr") or ref.startswith("refs/pr/") else "write"

    def find(self, repo_id: str, kind: str) -> Repository | None:
        """A repository by id and kind (``models``, ``datasets``, ``spaces``)."""
        with self._lock:
            return self._repositories.get((kind, repo_id))

    def create(self, repo_id: str, kind: str, *, private: bool) -> Repository:
        """Create a repository; the caller has checked that it is allowed."""
        with self._lock:
            if (kind, repo_id) in self._repositories:
                raise ApiError(
                    409,
                    f"You already created this {kind[:-1]} repo: {repo_id}",
                    extra={"url": self.page(repo_id, kind)},
                )
            git_dir = self.root / kind / f"{repo_id}.git"
            repository = Repository(
                repo_id, kind, git_dir,
                private=private, keep_content=self.can.keep_content, begun=self.can.first_commit,
            )  # fmt: skip
            self._repositories[kind, repo_id] = repository
            return repository

    def let_in(self, request: Request, repository: Repository) -> None:
        """Refuse who has not been granted access to the files of a gated repository."""
        account = self.caller(request)
        namespace = repository.repo_id.partition("/")[0]
        if repository.gated and not (account and account.member_of(namespace)):
            words = f"Access to model {repository.repo_id} is restricted. Ask for access first."
            raise ApiError(401 if account is None else 403, words, "GatedRepo")

    def rename(self, repository: Repository, repo_id: str) -> None:
        """Give a repository another name; the old one leads there."""
        with self._lock:
            old = (repository.kind, repository.repo_id)
            self._repositories[repository.kind, repo_id] = self._repositories.pop(old)
            self._moved[old] = repository.repo_id = repo_id

    def delete(self, repository: Repository) -> None:
        """Forget a repository and remove it from disk."""
        with self._lock:
            del self._repositories[repository.kind, repository.repo_id]
            self.discussions.forget(repository)
            shutil.rmtree(repository.git_dir)

    def page(self, repo_id: str, kind: str) -> str:
        """The address of a repository's page."""
        prefix = "" if kind == "models" else f"{kind}/"
        return f"{self.url}/{prefix}{repo_id}"

    def sign(self, path: str) -> str:
        """An address that works without a token, on another host, as those of a CDN do."""
        return f"{self.store_url}{path}?sig={self._signature(path)}"

    def check_signature(self, request: Request) -> None:
        """Refuse an address that was not made by ``sign``, or a token sent along with it."""
        if "Authorization" in request.headers:
            raise ApiError(400, "Only one auth mechanism allowed")
        if not hmac.compare_digest(request.query("sig"), self._signature(request.path)):
            raise ApiError(403, "SignatureDoesNotMatch")

    def _signature(self, path: str) -> str:
        """The proof that this server handed out a path."""
        return hmac.new(self._secret, path.encode(), "sha256").hexdigest()


def wants_private(body: Mapping[str, object]) -> bool:
    """The visibility a client asks for, in the new or the old spelling."""
    return body.get("visibility") == "private" or body.get("private") is True
