"""The index of an OCI image layout: which names a store of blobs has, and for what.

Decides that only one name is changed at a time, and that what others wrote stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from weighbridge.domain import modelpack
from weighbridge.domain.publication import Revision
from weighbridge.domain.strict_json import StrictJsonError, parse_object

INDEX = "application/vnd.oci.image.index.v1+json"
#: The file that makes a directory, or a prefix, a layout.
LAYOUT_FILE = "oci-layout"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}\n'
#: The annotation with the past of a name that is published to.
LOG = "weighbridge.log"
_MOST_LOGGED = 1000
_MOST_MESSAGE = 500
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


def names(index: bytes | None) -> dict[str, str]:
    """All names, each with the digest that it stands for. Raises ValueError as ``named``."""
    found = {n for m in _manifests(index) if isinstance(n := _name_of(m), str)}
    return {name: digest for name in sorted(found) if (digest := named(index, name))}


def log_of(index: bytes | None, name: str) -> tuple[Revision, ...]:
    """What the name stood for, newest first. Raises ValueError if the index is no index."""
    for manifest in _manifests(index):
        if _name_of(manifest) == name:
            return parse_log(manifest["annotations"].get(LOG))
    return ()


def is_branch(index: bytes | None, name: str) -> bool:
    """True for what is published to; a tag has no log."""
    return any(_name_of(m) == name and LOG in m["annotations"] for m in _manifests(index))


def with_name(
    index: bytes | None, name: str, digest: str, size: int, log: Iterable[Revision] | None = None
) -> bytes:
    """The index in which ``name`` stands for the manifest of that digest and size, and all else is
    as it was. ``log`` is the name's past, newest first; None for a tag."""
    entry = {
        "mediaType": modelpack.MANIFEST,
        "artifactType": modelpack.MODEL,
        "digest": digest,
        "size": size,
        "annotations": {_REF: name} | ({} if log is None else {LOG: render_log(log)}),
    }
    others = [m for m in _manifests(index) if _name_of(m) != name]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
    return json.dumps(document, indent=2).encode() + b"\n"


def render_log(log: Iterable[Revision]) -> str:
    """The past of a name as text; what is older than the newest thousand is forgotten."""
    told = [[each.id, each.when, each.message[:_MOST_MESSAGE]] for each in log]
    return json.dumps(told[:_MOST_LOGGED], separators=(",", ":"))


def parse_log(text: object) -> tuple[Revision, ...]:
    """What ``render_log`` wrote; nothing for anything else: it is no part of what is published."""
    try:
        told = json.loads(text) if isinstance(text, str) else []
        return tuple(Revision(str(i), str(when), str(said)) for i, when, said in told)
    except (ValueError, TypeError, RecursionError):
        return ()


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
