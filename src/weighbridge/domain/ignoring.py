"""``.weighbridgeignore``: what of the allowed files is not to ship, in the syntax of a .gitignore.

It lies in the artifact, which is not trusted: so it can only take away, and not what the model
cannot be without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.domain.artifact import Scan
from weighbridge.domain.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE = ".weighbridgeignore"
_MOST_BYTES = 1 << 20
_MOST_STARS = 3


@frozen
class Ignored:
    """The patterns; paths are below the directory that the file is in."""

    _spec: GitIgnoreSpec | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Ignored:
        """From the file's bytes. Raises UsageError with what is wrong."""
        if not raw.strip():
            return cls()
        from pathspec import GitIgnoreSpec  # Few have such a file.

        if len(raw) > _MOST_BYTES:
            raise UsageError(problem=f"{IGNORE} has more than {_MOST_BYTES} bytes")
        try:
            lines = raw.decode().splitlines()
            require_bounded(lines)
            return cls(GitIgnoreSpec.from_lines(lines))
        except ValueError as error:
            raise UsageError(problem=f"{IGNORE} cannot be read: {error}") from error

    def takes(self, path: str) -> bool:
        """Whether a file is not to ship."""
        return self._spec is not None and self._spec.match_file(path)

    def require_kept(self, paths: Iterable[str]) -> None:
        """Raises UsageError if one of them would be taken away."""
        taken = sorted(filter(self.takes, paths))
        if taken:
            raise UsageError(
                problem=f"{IGNORE} takes away {', '.join(taken)}, without which there is no model "
                "to publish; remove the pattern"
            )


def require_bounded(lines: Iterable[str]) -> None:
    """Raises UsageError for a pattern that some name of a file would have matched without end."""
    for line in lines:
        stars = [len(re.findall(r"\*+", part)) for part in line.split("/")]
        if max(stars) > _MOST_STARS or line.count("**") > _MOST_STARS:
            raise UsageError(
                problem=f"{IGNORE}: {line[:80]!r} has more than {_MOST_STARS} wildcards in a name, "
                "or ** as often; write several patterns"
            )


def require_regular(scan: Scan) -> None:
    """Raises UsageError for one that is a link: it is not followed, and would take away nothing."""
    odd = next((e for e in scan.irregular if e.name == IGNORE), None)
    if odd is not None:
        raise UsageError(problem=f"{IGNORE} is no regular file ({odd.oddity.value})")
