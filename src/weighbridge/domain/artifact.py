"""What is there: paths, digests, file entries, and an artifact as it was found.

Decides the grammar of a path inside an artifact. Reads nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property, total_ordering
from hashlib import sha256
from typing import Any

from attrs import evolve, field, frozen

from weighbridge.domain.contents import Contents
from weighbridge.domain.tensors import Header, HeaderDefect

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_MAX_PART_BYTES = 255


def _grammar_problem(text: str) -> str | None:
    if not text or text.startswith("/"):
        return "must be relative and not empty"
    if _FORBIDDEN.search(text):
        return 'holds a control character or one of \\ : * ? " < > |'
    try:
        encoded = [part.encode() for part in text.split("/")]
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if any(part in (b"", b".", b"..") for part in encoded):
        return "has an empty part, '.' or '..'"
    if any(len(part) > _MAX_PART_BYTES for part in encoded):
        return f"has a part of more than {_MAX_PART_BYTES} bytes"
    if unicodedata.normalize("NFC", text) != text:
        return "is not in Unicode normal form C"
    return None


@total_ordering
@frozen(order=False)
class ArtifactPath:
    """A path inside an artifact: relative, '/'-separated, portable to every common file system.

    Raises ValueError for text outside the grammar; use ``problem_with`` to ask first.
    """

    text: str = field()

    @text.validator
    def _check(self, _attribute: object, value: str) -> None:
        problem = _grammar_problem(value)
        if problem is not None:
            raise ValueError(f"path {value!r} {problem}")

    @staticmethod
    def problem_with(text: str) -> str | None:
        """Why ``text`` is no artifact path; None if it is one."""
        return _grammar_problem(text)

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """Everything before the last part, without the slash; '' at the top."""
        return self.text.rpartition("/")[0]

    @property
    def parents(self) -> tuple[str, ...]:
        """All directories that it is in, the innermost first."""
        parts = self.text.split("/")[:-1]
        return tuple("/".join(parts[:length]) for length in range(len(parts), 0, -1))

    @property
    def is_of_git(self) -> bool:
        """Whether git takes it for its own, and would run what it says."""
        return any(part.casefold() == ".git" for part in self.text.split("/"))

    def __lt__(self, other: ArtifactPath) -> bool:
        return self.text < other.text

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class Digest:
    """A content digest. ``algorithm`` is 'sha256', or 'git-sha1' (the id of a git blob)."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@frozen
class FileEntry:
    """One regular file as a scan saw it; ``size`` in bytes, ``links`` the names that it has."""

    path: ArtifactPath
    size: int
    links: int = field(default=1, eq=False)


class Oddity(Enum):
    """Why a directory entry is not one of the artifact's files."""

    SYMLINK = "symlink"
    SPECIAL = "special file"
    NAME = "unportable name"
    UNREADABLE = "unreadable"
    UNSEEN = "not looked at"


@frozen
class IrregularEntry:
    """An entry that is reported and never followed, opened or shipped."""

    name: str
    oddity: Oddity
    detail: str = ""
    escapes: bool = False


@frozen
class Scan:
    """A directory, recursively, sorted by path."""

    files: tuple[FileEntry, ...]
    irregular: tuple[IrregularEntry, ...] = ()


@frozen
class ManifestEntry:
    """One file with its size in bytes and every digest that is known of it."""

    path: ArtifactPath
    size: int
    digests: tuple[Digest, ...]

    def digest(self, algorithm: str) -> Digest | None:
        """The digest of that algorithm, if known."""
        return next((d for d in self.digests if d.algorithm == algorithm), None)

    def comparable(self, other: ManifestEntry) -> bool:
        """Whether a digest of one algorithm is known on both sides."""
        return any(other.digest(d.algorithm) is not None for d in self.digests)

    def same_content(self, other: ManifestEntry) -> bool:
        """True if sizes agree and a digest of one algorithm is known on both sides and equal."""
        common = [d for d in self.digests if other.digest(d.algorithm) is not None]
        return self.size == other.size and bool(common) and all(d in other.digests for d in common)


@frozen
class Archive:
    """Files that are one in the registry: ``entry`` is of the archive, under a name of ours, and
    ``form`` is tar, tar+gzip or tar+zstd."""

    entry: ManifestEntry
    form: str


def _by_path(entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    return tuple(sorted(entries, key=lambda e: e.path))


@frozen
class Manifest:
    """Paths, sizes, digests; sorted by path, each path once."""

    entries: tuple[ManifestEntry, ...] = field(converter=_by_path)
    # Repositories of 100,000 files exist, and each file of one is looked for in the other.
    _found: Mapping[ArtifactPath, ManifestEntry] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_found", {e.path: e for e in reversed(self.entries)})

    def find(self, path: ArtifactPath) -> ManifestEntry | None:
        """The entry of that path, if any."""
        return self._found.get(path)

    @property
    def total_bytes(self) -> int:
        """Sum of all sizes."""
        return sum(e.size for e in self.entries)

    @property
    def fingerprint(self) -> str | None:
        """What stands for all files: the sha256 of a line for each, as sha256sum prints them; None
        if there is none, or one whose sha256 is not known."""
        lines = []
        for entry in self.entries:
            known = entry.digest("sha256")
            if known is None:
                return None
            lines.append(f"{known.value}  {entry.path.text}\n")
        return sha256("".join(lines).encode()).hexdigest() if lines else None

    def with_digests(self, more: Mapping[ArtifactPath, Digest]) -> Manifest:
        """The same files, knowing one more digest of some."""
        return Manifest(
            evolve(e, digests=(*e.digests, more[e.path])) if e.path in more else e
            for e in self.entries
        )


@frozen
class JsonProblem:
    """Why a JSON file was refused; ``code`` is a rule's."""

    code: str
    detail: str


@frozen
class Document:
    """A JSON file: its strictly parsed value, or the problem."""

    path: ArtifactPath
    value: Any = None
    problem: JsonProblem | None = None

    @property
    def object(self) -> Mapping[str, Any]:
        """The value if it is a JSON object, else an empty one."""
        return self.value if isinstance(self.value, dict) else {}

    @cached_property
    def weight_map(self) -> Mapping[str, str]:
        """Shard by tensor, if it is an index of shards: of what is written as it must be."""
        found = self.object.get("weight_map")
        if not isinstance(found, dict):
            return {}
        return {k: v for k, v in found.items() if isinstance(v, str)}

    @cached_property
    def shards(self) -> tuple[str, ...]:
        """The files that it names, sorted, if it is an index of shards."""
        return tuple(sorted(set(self.weight_map.values())))


@frozen
class TensorFile:
    """A safetensors file: its header, or every defect of it."""

    path: ArtifactPath
    size: int
    header: Header | None
    defects: tuple[HeaderDefect, ...] = ()


@frozen
class ModelArtifact:
    """A directory as found: entries, small documents, tensor headers. No weights.

    ``contents`` is what a look into all files gave, if there was one.
    """

    location: str
    scan: Scan
    documents: tuple[Document, ...] = ()
    tensor_files: tuple[TensorFile, ...] = ()
    small_texts: tuple[tuple[ArtifactPath, bytes], ...] = ()
    contents: Contents = field(factory=lambda: Contents({}), repr=False)

    @cached_property
    def paths(self) -> frozenset[str]:
        """All regular files, as text."""
        return frozenset(e.path.text for e in self.scan.files)

    @cached_property
    def _documents(self) -> Mapping[str, Document]:
        return {d.path.text: d for d in self.documents}

    @cached_property
    def _tensor_files(self) -> Mapping[str, TensorFile]:
        return {t.path.text: t for t in self.tensor_files}

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return {e.path.text: e.size for e in self.scan.files}

    def document(self, path: str) -> Document | None:
        """The JSON file of that path, if it is there and was read."""
        return self._documents.get(path)

    def tensor_file(self, path: str) -> TensorFile | None:
        """The safetensors file of that path, if it is there."""
        return self._tensor_files.get(path)

    def size_of(self, path: str) -> int | None:
        """Size in bytes of that file, if it is there."""
        return self._sizes.get(path)


def sorted_entries(entries: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """The same entries in the one order that every scan has."""
    return tuple(sorted(entries, key=lambda e: e.path))
