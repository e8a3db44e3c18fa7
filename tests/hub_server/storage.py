"""One repository of the Hub: a bare git repository with its LFS objects.

Decides what a revision name means, what a commit does to a branch (all or nothing, and only
on top of the parent that the caller expected), and which files end up as LFS pointers. It
knows nothing of HTTP, tokens or pull requests.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.hub_server.errors import RefExists, Rejected, StaleParent, UnknownRevision
from tests.hub_server.git import ABSENT, Git, GitError, TreeItem
from tests.hub_server.lfs import (
    POINTER_LIMIT,
    ObjectStore,
    Pointer,
    attribute_line,
    default_attributes,
    is_large,
    parse_pointer,
)
from tests.hub_server.records import LOG_FORMAT, Commit, Entry, identity, parse_commit

MAIN = "refs/heads/main"
ATTRIBUTES = ".gitattributes"
MOVED = "A commit has happened since. Please refresh and try again."
#: As the Hub has it: a part of one is none.
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")

Content = bytes | Pointer


class Repository:
    """A repository of the Hub, and what tests may ask about it."""

    def __init__(
        self,
        repo_id: str,
        kind: str,
        git_dir: Path,
        *,
        private: bool,
        keep_content: bool = True,
        begun: bool = True,
    ) -> None:
        self.repo_id = repo_id
        self.kind = kind
        self.private = private
        self.gated: str | bool = False
        self.created_at = datetime.now(UTC)
        self.git = Git(git_dir)
        self.lfs = ObjectStore(git_dir / "lfs" / "objects", keep=keep_content)
        self.lock = threading.RLock()
        self._pointers: dict[str, Pointer | None] = {}
        self.git.init()
        if begun:
            self.commit({ATTRIBUTES: default_attributes()}, "initial commit")

    @property
    def git_dir(self) -> Path:
        """The bare repository on disk."""
        return self.git.git_dir

    @property
    def begun(self) -> bool:
        """Whether ``main`` has a commit."""
        return MAIN in self.git.refs()

    @property
    def head(self) -> str:
        """The commit that ``main`` is at."""
        return self.resolve("main")

    def resolve(self, revision: str) -> str:
        """The commit that a branch, tag, full ref name or commit id stands for."""
        refs = self.git.refs()
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return refs[name]
        commit = self.git.commit_id(revision) if _COMMIT_ID.fullmatch(revision) else None
        if commit is None:
            raise UnknownRevision(f"Invalid rev id: {revision}")
        return commit

    def branch_ref(self, revision: str) -> str:
        """The ref that a commit to ``revision`` moves; tags and ids cannot be committed to."""
        refs = self.git.refs()
        if revision == "main" and not self.begun:
            return MAIN
        for name in (f"refs/heads/{revision}", revision):
            if name in refs and name.startswith(("refs/heads/", "refs/pr/")):
                return name
        raise UnknownRevision(f"Invalid rev id: {revision}")

    def entries(self, revision: str = "main") -> list[Entry]:
        """Every file and folder of a revision, sorted by path."""
        items = sorted(self.git.tree(self.resolve(revision)), key=lambda item: item.path)
        self._learn_pointers(items)
        return [self._entry(item) for item in items]

    def files(self, revision: str | None = None) -> dict[str, bytes]:
        """Path to content at a revision, large files resolved to their bytes."""
        found = [each for each in self.entries(revision or "main") if not each.is_folder]
        return {each.path: self.read(each) for each in found}

    def read(self, entry: Entry) -> bytes:
        """The content of one file, from git or from the LFS store."""
        if entry.lfs:
            return self.lfs.read(entry.lfs.oid)
        return self.git.read_blobs([entry.oid])[entry.oid]

    def commits(self, revision: str | None = None) -> list[Commit]:
        """The history of a revision, newest first."""
        return self.log(self.resolve(revision or "main"))

    def log(self, commit: str, *, limit: int = -1, path: str = "") -> list[Commit]:
        """Some of the history of a commit (of one path, when given), newest first."""
        form = f"--format={LOG_FORMAT}"
        where = ["--", path] if path else []
        out = self.git.run("log", "-z", form, f"--max-count={limit}", commit, *where)
        return [parse_commit(record) for record in out.decode().split("\0") if record]

    def check_parent(self, ref: str, expected: str | None) -> str | None:
        """The commit a ref is at, which must be the expected one when there is any."""
        commit = self.git.refs().get(ref)
        if expected and not (commit or "").startswith(expected.lower()):
            raise StaleParent(MOVED)
        return commit

    def commit(
        self,
        changes: Mapping[str, Content | None],
        message: str,
        *,
        ref: str = MAIN,
        author: str = "hub",
    ) -> str:
        """Put changes (``None`` deletes) on a ref as one commit and return its id."""
        with self.lock:
            parent = self.git.refs().get(ref)
            tree = self._write_tree(parent, changes)
            return self.commit_tree(tree, [parent] if parent else [], message, ref, author)

    def commit_tree(
        self, tree: str, parents: Sequence[str], message: str, ref: str, author: str
    ) -> str:
        """Commit a finished tree and move the ref from its first parent to the result."""
        flags = [part for parent in parents for part in ("-p", parent)]
        out = self.git.run(
            "commit-tree", *flags, tree, stdin=message.encode(), env=identity(author)
        )
        oid = out.decode().strip()
        try:
            self.git.update_ref(ref, oid, parents[0] if parents else ABSENT)
        except GitError as error:
            raise StaleParent(MOVED) from error
        return oid

    def push(
        self, files: Mapping[str, bytes | None], message: str = "push", *, branch: str = "main"
    ) -> str:
        """Commit as another writer would, behind the client's back; ``None`` deletes."""
        changes: dict[str, Content | None] = {}
        for path, content in files.items():
            large = content is not None and is_large(path, len(content))
            changes[path] = self.lfs.put_bytes(content) if content and large else content
        return self.commit(changes, message, ref=f"refs/heads/{branch}", author="another-writer")

    def create_ref(self, ref: str, commit: str, message: str | None = None) -> None:
        """Create a branch or tag (annotated, with a message); an existing one is left alone."""
        if not self.git.is_ref_name(ref):
            raise Rejected(f"Invalid reference name: {ref}")
        with self.lock:
            if ref in self.git.refs():
                raise RefExists(f"Reference already exists: {ref}")
            try:
                target = self._annotate(ref, commit, message) if message else commit
                self.git.update_ref(ref, target, ABSENT)
            except GitError as error:
                raise RefExists(f"Reference cannot be created: {ref}") from error

    def _annotate(self, ref: str, commit: str, message: str) -> str:
        """Write the object of an annotated tag."""
        who = f"hub <hub@hub.test> {int(time.time())} +0000"
        name = ref.removeprefix("refs/tags/")
        text = f"object {commit}\ntype commit\ntag {name}\ntagger {who}\n\n{message}\n"
        return self.git.run("mktag", stdin=text.encode()).decode().strip()

    def large_by_attributes(self, commit: str, paths: Sequence[str]) -> dict[str, bool]:
        """Whether the ``.gitattributes`` of a revision send each path through git-lfs."""
        with self.git.index(commit) as index:
            small = set(index.without_lfs_filter(paths))
        return {path: path not in small for path in paths}

    def rot(self, path: str, revision: str = "main") -> None:
        """Flip the last byte of a stored large file in place, as a failing disk would."""
        entry = next(each for each in self.entries(revision) if each.path == path)
        if entry.lfs is None:
            raise ValueError(f"{path} is not a large file")
        content = self.lfs.read(entry.lfs.oid)
        self.lfs.path(entry.lfs.oid).write_bytes(content[:-1] + bytes([content[-1] ^ 0xFF]))

    def _write_tree(self, parent: str | None, changes: Mapping[str, Content | None]) -> str:
        """The tree of ``parent`` with the changes, and with LFS rules for new large files."""
        kept = {path: content for path, content in changes.items() if content is not None}
        raw = [each if isinstance(each, bytes) else each.encode() for each in kept.values()]
        blobs = dict(zip(kept, self.git.write_blobs(raw), strict=True))
        large = [path for path, content in kept.items() if isinstance(content, Pointer)]
        with self.git.index(parent) as index:
            index.apply({path: blobs.get(path) for path in changes})
            uncovered = index.without_lfs_filter(large) if large else []
            if uncovered:
                index.apply({ATTRIBUTES: self._attributes_blob(index.write(), uncovered)})
            return index.write()

    def _attributes_blob(self, tree: str, paths: Sequence[str]) -> str:
        """The ``.gitattributes`` of a tree with one more line per path."""
        old = [item.oid for item in self.git.tree(tree) if item.path == ATTRIBUTES]
        before = self.git.read_blobs(old)[old[0]] if old else b""
        return self.git.write_blobs([before + b"".join(map(attribute_line, paths))])[0]

    def _learn_pointers(self, items: Sequence[TreeItem]) -> None:
        """Read the small blobs not seen before and remember which are pointers."""
        small = {item.oid for item in items if item.kind == "blob" and item.size < POINTER_LIMIT}
        unseen = sorted(small - self._pointers.keys())
        for oid, content in self.git.read_blobs(unseen).items():
            self._pointers[oid] = parse_pointer(content)

    def _entry(self, item: TreeItem) -> Entry:
        """What the Hub shows of one line of the tree."""
        pointer = self._pointers.get(item.oid)
        return Entry(item.path, item.kind == "tree", item.oid, item.size, pointer)
