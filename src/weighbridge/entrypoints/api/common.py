"""What the functions of the API share: how paths and destinations are said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from weighbridge.domain.errors import UsageError
from weighbridge.entrypoints import options
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.domain.publication import Destination
    from weighbridge.entrypoints.container import Container


PathLike: TypeAlias = "str | os.PathLike[str]"


def container(settings: Settings | None) -> Container:
    """The application's services; without ``settings``, by the environment."""
    from weighbridge.entrypoints.container import build  # dependency-injector takes 60 ms

    return build(settings)


def text_of(path: PathLike | None) -> str | None:
    """The path as a string, if there is one."""
    return None if path is None else os.fspath(path)


def keep_apart(output: PathLike, *sources: PathLike) -> None:
    """Raises UsageError if replacing the output would remove what it is made from.

    Nor may it be empty, as an unset variable is: that would be the working directory.
    """
    if not os.fspath(output):
        raise UsageError(problem="the output is an empty path")
    for source in sources:
        # Given the run, what is read is in its adapters directory.
        for read in (Path(source), Path(source, "adapters")):
            found = read.resolve()
            if any(options.same_file(output, each) for each in (found, *found.parents)):
                raise UsageError(problem=f"{os.fspath(output)} is, or holds, what is read: {found}")


def place(destination: str | os.PathLike[str] | Destination, name: str | None) -> Destination:
    """Where something is published, at a revision if ``destination`` ends in ``@`` and one."""
    from weighbridge.domain.publication import parse_destination, parse_revision

    if not isinstance(destination, str | os.PathLike):
        return destination
    text = os.fspath(destination)
    # A directory may have an @ in its own name.
    return (parse_destination if os.path.isdir(text) else parse_revision)(text, name)


def destination_of(place: str | os.PathLike[str] | Destination, name: str | None) -> Destination:
    """Where something is to be published; no revision can be said."""
    from weighbridge.domain.publication import parse_destination

    if isinstance(place, str | os.PathLike):
        return parse_destination(os.fspath(place), name)
    return place
