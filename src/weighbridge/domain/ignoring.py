"""``.weighbridgeignore``: what of the allowed files is not to ship, in the syntax of a .gitignore.

It lies in the artifact, which is not trusted: so it can only take away, and not what the model
cannot be without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from weighbridge.domain.artifact import Scan
from weighbridge.domain.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec, Pattern

IGNORE = ".weighbridgeignore"
_MOST_BYTES = 1 << 20
_MOST_STARS = 3


@frozen
class Ignored:
    """The patterns; paths are below the directory that the file is in."""

    _files: GitIgnoreSpec | None = None
    _directories: Sequence[Pattern] = ()

    @classmethod
    def parse(cls, raw: bytes) -> Ignored:
        """From the file's bytes. Raises UsageError with what is wrong."""
        if not raw.strip():
            return cls()
        from pathspec import GitIgnoreSpec  # Few have such a file.

        if len(raw) > _MOST_BYTES:
            raise UsageError(problem=f"{IGNORE} has more than {_MOST_BYTES} bytes")
        try:
            lines = [each.removesuffix("\r") for each in raw.decode("utf-8-sig").split("\n")]
            require_bounded(lines)
            # All that is in a directory is not the directory itself.
            inside = (f"{each}/*" if each.endswith("/**") else each for each in lines)
            files, directories = map(GitIgnoreSpec.from_lines, (lines, inside))
            return cls(files, tuple(p for p in directories.patterns if p.include is not None))
        except ValueError as error:
            raise UsageError(problem=f"{IGNORE} cannot be read: {error}") from error

    def takes(self, path: str) -> bool:
        """Whether a file is not to ship. As in git, nothing below a directory that is taken away
        is given back."""
        above = (path[: at + 1] for at, each in enumerate(path) if each == "/")
        by_name = self._files is not None and self._files.match_file(path)
        return by_name or any(map(self._takes_directory, above))

    def _takes_directory(self, path: str) -> bool:
        """By the last pattern that is of the directory itself, and not of one above it."""
        above, _, name = path[:-1].rpartition("/")
        taken = False
        for pattern in self._directories:
            if not pattern.match_file(path):
                continue
            if above and pattern.match_file(f"{above}/") and not pattern.match_file(f"{name}/"):
                continue
            taken = bool(pattern.include)
        return taken

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
