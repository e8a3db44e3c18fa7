"""Git plumbing, and nothing else.

Decides how the ``git`` program is called: in a clean environment, on a bare repository, with
paths and messages on standard input. It never writes an object by itself, so what a test
clones was made by git alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ABSENT = "0" * 40


class GitError(Exception):
    """The git program refused, with what it printed."""

    def __init__(self, args: Sequence[str], code: int, stderr: bytes) -> None:
        super().__init__(f"git {' '.join(args)} exited {code}: {stderr.decode(errors='replace')}")
        self.code = code


@dataclass(frozen=True)
class TreeItem:
    """One line of ``git ls-tree``."""

    path: str
    kind: str
    oid: str
    size: int


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without any git setting of the machine or its user."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return env | dict(extra or {})


def run_git(
    args: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    ok: Iterable[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run git once; an exit code outside ``ok`` is a ``GitError``."""
    done = subprocess.run(
        ["git", *args], input=stdin, env=clean_environment(env), capture_output=True, check=False
    )
    if done.returncode not in ok:
        raise GitError(args, done.returncode, done.stderr)
    return done


class Index:
    """A throw-away index that starts from a commit and becomes a new tree."""

    def __init__(self, git: Git, env: Mapping[str, str]) -> None:
        self._git = git
        self._env = env

    def apply(self, changes: Mapping[str, str | None]) -> None:
        """Set each path to a blob, or remove it when the blob is ``None``."""
        lines = [
            f"100644 {oid}\t{path}\0" if oid else f"0 {ABSENT}\t{path}\0"
            for path, oid in changes.items()
        ]
        self._git.run(
            "update-index", "-z", "--index-info", stdin="".join(lines).encode(), env=self._env
        )

    def without_lfs_filter(self, paths: Sequence[str]) -> list[str]:
        """Those paths that the index's ``.gitattributes`` does not send through git-lfs."""
        listing = "".join(f"{path}\0" for path in paths).encode()
        args = ("check-attr", "--cached", "-z", "--stdin", "filter")
        fields = self._git.run(*args, stdin=listing, env=self._env).decode().split("\0")
        pairs = zip(fields[0::3], fields[2::3], strict=False)
        return [path for path, value in pairs if value != "lfs"]

    def write(self) -> str:
        """Write the tree and return its id."""
        return self._git.run("write-tree", env=self._env).decode().strip()


class Git:
    """The plumbing commands, bound to one bare repository."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run one command in this repository and return what it printed."""
        return run_git(["--git-dir", str(self.git_dir), *args], stdin=stdin, env=env).stdout

    def init(self) -> None:
        """Create the bare repository with ``main`` as its branch."""
        self.git_dir.mkdir(parents=True)
        self.run("init", "--quiet", "--bare", "--template=", "--initial-branch=main")

    def refs(self) -> dict[str, str]:
        """Every ref with the commit it leads to, annotated tags peeled."""
        form = "%(refname)%00%(objectname)%00%(*objectname)"
        lines = self.run("for-each-ref", f"--format={form}").decode().splitlines()
        rows = [line.split("\0") for line in lines]
        return {name: peeled or oid for name, oid, peeled in rows}

    def commit_id(self, oid: str) -> str | None:
        """The full id of a commit given by (a part of) its id."""
        args = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{oid}^{{commit}}"]
        done = run_git(["--git-dir", str(self.git_dir), *args], ok=(0, 1, 128))
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def tree(self, commit: str) -> list[TreeItem]:
        """All files and folders of a commit."""
        out = self.run("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit).decode()
        return [_tree_item(line) for line in out.split("\0") if line]

    def read_blobs(self, oids: Sequence[str]) -> dict[str, bytes]:
        """The content of many blobs with one process."""
        listing = "".join(f"{oid}\n" for oid in oids).encode()
        out = self.run("cat-file", "--batch", stdin=listing) if oids else b""
        blobs: dict[str, bytes] = {}
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            oid, _kind, size = out[at:end].decode().split(" ")
            blobs[oid] = out[end + 1 : end + 1 + int(size)]
            at = end + 1 + int(size) + 1
        return blobs

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store many blobs with one process and return their ids in order."""
        if not contents:
            return []
        with TemporaryDirectory() as folder:
            paths = [Path(folder, str(number)) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            listing = "".join(f"{path}\n" for path in paths).encode()
            args = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            return self.run(*args, stdin=listing).decode().split()

    @contextmanager
    def index(self, base: str | None) -> Iterator[Index]:
        """A temporary index that holds the tree of ``base``, or nothing."""
        with TemporaryDirectory() as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self.run("read-tree", base or "--empty", env=env)
            yield Index(self, env)

    def is_ref_name(self, ref: str) -> bool:
        """Whether git accepts a name for a ref."""
        return run_git(["check-ref-format", ref], ok=(0, 1)).returncode == 0

    def update_ref(self, ref: str, new: str, old: str) -> None:
        """Move a ref only if it still is at ``old`` (``ABSENT``: does not exist)."""
        self.run("update-ref", ref, new, old)


def _tree_item(line: str) -> TreeItem:
    """Parse ``mode kind oid size<TAB>path``."""
    head, path = line.split("\t", 1)
    _mode, kind, oid, size = head.split()
    return TreeItem(path, kind, oid, 0 if size == "-" else int(size))
