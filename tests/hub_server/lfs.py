"""Git LFS pointers, and the objects they point to.

Decides which files are large (by suffix or by size), how a pointer is written, and that an
object enters the store only under the sha256 that its bytes really have. A store may forget the
bytes once they are known to be right, so that models larger than the disk can be sent to it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

LARGE = 10 * 1024 * 1024
POINTER_LIMIT = 1024
CHUNK = 1024 * 1024
PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5"),
    *("*.joblib", "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx"),
    *("*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors"),
    *("*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*"),
)
_RULE = "filter=lfs diff=lfs merge=lfs -text"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_OID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pointer:
    """The identity of a large file: its sha256 and its size."""

    oid: str
    size: int

    def encode(self) -> bytes:
        """The canonical pointer file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\n"
        return f"{text}size {self.size}\n".encode()


def parse_pointer(content: bytes) -> Pointer | None:
    """Read a canonical pointer file; anything else is an ordinary file."""
    match = _POINTER.fullmatch(content)
    return Pointer(match[1].decode(), int(match[2])) if match else None


def is_large(path: str, size: int) -> bool:
    """Whether the Hub keeps this file outside git."""
    name = path.rsplit("/", 1)[-1]
    return size >= LARGE or (size > 0 and any(fnmatchcase(name, each) for each in PATTERNS))


def default_attributes() -> bytes:
    """The ``.gitattributes`` that every new repository starts with."""
    return "".join(f"{pattern} {_RULE}\n" for pattern in PATTERNS).encode()


def attribute_line(path: str) -> bytes:
    """The rule the Hub appends for a large file that no pattern covers."""
    escaped = re.sub(r"([\\*?\[])", r"\\\1", path).replace(" ", "[[:space:]]")
    return f"{escaped} {_RULE}\n".encode()


def feed(hasher: hashlib._Hash, source: IO[bytes]) -> int:
    """Take in all of a stream; how many bytes it had."""
    size = 0
    while block := source.read(CHUNK):
        hasher.update(block)
        size += len(block)
    return size


class ObjectStore:
    """The ``lfs/objects`` folder of one bare repository, in the layout git-lfs reads."""

    def __init__(self, folder: Path, *, keep: bool = True) -> None:
        self._folder = folder
        self.keep = keep

    def path(self, oid: str) -> Path:
        """Where an object lies, present or not."""
        if not _OID.fullmatch(oid):
            raise ValueError(f"not a sha256: {oid!r}")
        return self._folder / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """The size of a stored object, or ``None`` when it is unknown."""
        if not _OID.fullmatch(oid) or not self.path(oid).is_file():
            return None
        return self.path(oid).stat().st_size

    def has(self, pointer: Pointer) -> bool:
        """Whether the object is here with that very size."""
        return self.size(pointer.oid) == pointer.size

    def read(self, oid: str) -> bytes:
        """The bytes of an object."""
        return self.path(oid).read_bytes()

    def put_bytes(self, content: bytes) -> Pointer:
        """Store bytes under their own digest."""
        with self.incoming() as temporary:
            Path(temporary.name).write_bytes(content)
            return self._adopt(temporary.name, hashlib.sha256(content).hexdigest())

    def put_file(self, source: str, oid: str) -> Pointer | None:
        """Store a file of this file system if it has the digest it claims."""
        with open(source, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._adopt(source, oid) if digest == oid else None

    def put_stream(self, source: IO[bytes], oid: str) -> Pointer | None:
        """Store a stream if it has the digest it claims; otherwise keep nothing."""
        if not self.keep:
            hasher = hashlib.sha256()
            size = feed(hasher, source)
            return self.put_size(oid, size) if hasher.hexdigest() == oid else None
        with self.incoming() as temporary:
            shutil.copyfileobj(source, temporary, CHUNK)
            temporary.flush()
            return self.put_file(temporary.name, oid)

    def put_size(self, oid: str, size: int) -> Pointer:
        """Store a file of nothing but holes in the place of bytes that were seen to be right."""
        with self.incoming() as temporary:
            os.truncate(temporary.name, size)
            return self._adopt(temporary.name, oid)

    def incoming(self) -> tempfile._TemporaryFileWrapper[bytes]:
        """A temporary file on the store's own file system."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._folder.parent)

    def _adopt(self, source: str, oid: str) -> Pointer:
        """Link a complete file into the store; an object already there stays."""
        target = self.path(oid)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.link(source, target)
        return Pointer(oid, target.stat().st_size)
