"""A model as an OCI manifest in the form of the CNCF ModelPack: one layer for each file, unpacked.

Decides the media types, and what of a stranger's manifest can be taken for files, or for archives
of files. Equal content gives equal bytes, so the digest of a manifest names the content: no date,
no message.

Specification: https://github.com/modelpack/model-spec
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from attrs import frozen

from weighbridge.domain.artifact import Archive, ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.docker_models import file_names
from weighbridge.domain.shipping import is_legal
from weighbridge.domain.strict_json import StrictJsonError, parse_object

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
#: As the specification called it before it went to the CNCF.
_OLD_FILEPATH = "org.cnai.model.filepath"
#: By which `oras pull` names the file that it writes.
TITLE = "org.opencontainers.image.title"
#: What the distribution specification lets a registry refuse is larger than this.
MOST_BYTES = 4 << 20
_NAMES = (FILEPATH, _OLD_FILEPATH, TITLE)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_WEIGHTS = (".safetensors", ".gguf", ".npz", ".bin")
_PACKED = re.compile(r"[.+](tar|gzip|zstd)\b")
#: What modctl, KitOps, Docker's Model Runner and their like call layers that are archives of a
#: model's files.
_ARCHIVE = re.compile(
    r"application/vnd\.(?:(?:(?:cncf|cnai)\.model|kitops\.modelkit)\.[a-z.]+\.v1"
    r"|docker\.ai\.(?:vllm\.config|dir))\.(tar(?:\+gzip|\+zstd)?)"
)
#: What KitOps lays beside a model's files; it writes it anew from the config.
_KITFILE = "application/vnd.kitops.modelkit.config.v1+json"
#: What `oras push` calls files as they are, if nobody says what they are; and its mark of those
#: that were directories, which it packs.
_ORAS_FILE = "application/vnd.oci.image.layer.v1.tar"
_ORAS_DIRECTORY = "application/vnd.oci.image.layer.v1.tar+gzip"
_ORAS_PACKED = "io.deis.oras.content.unpack"
_MOST_SIZE = 1 << 62


@frozen
class ModelPack:
    """A manifest and the config that it names, as bytes."""

    manifest: bytes
    config: bytes

    @property
    def digest(self) -> str:
        """The digest of the manifest, which is the name of the revision."""
        return digest_of(self.manifest)


def digest_of(content: bytes) -> str:
    """The digest of a blob in the spelling of OCI."""
    return f"sha256:{sha256(content).hexdigest()}"


def blob_digest(entry: ManifestEntry) -> str:
    """The digest by which a file is stored. Raises ValueError if its sha256 is not known."""
    known = entry.digest("sha256")
    if known is None:
        raise ValueError(f"the sha256 of {entry.path} is not known")
    return f"sha256:{known.value}"


def is_digest(text: str) -> bool:
    """Whether it is a digest as manifests are named by here."""
    return _DIGEST.fullmatch(text) is not None


def pack(manifest: Manifest) -> ModelPack:
    """The OCI manifest of those files. Raises ValueError if a sha256 is not known."""
    layers = [_layer(entry) for entry in manifest.entries]
    weights = any(e.path.name.endswith(".safetensors") for e in manifest.entries)
    config = _encoded(
        {
            # The specification's validator wants a name, which must be the same everywhere.
            "descriptor": {"name": "model"},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
            "config": {"format": "safetensors"} if weights else {},
        }
    )
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MODEL,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
    }
    return ModelPack(_encoded(document), config)


def unpack(content: bytes) -> Manifest:
    """The files that a manifest names. Raises ValueError with what is wrong with it, and for one
    that has archives."""
    manifest, archives = contents(content)
    if archives:
        raise ValueError(f"{archives[0].entry.path} of its manifest is packed; only models whose "
                         "files are layers as they are can be verified file by file")  # fmt: skip
    return manifest


def contents(content: bytes) -> tuple[Manifest, tuple[Archive, ...]]:
    """The files that a manifest names, and the layers that are archives of more.

    Raises ValueError with what is wrong with it.
    """
    try:
        document = parse_object(content)
    except StrictJsonError as error:
        raise ValueError(f"its manifest cannot be read: {error.detail}") from error
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise ValueError("what is there is no model but an image for several platforms, or another "
                         "kind of artifact")  # fmt: skip
    if not layers:
        raise ValueError("its manifest names no files: it is no model")
    found = tuple(_contents(layers))
    entries = tuple(each for each in found if isinstance(each, ManifestEntry))
    names = {entry.path.text for entry in entries}
    if len(names) != len(entries):
        raise ValueError("its manifest names a file twice")
    if both := names & {folder for entry in entries for folder in entry.path.parents}:
        raise ValueError(f"its manifest names {min(both)} as a file and as a directory")
    return Manifest(entries), tuple(each for each in found if isinstance(each, Archive))


def _layer(entry: ManifestEntry) -> dict[str, Any]:
    return {
        "mediaType": f"application/vnd.cncf.model.{_kind(entry.path)}.v1.raw",
        "digest": blob_digest(entry),
        "size": entry.size,
        "annotations": {FILEPATH: entry.path.text, TITLE: entry.path.text},
    }


def _kind(path: ArtifactPath) -> str:
    name = path.name
    if name.endswith(_WEIGHTS):
        return "weight"
    if name.endswith(".md") or is_legal(name):
        return "doc"
    return "code" if name.endswith(".py") else "weight.config"


def _contents(layers: list[Any]) -> Iterator[ManifestEntry | Archive]:
    described: list[Mapping[str, Any]] = [x if isinstance(x, dict) else {} for x in layers]
    named = [_name(_annotations(fields)) for fields in described]
    unnamed = zip(described, named, strict=True)
    dockers = file_names([str(f.get("mediaType")) for f, name in unnamed if name is None])
    for number, (fields, name) in enumerate(zip(described, named, strict=True), 1):
        annotations = _annotations(fields)
        form = _form(fields, annotations)
        path = next(dockers) if name is None else name
        if form is not None:
            path = f"layer {number}"
        elif path is None and fields.get("mediaType") == _KITFILE:
            continue
        found = _DIGEST.fullmatch(str(fields.get("digest")))
        size = fields.get("size")
        if not isinstance(path, str):
            raise ValueError(f"layer {number} of its manifest names no file: it is no model, "
                             "or one in archives of another tool")  # fmt: skip
        if found is None or not _is_size(size):
            raise ValueError(f"layer {number} of its manifest has no sha256 or no size")
        if form is None and _is_packed(fields, annotations):
            raise ValueError(f"{path} is packed, as {fields.get('mediaType')}, which is no archive "
                             "of a model that is known here")  # fmt: skip
        if (problem := ArtifactPath.problem_with(path)) is not None:
            raise ValueError(f"holds the path {path!r}, which {problem}")
        entry = ManifestEntry(ArtifactPath(path), int(str(size)), (Digest("sha256", found[1]),))
        yield entry if form is None else Archive(entry, form)


def _form(fields: Mapping[str, Any], annotations: Mapping[str, Any]) -> str | None:
    """How the files of a layer are packed, if it is an archive of a model's files."""
    kind = str(fields.get("mediaType"))
    if kind == _ORAS_DIRECTORY and annotations.get(_ORAS_PACKED) == "true":
        return "tar+gzip"
    found = _ARCHIVE.fullmatch(kind)
    return found[1] if found else None


def _name(annotations: Mapping[str, Any]) -> object:
    return next((p for key in _NAMES if (p := annotations.get(key))), None)


def _annotations(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    found = fields.get("annotations")
    return found if isinstance(found, dict) else {}


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _MOST_SIZE


def _is_packed(fields: Mapping[str, Any], annotations: Mapping[str, Any]) -> bool:
    """Whether a layer is an archive of files, by what it says of itself."""
    kind = str(fields.get("mediaType"))
    if kind == _ORAS_FILE and FILEPATH not in annotations:
        return annotations.get(_ORAS_PACKED) == "true"
    return _PACKED.search(kind) is not None


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
