"""What was published before, and going back to it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from weighbridge.application.ports import Registry
from weighbridge.domain.errors import DestinationMissing, ReadBackMismatch, UsageError
from weighbridge.domain.logins import public_message
from weighbridge.domain.publication import (
    Change,
    Destination,
    Receipt,
    Revision,
    changes_between,
    read_back_differences,
    short_id,
)


def registry_of(registries: Mapping[type, Registry], destination: Destination) -> Registry:
    """The registry of such destinations. Raises UsageError if there is none."""
    found = registries.get(type(destination))
    if found is None:
        raise UsageError(problem=f"no registry is configured for {destination}")
    return found


@frozen
class Log:
    """The publications of a destination."""

    registries: Mapping[type, Registry]

    def __call__(self, destination: Destination, limit: int = 20) -> tuple[Revision, ...]:
        """The newest first. Raises DestinationMissing if there is none."""
        registry = registry_of(self.registries, destination)
        found = registry.history(destination, limit=limit)
        if not found:
            raise DestinationMissing(
                destination=str(destination), reason="nothing is published there"
            )
        return found


@frozen
class RolledBack:
    """What a roll back changed, from which revision to whose content; no ``receipt`` if it was
    only asked for."""

    destination: Destination
    before: str
    to: str
    changes: tuple[Change, ...]
    receipt: Receipt | None


@frozen
class RollBack:
    """Makes a destination hold again what a former revision holds."""

    registries: Mapping[type, Registry]

    def __call__(
        self, destination: Destination, to: str, *, message: str = "", dry_run: bool = False
    ) -> RolledBack:
        """Raises UsageError, DestinationMissing, ReadBackMismatch, and the rest of the
        RegistryError family."""
        if not to.strip():
            raise UsageError(problem="it is not said to which revision to go back")
        told = public_message(message) if message else ""
        registry = registry_of(self.registries, destination)
        wanted = registry.recorded(destination, to)
        head = registry.head(destination)
        if head is None:
            raise DestinationMissing(
                destination=str(destination), reason="nothing is published there"
            )
        changes = changes_between(head.manifest, wanted.manifest)
        if dry_run:
            return RolledBack(destination, head.revision, wanted.revision, changes, None)
        registry.check(destination)
        receipt = registry.restore(
            destination, wanted.revision, parent=head.revision,
            message=told or f"Roll back to {short_id(wanted.revision)}",
        )  # fmt: skip
        stored = registry.manifest(destination, receipt.revision)
        differences = read_back_differences(wanted.manifest, stored.manifest)
        if differences:
            raise ReadBackMismatch(destination=str(destination), differences=differences)
        return RolledBack(destination, head.revision, wanted.revision, changes, receipt)
