"""What a repository on the Hub holds, in our own words.

Every call and every step of an iterator is translated: the client lists trees page by page, so an
error may come at any file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryRejected,
    VisibilityMismatch,
)
from weighbridge.domain.publication import HubRepo, RemoteHead

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from weighbridge.adapters.hub.errors import Translator


@frozen
class Remote:
    """One repository at one branch, seen with one token."""

    api: HfApi = field(repr=False)
    repo: HubRepo
    errors: Translator = field(repr=False)

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

    def revision(self) -> str | None:
        """The commit that the branch is at."""
        with self.errors.calls():
            return self.api.model_info(self.repo.name, revision=self.repo.revision).sha

    def at(self, revision: str) -> RemoteHead:
        """Everything about a revision; the files are those of the commit it names now."""
        from huggingface_hub.hf_api import RepoFile

        with self.errors.calls():
            info = self.api.model_info(self.repo.name, revision=revision)
            if info.sha is None:
                raise DestinationMissing(destination=str(self.repo), reason="there is no commit")
            tree = self.api.list_repo_tree(self.repo.name, recursive=True, revision=info.sha)
            entries = [self._entry(item) for item in tree if isinstance(item, RepoFile)]
        return RemoteHead(info.sha, Manifest(entries), info.private)

    def parent_of(self, commit: str) -> str | None:
        """The commit before that one."""
        with self.errors.calls():
            history = self.api.list_repo_commits(self.repo.name, revision=commit)
            return history[1].commit_id if len(history) > 1 else None

    def create(self, *, private: bool) -> None:
        """Create the repository, and stop if it is not as private as was asked."""
        with self.errors.calls():
            self.api.create_repo(self.repo.name, private=private, exist_ok=False)
        if private and not self.is_private():
            raise VisibilityMismatch(
                destination=str(self.repo),
                reason="the server did not make the new repository private, although it was asked "
                "to. Nothing was uploaded; delete the empty repository, or allow it to be public",
            )

    def create_branch(self) -> None:
        """Create the branch, from the main one."""
        with self.errors.calls():
            self.api.create_branch(self.repo.name, branch=self.repo.revision)

    def delete_branch(self) -> None:
        """Delete the branch."""
        with self.errors.calls():
            self.api.delete_branch(self.repo.name, branch=self.repo.revision)

    def _entry(self, item: RepoFile) -> ManifestEntry:
        problem = ArtifactPath.problem_with(item.path)
        if problem is not None:
            reason = f"holds the path {item.path!r}, which {problem}"
            raise RegistryRejected(destination=str(self.repo), reason=reason)
        large = item.lfs
        digest = Digest("sha256", large.sha256) if large else Digest("git-sha1", item.blob_id)
        return ManifestEntry(ArtifactPath(item.path), item.size, (digest,))
