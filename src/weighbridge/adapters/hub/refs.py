"""The names of a repository's revisions: its tags and its branches.

Decides which new name cannot be, before anything is sent: git has names as paths of files, and
whoever reads by a name gets a tag or a branch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.adapters.hub.patience import patiently
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryRejected,
    RegistryUnreachable,
    UsageError,
)
from weighbridge.domain.publication import require_no_branch

if TYPE_CHECKING:
    from weighbridge.adapters.hub.patience import Patience
    from weighbridge.adapters.hub.remote import Remote


@frozen
class Refs:
    """Those of one repository. Writes nothing."""

    remote: Remote

    @property
    def patience(self) -> Patience:
        """Whose requests these are."""
        return self.remote.patience

    def tags(self, wanted: Sequence[str] = ()) -> Mapping[str, str]:
        """The commit of each tag. Raises UsageError if one that is ``wanted`` names a branch."""
        tags, branches = self._named()
        require_no_branch(
            self.remote.repo, wanted, {self.remote.repo.revision, *branches}.__contains__
        )
        for name in wanted:
            self._require_room_for(name, {*tags, *wanted})
        return tags

    def is_tag(self, name: str) -> bool:
        """Whether a tag has that name, and no branch; False if the server does not tell. Raises
        UsageError if there cannot be a branch of that name."""
        try:
            tags, branches = self._named()
        except (RegistryRejected, RegistryUnreachable):
            return False
        self._require_room_for(name, branches)
        return name in tags and name not in branches

    @patiently
    def _named(self) -> tuple[dict[str, str], dict[str, str]]:
        """The commits of the tags and of the branches."""
        try:
            with self.remote.errors.calls():
                refs = self.remote.api.list_repo_refs(self.remote.repo.name)
        except DestinationMissing:
            return {}, {}
        tags, branches = (
            {each.name: each.target_commit for each in some} for some in (refs.tags, refs.branches)
        )
        return tags, branches

    def _require_room_for(self, name: str, there: Collection[str]) -> None:
        """Names are paths, of which none goes through another: git has them as files."""
        for other in there:
            if name.startswith(f"{other}/") or other.startswith(f"{name}/"):
                where = f"{self.remote.repo}: there cannot be both {name} and {other}"
                raise UsageError(problem=f"{where}; take another name")
