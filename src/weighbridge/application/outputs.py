"""Where something may be written: to what is free or, if that was said, over an earlier output."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from weighbridge.domain.errors import NotAnOutput, OutputExists, PathConflict, PathMissing

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.artifact import Scan


def require_free(
    files: FileSystem,
    output: str,
    operation: str,
    *,
    force: bool,
    directories: Collection[str] = (),
) -> None:
    """Raises OutputExists if there is anything and not ``force``.

    With ``force``, raises NotAnOutput if it is a directory that holds others than ``directories``:
    it would be replaced whole, and ``-o .`` or ``-o ~`` is quickly typed.
    """
    try:
        found = files.scan(output)
    except PathMissing:
        return
    except PathConflict:
        found = None  # a file of that name
    if not force:
        raise OutputExists(path=output, operation=operation)
    if found is not None and (foreign := _foreign(found, directories)) is not None:
        raise NotAnOutput(path=output, operation=operation, reason=foreign)


def _foreign(scan: Scan, directories: Collection[str]) -> str | None:
    """What shows that no verb wrote this directory; None if one may have."""
    names = [e.path.text for e in scan.files] + [e.name for e in scan.irregular]
    below = (n for n in names if "/" in n and n.rpartition("/")[0] not in directories)
    found = next(below, None)
    if found is None:
        return None
    others = "no output has directories in it"
    if directories:
        others = f"the output has no directory {found.rpartition('/')[0]}"
    return f"holds {found}, and {others}"
