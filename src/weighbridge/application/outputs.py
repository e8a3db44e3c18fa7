"""Where something may be written: to what is free or, if that was said, over an earlier output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.domain.errors import NotAnOutput, OutputExists, PathConflict, PathMissing

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.artifact import Scan


def require_free(files: FileSystem, output: str, operation: str, *, force: bool) -> None:
    """Raises OutputExists if there is anything and not ``force``.

    With ``force``, raises NotAnOutput if it is a directory that holds others: it would be replaced
    whole, and ``-o .`` or ``-o ~`` is quickly typed.
    """
    try:
        found = files.scan(output)
    except PathMissing:
        return
    except PathConflict:
        found = None  # a file of that name
    if not force:
        raise OutputExists(path=output, operation=operation)
    if found is not None and (foreign := _foreign(found)) is not None:
        raise NotAnOutput(path=output, operation=operation, reason=foreign)


def _foreign(scan: Scan) -> str | None:
    """What shows that no verb wrote this directory; None if one may have."""
    names = [e.path.text for e in scan.files] + [e.name for e in scan.irregular]
    below = next((n for n in names if "/" in n), None)
    return below and f"holds {below}, and no output has directories in it"
