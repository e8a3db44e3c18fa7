"""The rules of installed packages: the entry points of the group ``weighbridge.rules``.

Loading one runs that package's code, so nothing in the current directory counts as installed: that
may be the very artifact that is to be judged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions

from weighbridge.domain.rulebook import Offer, Rulebook, rulebook

GROUP = "weighbridge.rules"


def installed_rulebook() -> Rulebook:
    """The catalogue and what installed packages offer. What cannot be loaded is among the refused
    ones; nothing raises."""
    return rulebook(_offers())


def _offers() -> Iterator[Offer]:
    seen = set()
    for distribution in distributions(path=_installed_paths()):
        for point in _points(distribution):
            source = f"{_name(distribution)}: {point.name}"
            # As on import, the first of two on the path is the one that counts.
            if source not in seen:
                seen.add(source)
                yield Offer(source, _loaded(point))


def _installed_paths() -> list[str]:
    here = os.path.realpath(os.curdir)
    return [path for path in sys.path if path and os.path.realpath(path) != here]


def _points(distribution: Distribution) -> list[EntryPoint]:
    # Most packages have none, and their metadata are not worth parsing for that.
    text = distribution.read_text("entry_points.txt") or ""
    return list(distribution.entry_points.select(group=GROUP)) if GROUP in text else []


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"])


def _loaded(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a package's bug must not hide our own findings
        return error
