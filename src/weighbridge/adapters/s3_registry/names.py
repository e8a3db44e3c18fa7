"""Names in the index of a prefix: what they stand for, and how one is moved.

Decides what a lost condition means: another writer of this name is a conflict, one of another name
is a reason to write again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from attrs import frozen

from weighbridge.adapters.s3_registry.failures import AskedAgain
from weighbridge.adapters.s3_registry.store import Index, Store
from weighbridge.domain import modelpack, oci_layout
from weighbridge.domain.artifact import Manifest
from weighbridge.domain.errors import (
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
)
from weighbridge.domain.publication import Revision

_ATTEMPTS = 20
_T = TypeVar("_T")


@frozen
class Goal:
    """What a name is to stand for: the manifest of that digest and size. ``message`` goes into the
    name's past; None for a tag, which has none."""

    name: str
    digest: str
    size: int
    message: str | None


@frozen
class Names:
    """The index of a store, in the terms of names. All calls raise the RegistryError family."""

    store: Store

    def of(self, index: Index | None, name: str) -> str | None:
        """The digest that ``name`` stands for in an index."""
        return self._asked(lambda: oci_layout.named(_content(index), name))

    def all(self, index: Index | None) -> dict[str, str]:
        """Every name with its digest."""
        return self._asked(lambda: oci_layout.names(_content(index)))

    def tags(self, index: Index | None) -> dict[str, str]:
        """The names that nothing is published to."""
        found = self.all(index)
        return {n: d for n, d in found.items() if not oci_layout.is_branch(_content(index), n)}

    def log(self, index: Index | None, name: str) -> tuple[Revision, ...]:
        """What the name stood for, newest first."""
        return self._asked(lambda: oci_layout.log_of(_content(index), name))

    def move(self, index: Index | None, expected: str | None, goal: Goal) -> bool:
        """Let a name that stands for ``expected`` in ``index`` stand for something else; False if
        another writer was faster with just that.

        Raises RevisionConflict if it stands for a third thing by then.
        """
        lost: RegistryError = self._conflict(expected, None)
        for _ in range(_ATTEMPTS):
            try:
                self.store.write_index(self._written(index, goal), index)
                return True
            except RevisionConflict as error:
                lost = error
            except RegistryUnreachable as error:
                error.applied = None  # until it is known
                lost = error
            index = self._after(lost)
            actual = self.of(index, goal.name)
            # The answer to our own write may have been lost, and the client have tried it again.
            if actual == goal.digest:
                return isinstance(lost, RegistryUnreachable | AskedAgain)
            if actual != expected:
                raise self._conflict(expected, actual)
            if isinstance(lost, RegistryUnreachable):
                lost.applied = False
                raise lost
        raise lost

    def _written(self, index: Index | None, goal: Goal) -> bytes:
        log = None
        if goal.message is not None:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            log = (Revision(goal.digest, when, goal.message), *self.log(index, goal.name))
        before = _content(index)
        return self._asked(
            lambda: oci_layout.with_name(before, goal.name, goal.digest, goal.size, log)
        )

    def _after(self, lost: RegistryError) -> Index | None:
        try:
            return self.store.index()
        except RegistryError:
            raise lost from None

    def _conflict(self, expected: str | None, actual: str | None) -> RevisionConflict:
        return RevisionConflict(destination=str(self.store.place), expected=expected, actual=actual)

    def _asked(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except ValueError as error:
            raise RegistryRejected(destination=str(self.store.place), reason=str(error)) from error


def _content(index: Index | None) -> bytes | None:
    return index.content if index else None


def manifest_of(store: Store, revision: str) -> bytes:
    """The manifest of that digest. Raises DestinationMissing, RegistryRejected."""
    content = store.read_blob(revision)
    if modelpack.digest_of(content) != revision:
        reason = f"the manifest {revision} holds other bytes"
        raise RegistryRejected(destination=str(store.place), reason=reason)
    return content


def files_of(store: Store, revision: str) -> Manifest:
    """What the manifest of that digest names. Raises DestinationMissing, RegistryRejected."""
    content = manifest_of(store, revision)
    try:
        return modelpack.unpack(content)
    except ValueError as error:
        raise RegistryRejected(destination=str(store.place), reason=str(error)) from error
