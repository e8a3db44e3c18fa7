"""Looks into every file of an artifact, with bounds: what is beyond them is said, not passed over.

The weights are left out whose container is proven: nothing else has room in them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from weighbridge.domain.contents import (
    Contents,
    Family,
    Form,
    Leak,
    Mark,
    Unexamined,
    in_repository,
    marks_in,
)
from weighbridge.domain.detection import INDEX
from weighbridge.domain.errors import PathConflict, PathMissing
from weighbridge.domain.file_forms import EDGE, TAIL, recognise
from weighbridge.domain.leaks import LeakScanner
from weighbridge.domain.shipping import CARD, is_legal

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem, Reader
    from weighbridge.domain.artifact import Document, FileEntry, Scan, TensorFile

_CHUNK = 1 << 20
MOST_FILES = 10_000
#: Larger files are looked into so far, and are not in a report's manifest.
MOST_OF_FILE = 64 << 20
_MOST_OF_ALL = 256 << 20
#: Reads, of 64 KiB mostly, to follow what looks like a pickle; a second of work for six of them.
_MOST_FOLLOWED = 128
_CARD_BYTES = 256 << 10
_WRITTEN_BY_PEOPLE = re.compile(
    r".*\.(md|json|ya?ml|toml|cfg|conf|ini|env.*|jinja|py|ipynb|(ba|z)?sh|ps1|txt|log)|[^.]+|\.[^.]+"
)
_PICTURES = re.compile(
    r"(?i).*\.(?:png|jpe?g|gif|webp|bmp|tiff?|avif|ico|mp[34]|webm|mov|wav|flac|og[gav])"
)
#: What no text holds.
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
#: Programs and models of other formats hold texts, too.
_LOOKED_INTO = (Family.EXECUTABLE, Family.TENSORS, Family.FOREIGN)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json")


def examine(
    files: FileSystem,
    location: str,
    scan: Scan,
    documents: Sequence[Document],
    tensor_files: Iterable[TensorFile],
    most: int | None = None,
) -> Contents:
    """Forms, leaks and telling keys of all files, or of those of at most ``most`` bytes.

    Raises StorageError if the storage fails.
    """
    held = tuple(tensor_files)
    proven = {t.path.text for t in held if t.header is not None}
    entries = [
        e for e in scan.files
        if e.size and e.path.text not in proven and not in_repository(e.path.text)
        and (most is None or e.size <= most)
    ]  # fmt: skip
    examiner = _Examiner(files, location)
    for entry in entries[:MOST_FILES]:
        examiner.file(entry)
    if len(entries) > MOST_FILES:
        examiner.unexamined.append(
            Unexamined.at("", f"has {len(entries)} files; the first {MOST_FILES} were looked into")
        )
    index = next((d for d in documents if d.path.text == INDEX), None)
    clean = INDEX in {e.path.text for e in entries[:MOST_FILES]} and not examiner.told_of(INDEX)
    for file in held:
        examiner.metadata(file, index.weight_map if index and clean else {})
    for entry in scan.files:
        examiner.names(entry.path.text, "its name", [entry.path.text])
    marks: list[Mark] = [m for d in documents for m in marks_in(d.path.text, d.value)]
    return Contents(
        examiner.forms,
        tuple(examiner.leaks),
        tuple(marks),
        tuple(examiner.unexamined),
        read_card(files, location, scan),
        examiner.legal,
        frozenset(examiner.binary),
    )


def read_card(files: FileSystem, location: str, scan: Scan) -> bytes | None:
    """The beginning of the model card, if there is one."""
    entry = next((e for e in scan.files if e.path.text == CARD), None)
    if entry is None:
        return None
    try:
        return files.read(location, entry.path, 0, min(entry.size, _CARD_BYTES))
    except (PathMissing, PathConflict):
        return None


@define
class _Examiner:
    files: FileSystem
    location: str
    forms: dict[str, Form] = field(factory=dict)
    leaks: list[Leak] = field(factory=list)
    unexamined: list[Unexamined] = field(factory=list)
    legal: dict[str, bytes] = field(factory=dict)
    binary: set[str] = field(factory=set)
    _budget: int = _MOST_OF_ALL
    _left_to_follow: int = _MOST_FOLLOWED

    def file(self, entry: FileEntry) -> None:
        """Recognise one file, and look through it if it is no container."""
        with self.files.open(self.location, entry.path) as reader:
            much = TAIL if is_picture(entry.path.name) else _CHUNK
            first = _read(reader, 0, min(reader.size, much if self._budget > 0 else EDGE))
            tail = first[-TAIL:]
            if reader.size > len(first):
                tail = _read(reader, max(0, reader.size - TAIL), min(reader.size, TAIL))
            read_at = partial(self._read_on, entry.path.text, reader)
            form = recognise(first[:EDGE], tail, read_at, reader.size)
            if is_legal(entry.path.name):
                self.legal[entry.path.text] = first[:EDGE]
            if form is not None:
                self.forms[entry.path.text] = form
            elif _BINARY.search(first[:EDGE]) and not _is_wide(first):
                self.binary.add(entry.path.text)
            if form is None and entry.path.text in self.binary and is_picture(entry.path.name):
                self._edges(entry.path.text, first, tail if reader.size > len(first) else b"")
            elif form is None or form.family in _LOOKED_INTO:
                self._look(entry, reader, first, form)

    def _read_on(self, path: str, reader: Reader, offset: int, length: int) -> bytes:
        """Bytes of a file that has the beginning of a pickle; of all files together so many."""
        end = min(reader.size, MOST_OF_FILE, offset + length)
        if end <= offset:
            return b""
        if self._left_to_follow == 0:
            self.unexamined.append(Unexamined.at(path, "is too long to be followed as a pickle"))
        self._left_to_follow -= 1
        return _read(reader, offset, end - offset) if self._left_to_follow >= 0 else b""

    def _look(self, entry: FileEntry, reader: Reader, first: bytes, form: Form | None) -> None:
        name = entry.path.name
        people = _WRITTEN_BY_PEOPLE.fullmatch(name) and name not in _VOCABULARIES
        closely = bool(people) and entry.size <= _CHUNK and not is_legal(name)
        scanner = LeakScanner(entry.path.text, closely=closely)
        container = form is not None and form.family in (Family.TENSORS, Family.FOREIGN)
        most = _CHUNK if container else MOST_OF_FILE
        limit = min(reader.size, most, max(self._budget, 0))
        wide = _is_wide(first)
        done = 0
        while done < limit:
            chunk = first if not done else _read(reader, done, min(_CHUNK, limit - done))
            scanner.feed(chunk.replace(b"\0", b"") if wide else chunk)
            done += len(chunk)
        self._budget -= done
        self.leaks += scanner.found
        if done < reader.size and not (form is not None and form.family is Family.FOREIGN):
            reason = f"has {reader.size} bytes, of which the first {done} were looked through"
            self.unexamined.append(Unexamined.at(entry.path.text, reason))

    def _edges(self, path: str, first: bytes, tail: bytes) -> None:
        """What a camera or a program wrote into a picture stands before and behind it."""
        scanner = LeakScanner(path)
        scanner.feed(first + tail)
        self._budget -= len(first + tail)
        self.leaks += scanner.found

    def names(self, path: str, place: str, names: Iterable[str]) -> None:
        """Names are published as well: those of files, and those of tensors."""
        scanner = LeakScanner(path, place)
        scanner.feed("\n".join(names).encode("utf-8", "replace") + b"\n")
        self.leaks += (leak for leak in scanner.found if leak.code == "SC002")

    def told_of(self, path: str) -> bool:
        """True if something was found in that file, or left out."""
        return path in [*(leak.path for leak in self.leaks), *(u.path for u in self.unexamined)]

    def metadata(self, file: TensorFile, seen: Container[str]) -> None:
        """What was written into the header: names, but those ``seen`` elsewhere, and the rest."""
        names = [n for n in (file.header.specs if file.header else ()) if n not in seen]
        self.names(file.path.text, "a tensor's name", names)
        for key, value in ((file.header.metadata or {}) if file.header else {}).items():
            scanner = LeakScanner(file.path.text, f"__metadata__ {key[:64]!r}", closely=True)
            scanner.feed(f"{key}={value}".encode()[:_CHUNK])
            self.leaks += scanner.found


def is_picture(name: str) -> bool:
    """Whether it is one of pictures or sounds, of which nobody reads what is in the middle."""
    return _PICTURES.fullmatch(name) is not None


def _is_wide(first: bytes) -> bool:
    """True for a text of two or four bytes for each character."""
    head = first[:EDGE]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    narrow = head.replace(b"\0", b"")
    wide = 2 * len(narrow) <= len(head) + 1 and 5 * len(narrow) >= len(head) > 3
    return wide and _BINARY.search(narrow) is None


def _read(reader: Reader, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    reader.read_into(memoryview(buffer), offset)
    return bytes(buffer)
