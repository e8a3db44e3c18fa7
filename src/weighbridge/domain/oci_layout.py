"""The index of an OCI image layout: which names a store of blobs has, and for what.

Decides that only one name is changed at a time, and that what others wrote stays as it is.
"""

from __future__ import annotations

import json
from typing import Any

from weighbridge.domain import modelpack
from weighbridge.domain.strict_json import StrictJsonError, parse_object

INDEX = "application/vnd.oci.image.index.v1+json"
#: The file that makes a directory, or a prefix, a layout.
LAYOUT_FILE = "oci-layout"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}\n'
_REF = "org.opencontainers.image.ref.name"


def named(index: bytes | None, name: str) -> str | None:
    """The digest that ``name`` stands for; None if it is not in the index, or there is none.

    Raises ValueError if the index is no index.
    """
    found = [m.get("digest") for m in _manifests(index) if _name_of(m) == name]
    if not found:
        return None
    if len(found) > 1 or not isinstance(found[0], str):
        raise ValueError(f"its index.json names {name!r} twice, or without a digest")
    return found[0]


def with_name(index: bytes | None, name: str, pack: modelpack.ModelPack) -> bytes:
    """The index in which ``name`` stands for that manifest, and all else is as it was."""
    entry = {
        "mediaType": modelpack.MANIFEST,
        "artifactType": modelpack.MODEL,
        "digest": pack.digest,
        "size": len(pack.manifest),
        "annotations": {_REF: name},
    }
    others = [m for m in _manifests(index) if _name_of(m) != name]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
    return json.dumps(document, indent=2).encode() + b"\n"


def _manifests(index: bytes | None) -> list[dict[str, Any]]:
    if index is None:
        return []
    try:
        found = parse_object(index).get("manifests")
    except StrictJsonError as error:
        raise ValueError(f"its index.json {error.detail}") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("its index.json is not that of an OCI image layout")
    return found


def _name_of(manifest: dict[str, Any]) -> object:
    annotations = manifest.get("annotations")
    return annotations.get(_REF) if isinstance(annotations, dict) else None
