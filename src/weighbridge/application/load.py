"""The one way an artifact enters: scan, headers, small documents; then detection and parsing.

Reads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from weighbridge.application.contents import MOST_FILES, examine, is_picture
from weighbridge.application.several import at_once
from weighbridge.domain.artifact import (
    ArtifactPath,
    Document,
    FileEntry,
    JsonProblem,
    ModelArtifact,
    Scan,
    TensorFile,
)
from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.contents import in_repository, is_companion
from weighbridge.domain.coverage import SMALL_BYTES
from weighbridge.domain.detection import (
    ADAPTER_CONFIG,
    CONFIG,
    INDEX,
    NPZ_WEIGHTS,
    Choice,
    Detected,
    detect,
    indexed_shards,
    parse_model,
)
from weighbridge.domain.errors import (
    ArtifactUnreadable,
    InvalidModelStructure,
    PathConflict,
    PathMissing,
    StorageError,
)
from weighbridge.domain.file_forms import TAIL
from weighbridge.domain.npz import parse_npz
from weighbridge.domain.strict_json import StrictJsonError, parse_object, parse_strictly
from weighbridge.domain.tensors import (
    HeaderDefect,
    HeaderInvalid,
    TensorSpec,
    header_length,
    parse_header,
)
from weighbridge.domain.tokenizer import TOKENIZER, TokenizerView

if TYPE_CHECKING:
    from weighbridge.application.ports import FileSystem
    from weighbridge.domain.models import Kind, Model

_MAX_JSON = 10_000_000
_MAX_TOKENIZER = 128_000_000
_SMALL_TEXT = 4096
#: What is kept in memory of files that come over the network; others are asked for when they are
#: looked into, so far as the bounds on that go.
_MOST_AHEAD = 64 << 20
#: What loaders read and must be an object. Others may end in config.json and hold a list.
_OBJECTS = re.compile(
    r"((adapter_|generation_|tokenizer_|processor_|preprocessor_)?config|tokenizer"
    r"|special_tokens_map|added_tokens|vocab|chat_template|.*\.index)\.json"
)
_BASE_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_MODEL_DOCUMENTS = frozenset({ADAPTER_CONFIG, CONFIG, INDEX})
_TEXT_SUFFIXES = (".json", ".md", ".txt", ".jinja", ".safetensors", ".model", ".bin")


@frozen
class Loaded:
    """An artifact with its kind and typed model."""

    artifact: ModelArtifact
    detected: Detected
    model: Model


def scan_model(files: FileSystem, location: str) -> Scan:
    """The files of ``location``. Raises InvalidModelStructure if it is no directory; PathMissing if
    it is far away, where nobody can tell what is not there from what is not shown."""
    try:
        return files.scan(location)
    except (PathMissing, PathConflict) as error:
        if isinstance(error, PathMissing) and "://" in location:
            raise
        what = "no such directory"
        if not isinstance(error, PathMissing):
            what = "not a directory; give the one that holds the model's files"
        raise InvalidModelStructure(location=location, problems=(what,)) from error


def read_document(files: FileSystem, location: str, entry: FileEntry) -> Document:
    """A JSON file, strictly parsed; whatever is wrong with it is kept as its problem."""
    limit = _MAX_TOKENIZER if entry.path.name == "tokenizer.json" else _MAX_JSON
    if entry.size > limit:
        detail = f"has {entry.size} bytes; {limit} is the most"
        return Document(entry.path, problem=JsonProblem("JS005", detail))
    parse = parse_object if _OBJECTS.fullmatch(entry.path.name) else parse_strictly
    try:
        return Document(entry.path, parse(files.read(location, entry.path)))
    except StrictJsonError as error:
        return Document(entry.path, problem=JsonProblem(error.code, error.detail))


def read_header(files: FileSystem, location: str, entry: FileEntry) -> TensorFile:
    """A safetensors file's header, or its defects."""
    try:
        with files.open(location, entry.path) as reader:
            prefix = bytearray(min(reader.size, 64))
            reader.read_into(memoryview(prefix), 0)
            length = header_length(bytes(prefix), reader.size)
            raw = bytearray(length)
            reader.read_into(memoryview(raw), 8)
            header = parse_header(bytes(raw), reader.size)
    except HeaderInvalid as error:
        return TensorFile(entry.path, entry.size, None, error.defects)
    return TensorFile(entry.path, entry.size, header)


def read_npz(files: FileSystem, location: str, entry: FileEntry) -> TensorFile:
    """The places of the tensors in an npz archive, or its defects."""

    def read(offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > entry.size:
            raise HeaderInvalid([HeaderDefect("NZ001", "points beyond the end of the file")])
        return files.read(location, entry.path, offset, length)

    try:
        return TensorFile(entry.path, entry.size, parse_npz(read, entry.size))
    except HeaderInvalid as error:
        return TensorFile(entry.path, entry.size, None, error.defects)


class Extent(Enum):
    """How much of an artifact is read: what its kind is decided by; beyond that, all that is small
    and has something to say; or every file, with bounds."""

    KIND = "kind"
    SMALL = "small"
    EVERYTHING = "everything"


def read_artifact(
    files: FileSystem, location: str, *, scan: Scan | None = None, extent: Extent = Extent.KIND
) -> ModelArtifact:
    """Headers and documents; beyond those that the kind is decided by as ``extent`` says."""
    scan = scan or scan_model(files, location)
    everything = extent is not Extent.KIND
    most = SMALL_BYTES if extent is Extent.SMALL else None
    documents, tensor_files, texts = [], [], []
    headers = _headers(files, location, scan)
    if everything and "://" in location:
        proven = {path for path, file in headers.items() if file.header is not None}
        _fetch_ahead(files, location, [e for e in scan.files if e.path.text not in proven])
    for entry in scan.files:
        name = entry.path.name
        if in_repository(entry.path.text) or is_companion(name):
            continue
        if entry.path.text in headers:
            tensor_files.append(headers[entry.path.text])
        elif name == NPZ_WEIGHTS and entry.path.text.count("/") <= 1:
            tensor_files.append(read_npz(files, location, entry))
        elif name in _MODEL_DOCUMENTS or (
            everything and name.endswith(".json") and (most is None or entry.size <= most)
        ):
            documents.append(read_document(files, location, entry))
        if everything and 0 < entry.size <= _SMALL_TEXT and name.endswith(_TEXT_SUFFIXES):
            texts.append((entry.path, files.read(location, entry.path)))
    found = ModelArtifact(location, scan, tuple(documents), tuple(tensor_files), tuple(texts))
    if not everything:
        return found
    contents = examine(files, location, scan, documents, tensor_files, most)
    return evolve(found, contents=contents)


def _headers(files: FileSystem, location: str, scan: Scan) -> Mapping[str, TensorFile]:
    """Of all files of tensors that are not too deep, by their paths."""
    entries = [
        e for e in scan.files
        if e.path.name.endswith(".safetensors") and e.path.text.count("/") <= 1
        and not in_repository(e.path.text) and not is_companion(e.path.name)
    ]  # fmt: skip
    read = partial(read_header, files, location)
    if "://" not in location:
        return {e.path.text: read(e) for e in entries}
    return {file.path.text: file for file in at_once(read, entries)}


def _fetch_ahead(files: FileSystem, location: str, entries: Sequence[FileEntry]) -> None:
    """Have what is small, and is read to its end, come over the network; there it is kept."""
    small = [
        e for e in entries
        if 0 < e.size <= (TAIL if is_picture(e.path.name) else SMALL_BYTES)
        and not in_repository(e.path.text)
    ]  # fmt: skip
    sums = accumulate(entry.size for entry in small)
    wanted = [e for e, total in zip(small, sums, strict=True) if total <= _MOST_AHEAD]
    at_once(lambda e: len(files.read(location, e.path)), wanted[:MOST_FILES])


def classify(artifact: ModelArtifact, wanted: Choice | Kind | None = None) -> Detected:
    """The kind. Raises InvalidModelStructure or AmbiguousModelStructure."""
    index = artifact.document(INDEX)
    shards = indexed_shards(index.object) if index else None
    return detect(artifact.location, artifact.scan, shards, wanted)


def load(files: FileSystem, location: str, wanted: Choice | Kind | None = None) -> Loaded:
    """The typed model at ``location``.

    Raises InvalidModelStructure, AmbiguousModelStructure, or ArtifactUnreadable.
    """
    artifact = read_artifact(files, location)
    detected = classify(artifact, wanted)
    return Loaded(artifact, detected, parse_model(artifact, detected))


def directory_of(location: str, directory: str) -> str:
    """The location of a directory of the artifact."""
    return f"{location.rstrip('/')}/{directory}" if directory else location


def read_optional(files: FileSystem, location: str, name: str) -> bytes | None:
    """The content of a small file, or None if it is not there."""
    try:
        return files.read(location, ArtifactPath(name))
    except (PathMissing, PathConflict):
        return None


def read_base_config(files: FileSystem, base: str | None) -> dict[str, object] | None:
    """The base's config.json, or None if there is no base at hand.

    Raises StorageError if ``base`` is given but holds no readable config.json.
    """
    if base is None:
        return None
    raw = read_optional(files, base, CONFIG)
    if raw is None:
        raise PathMissing(path=f"{base}/{CONFIG}", operation="reading the base model's config")
    try:
        return parse_object(raw)
    except StrictJsonError as error:
        raise StorageError(
            path=f"{base}/{CONFIG}", operation="reading the base model's config", reason=str(error)
        ) from error


def read_base_tokenizer(files: FileSystem, base: str | None) -> TokenizerView | None:
    """The base's tokenizer; None if there is no base at hand, or no sound tokenizer.json in it."""
    raw = read_optional(files, base, TOKENIZER) if base is not None else None
    if raw is None or len(raw) > _MAX_TOKENIZER:
        return None
    try:
        return TokenizerView.of(parse_object(raw))
    except StrictJsonError:
        return None


def read_base(files: FileSystem, base: str | None) -> BaseModel:
    """What a base directory tells without its weights; nothing if none is at hand.

    Raises StorageError if ``base`` is given but holds no readable config.json, ArtifactUnreadable
    if a header of its weights is broken.
    """
    config = read_base_config(files, base)
    if base is None or config is None:
        return BaseModel()
    tensors: dict[str, TensorSpec] = {}
    by_mlx = False
    for entry in files.scan(base).files:
        if _BASE_WEIGHTS.fullmatch(entry.path.text):
            found = read_header(files, base, entry)
            if found.header is None:
                problems = tuple(f"{entry.path}: {d.code} {d.detail}" for d in found.defects)
                raise ArtifactUnreadable(location=base, problems=problems)
            tensors.update(found.header.specs)
            by_mlx |= found.header.by_mlx
    return BaseModel.of(config, tensors, by_mlx=by_mlx)
