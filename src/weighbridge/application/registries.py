"""Which registry a destination is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weighbridge.domain.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.application.ports import Registry
    from weighbridge.domain.publication import Destination


def registry_of(registries: Mapping[type, Registry], place: Destination) -> Registry:
    """The registry for destinations of that type. Raises UsageError if none is configured."""
    found = registries.get(type(place))
    if found is None:
        raise UsageError(problem=f"no registry is configured for {place}")
    return found
