"""What a repository on the Hub holds, in our own words.

Every call and every step of an iterator is translated: the client lists trees page by page, so an
error may come at any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import evolve, field, frozen

from weighbridge.adapters.hub.access import no_pull_requests
from weighbridge.adapters.hub.errors import NotUnderstood
from weighbridge.adapters.hub.patience import Patience, patiently
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryRejected,
    RegistryUnreachable,
    VisibilityMismatch,
)
from weighbridge.domain.publication import (
    Destination,
    HubRepo,
    Receipt,
    RemoteHead,
    Revision,
    full_id,
    may_be_short,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoFile

    from weighbridge.adapters.hub.errors import Translator

#: Large files on their way by LFS, which takes only whole ones: what an interruption costs at most.
_AT_ONCE = 2
#: Commits among which one is looked for by the beginning of its id.
_LOOKED_AT = 1000
#: How a server answers a question that it does not know.
_UNKNOWN = frozenset({404, 405, 501})


@frozen
class Remote:
    """One repository at one branch, seen with one token."""

    api: HfApi = field(repr=False)
    repo: HubRepo
    errors: Translator = field(repr=False)
    patience: Patience = field(repr=False)
    #: The listings of commits, by the repository's name and theirs.
    known: dict[tuple[str, str], Manifest] = field(factory=dict, repr=False)

    def on(self, revision: str) -> Remote:
        """The same repository at another branch, tag or commit."""
        return evolve(self, repo=HubRepo(self.repo.name, revision))

    def receipt(self, destination: Destination, revision: str, *, created: bool) -> Receipt:
        """What to say of a publication."""
        url = self.errors.clean(f"{self.api.endpoint}/{self.repo.name}/tree/{revision}")
        return Receipt(destination, revision, created, url)

    @patiently
    def is_private(self) -> bool | None:
        """Its visibility; False also if the server does not say. None if it does not exist."""
        try:
            with self.errors.calls():
                return bool(self.api.model_info(self.repo.name).private)
        except DestinationMissing:
            return None

    def head(self) -> RemoteHead | None:
        """The branch as it is now; None if the repository or the branch does not exist."""
        try:
            return self.at(self.repo.revision)
        except DestinationMissing:
            return None

    @patiently
    def revision(self) -> str | None:
        """The commit that the branch is at."""
        with self.errors.calls():
            return self.api.model_info(self.repo.name, revision=self.repo.revision).sha

    @patiently
    def at(self, revision: str) -> RemoteHead:
        """Everything about a revision; the files are those of the commit it names now."""
        with self.errors.calls():
            info = self._info(revision)
            if info.sha is None:
                self._require_empty(revision)
                raise DestinationMissing(destination=str(self.repo), reason="there is no commit")
        key = (self.repo.name, info.sha)
        if key not in self.known:
            self.known[key] = self.listed(info.sha)
        gated = str(info.gated) if info.gated else None
        return RemoteHead(info.sha, self.known[key], info.private, gated)

    def _info(self, revision: str) -> ModelInfo:
        """Of the commit that begins so, if nothing has that name: the Hub takes whole ids only."""
        try:
            with self.errors.calls():
                return self.api.model_info(self.repo.name, revision=revision)
        except DestinationMissing as missing:
            branch = "main" if self.repo.revision == revision else self.repo.revision
            told = self._commits(branch, _LOOKED_AT) if may_be_short(revision) else ()
            full = full_id((each.id for each in told), revision)
            if full is None:
                raise missing
            return self.api.model_info(self.repo.name, revision=full)

    def _require_empty(self, revision: str) -> None:
        """Raises RegistryRejected if there are files at a revision whose commit is not told."""
        with suppress(DestinationMissing):
            if self.listed(revision).entries:
                reason = f"the server does not tell which commit {revision} is"
                raise RegistryRejected(destination=str(self.repo), reason=reason)

    @patiently
    def listed(self, commit: str) -> Manifest:
        """The files of a commit, as the server lists them now."""
        from huggingface_hub.hf_api import RepoFile

        with self.errors.calls():
            tree = self.api.list_repo_tree(self.repo.name, recursive=True, revision=commit)
            return Manifest(self._entry(item) for item in tree if isinstance(item, RepoFile))

    @patiently
    def parent_of(self, commit: str) -> str | None:
        """The commit before that one. Raises RegistryRejected if the server does not tell."""
        history = self._commits(commit, 2)
        if not history or history[0].id != commit:
            reason = f"the server does not tell the history of {commit}"
            raise RegistryRejected(destination=str(self.repo), reason=reason)
        return history[1].id if len(history) > 1 else None

    @patiently
    def require_card(self, content: str) -> None:
        """Raises RegistryRejected if the server refuses the card; passes if it cannot tell, or has
        no judge of cards."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        ask = getattr(HfApi, "_validate_yaml", None)
        with suppress(NotUnderstood), self.errors.calls():
            try:
                if ask is not None:
                    ask(self.api, content)
            except HfHubHTTPError as error:
                if error.response.status_code not in _UNKNOWN:
                    raise

    def create(self, *, private: bool) -> None:
        """Create the repository, and stop if it is not as private as was asked."""
        try:
            self._create(private)
        except (RegistryUnreachable, NotUnderstood):
            if self.is_private() is None:
                raise
        if private and not self.is_private():
            raise VisibilityMismatch(
                destination=str(self.repo),
                reason="the server did not make the new repository private, although it was asked "
                "to, or does not tell. Nothing was uploaded; delete the empty repository, or allow "
                "it to be public",
            )

    @patiently
    def _create(self, private: bool) -> None:
        with self.errors.calls():
            self.api.create_repo(self.repo.name, private=private, exist_ok=False)

    @patiently
    def create_branch(self, start: str | None) -> None:
        """Create the branch, from that commit of another; None is the main one's head."""
        with self.errors.calls():
            self.api.create_branch(self.repo.name, branch=self.repo.revision, revision=start)

    @patiently
    def delete_branch(self) -> None:
        """Delete the branch."""
        with self.errors.calls():
            self.api.delete_branch(self.repo.name, branch=self.repo.revision)

    @patiently
    def has_xet(self) -> bool:
        """Whether the server gives tokens for it, of the form that its client waits for: given
        anything else it asks again for many minutes, and says nothing."""
        from huggingface_hub import get_session, hf_raise_for_status

        url = self._address("xet-write-token", self.repo.revision)
        with self.errors.calls():
            response = get_session().get(url, headers=self._headers())
            if response.status_code in _UNKNOWN:
                return False
            hf_raise_for_status(response)
        return _is_xet_token(response)

    @patiently
    def upload(self, operations: Sequence[Any]) -> None:
        """Send what is large; nobody sees it before a commit names it."""
        with self.errors.calls():
            self.api.preupload_lfs_files(
                self.repo.name,
                operations,
                revision=self.repo.revision,
                free_memory=False,
                num_threads=_AT_ONCE,
                # The plan alone decides what ships: a .gitignore would drop files in silence.
                gitignore_content="",
            )

    @patiently
    def commit(self, operations: Sequence[Any], message: str, parent: str) -> str:
        """The revision that the commit made on ``parent``, '' if it is the first of all."""
        with self.errors.calls():
            info = self.api.create_commit(
                self.repo.name,
                operations,
                commit_message=message,
                revision=self.repo.revision,
                parent_commit=parent or None,
            )
            return info.oid

    @patiently
    def history(self, limit: int) -> tuple[Revision, ...]:
        """The commits of the branch, newest first; () if there is none."""
        try:
            return self._commits(self.repo.revision, limit)
        except DestinationMissing:
            return ()

    @patiently
    def create_tag(self, name: str, commit: str) -> None:
        """Create it; raises RevisionConflict if it is there."""
        with self.errors.calls():
            self.api.create_tag(self.repo.name, tag=name, revision=commit)

    @patiently
    def delete_tag(self, name: str) -> None:
        """Delete it."""
        with self.errors.calls():
            self.api.delete_tag(self.repo.name, tag=name)

    @patiently
    def open_pull_request(self, title: str) -> tuple[int, Remote, str]:
        """The number, the branch and the page of a new draft. Raises Unsupported."""
        try:
            with self.errors.calls():
                made = self.api.create_pull_request(self.repo.name, title=title)
        except (DestinationMissing, RegistryRejected, RegistryUnreachable) as error:
            raise no_pull_requests(self, error.reason) from error
        branch = HubRepo(self.repo.name, made.git_reference or f"refs/pr/{made.num}")
        return made.num, evolve(self, repo=branch), made.url

    @patiently
    def set_pull_request(self, number: int, status: Any) -> None:
        """Make it open or closed."""
        with self.errors.calls():
            self.api.change_discussion_status(self.repo.name, number, status)

    def _commits(self, revision: str, most: int) -> tuple[Revision, ...]:
        """The newest of a history; the client asks for all pages of it, which may be hundreds."""
        # Public, but exported in a way that type checkers do not see.
        from huggingface_hub.utils import paginate, parse_datetime  # type: ignore[attr-defined]

        with self.errors.calls():
            listed = paginate(self._address("commits", revision), {}, self._headers())
            return tuple(
                Revision(
                    each["id"],
                    parse_datetime(each["date"]).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    each["title"],
                )
                for each in islice(listed, most)
            )

    def _address(self, what: str, revision: str) -> str:
        where = f"{self.api.endpoint}/api/models/{self.repo.name}/{what}"
        return f"{where}/{quote(revision, safe='')}"

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        api = self.api
        made: dict[str, str] = build_hf_headers(
            token=api.token, library_name=api.library_name, library_version=api.library_version
        )
        return made

    def _entry(self, item: RepoFile) -> ManifestEntry:
        problem = ArtifactPath.problem_with(item.path)
        if problem is not None:
            reason = f"holds the path {item.path!r}, which {problem}"
            raise RegistryRejected(destination=str(self.repo), reason=reason)
        large = item.lfs
        digest = Digest("git-sha1", item.blob_id)
        if large:  # As git-lfs writes it, or without the algorithm's name.
            digest = Digest("sha256", large.sha256.lower().removeprefix("sha256:"))
        return ManifestEntry(ArtifactPath(item.path), item.size, (digest,))


def _is_xet_token(answer: Any) -> bool:
    try:
        told = answer.json()
    except ValueError:
        return False
    names = {"accessToken": str, "casUrl": str, "exp": int}
    return isinstance(told, dict) and all(isinstance(told.get(n), k) for n, k in names.items())
