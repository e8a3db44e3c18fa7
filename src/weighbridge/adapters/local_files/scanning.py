"""What is below a directory. Reports everything odd, and stops at nothing but the root itself."""

from __future__ import annotations

import os
import stat

from attrs import define, field

from weighbridge.adapters.local_files.failures import escaped, printable, translated
from weighbridge.adapters.local_files.reading import open_blob, open_directory, open_regular
from weighbridge.domain.artifact import (
    ArtifactPath,
    FileEntry,
    IrregularEntry,
    Oddity,
    Scan,
    sorted_entries,
)
from weighbridge.domain.errors import PathConflict, PathMissing

# More than any repository may have, and no more memory than a hostile directory is worth.
_MOST_ENTRIES = 200_000
_MOST_LEVELS = 64


def scan_directory(root: str, most: int = _MOST_ENTRIES) -> Scan:
    """All below ``root`` up to ``most`` entries.

    Raises the StorageError family if ``root`` itself cannot be listed.
    """
    scanner = _Scanner(root, most)
    try:
        with translated("scan", root):
            scanner.directory("")
    except PathMissing:
        if os.path.islink(root):  # Something is there, in the way of what would be written.
            reason = "is a link to nothing"
            raise PathConflict(path=printable(root), operation="scan", reason=reason) from None
        raise
    except PathConflict as error:
        if os.path.lexists(root):
            raise
        # Some parent of the root is a file: then nothing is there.
        raise PathMissing(path=error.path, operation="scan", reason=error.reason) from error
    while scanner.pending and not scanner.full:
        scanner.below(scanner.pending.pop())
    if scanner.full:
        detail = f"has more than {most} entries"
        scanner.irregular.append(IrregularEntry("", Oddity.UNSEEN, detail))
    irregular = sorted(scanner.irregular, key=lambda entry: entry.name)
    return Scan(files=sorted_entries(scanner.files), irregular=tuple(irregular))


@define
class _Scanner:
    root: str
    left: int
    files: list[FileEntry] = field(factory=list)
    irregular: list[IrregularEntry] = field(factory=list)
    pending: list[str] = field(factory=list)

    @property
    def full(self) -> bool:
        """True if there was more than anybody wants to know."""
        return self.left < 0

    def below(self, path: str) -> None:
        """List a directory; one that cannot be listed is an oddity, one that is gone is none."""
        try:
            self.directory(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._odd(path, Oddity.UNREADABLE, error.strerror or str(error))

    def directory(self, path: str) -> None:
        """List ``path`` and put its directories on the pending list."""
        descriptor = open_directory(self.root, path.split("/") if path else ())
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self.left -= 1
                    if self.full:
                        return
                    self._entry(entry, f"{path}/{entry.name}" if path else entry.name, descriptor)
        finally:
            os.close(descriptor)

    def _entry(self, entry: os.DirEntry[str], path: str, directory: int) -> None:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
            problem = ArtifactPath.problem_with(path)
            if stat.S_ISLNK(mode):
                self._link(path, os.readlink(entry.name, dir_fd=directory), problem)
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                self._odd(path, Oddity.SPECIAL, stat.filemode(mode))
            elif problem is not None:
                # Of a directory, too: one report instead of one for each file in it.
                self._odd(path, Oddity.NAME, problem)
            elif stat.S_ISDIR(mode) and path.count("/") >= _MOST_LEVELS:
                self._odd(path, Oddity.UNSEEN, f"is more than {_MOST_LEVELS} levels deep")
            elif stat.S_ISDIR(mode):
                self.pending.append(path)
            else:
                self._file(path, open_regular(entry.name, directory))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._odd(path, Oddity.UNREADABLE, error.strerror or str(error))

    def _file(self, path: str, descriptor: int) -> None:
        try:
            status = os.fstat(descriptor)
            self.files.append(FileEntry(ArtifactPath(path), status.st_size, status.st_nlink))
        finally:
            os.close(descriptor)

    def _link(self, path: str, target: str, problem: str | None) -> None:
        blob = self._blob(path) if problem is None else None
        if blob is not None:
            self._file(path, blob)
            return
        home = os.path.realpath(self.root)
        resolved = os.path.realpath(os.path.join(home, path))
        inside = resolved == home or resolved.startswith(os.path.join(home, ""))
        self._odd(path, Oddity.SYMLINK, printable(target), escapes=not inside)

    def _blob(self, path: str) -> int | None:
        try:
            return open_blob(self.root, path)
        except OSError:
            # A blob that is gone or no file: the link is then an ordinary, broken one.
            return None

    def _odd(self, path: str, oddity: Oddity, detail: str, *, escapes: bool = False) -> None:
        name = path if ArtifactPath.problem_with(path) is None else escaped(path)
        self.irregular.append(IrregularEntry(name, oddity, detail, escapes))
