"""Indexes: several manifests under one tag, as for several platforms or with what attests them.

Decides whether there is one model among them. A pull takes that one by its digest; nothing is
published over an index, since it would take the others away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from weighbridge.adapters.oci_registry.repository import Repository, Stored
from weighbridge.domain import modelpack
from weighbridge.domain.artifact import Archive, Manifest
from weighbridge.domain.errors import ModelPacked, RegistryRejected
from weighbridge.domain.publication import OciRepo
from weighbridge.domain.strict_json import StrictJsonError, parse_object

#: How many manifests are looked at; an index of models has one for each form of one model.
_MOST = 64
#: By which builders mark what says something of another manifest.
_ABOUT = "vnd.docker.reference.type"


@frozen
class _Model:
    digest: str
    described: str
    files: Manifest
    archives: tuple[Archive, ...]


def require_no_index(place: OciRepo, repository: Repository, stored: Stored) -> None:
    """Raises ModelPacked for an index with one model in it, which names that; RegistryRejected for
    one with none, or several, which it lists; nothing for a manifest."""
    if _members(stored.content) is None:
        return
    models = list(_models(place, repository, stored.content))
    if not models:
        reason = "what is there is no model but an image for several platforms, or another kind of "
        raise RegistryRejected(destination=str(place), reason=f"{reason}artifact")
    if len(models) > 1:
        listed = "; ".join(f"@{each.digest} ({each.described})" for each in models)
        reason = f"it is an index of {len(models)} models; say which, by its digest: {listed}"
        raise RegistryRejected(destination=str(place), reason=reason)
    found = models[0]
    raise ModelPacked(
        destination=str(place),
        reason="it is an index with one model among other things: a pull takes that, and nothing "
        f"is published over it; to do more, name the model: @{found.digest}",
        revision=found.digest,
        files=found.files,
        archives=found.archives,
    )


def _models(place: OciRepo, repository: Repository, index: bytes) -> Iterator[_Model]:
    """Those of the index and of indexes in it, each once."""
    todo, seen = list(_members(index) or ()), set[str]()
    while todo:
        member = todo.pop(0)
        digest = str(member.get("digest"))
        if digest in seen or not modelpack.is_digest(digest):
            continue
        seen.add(digest)
        if len(seen) > _MOST:
            reason = f"it is an index of more than {_MOST} manifests; say which, by its digest"
            raise RegistryRejected(destination=str(place), reason=reason)
        stored = repository.manifest(digest)
        if stored is None:  # of a platform that was not copied along
            continue
        more = _members(stored.content)
        todo += more or ()
        try:
            files, archives = modelpack.contents(stored.content)
        except ValueError:
            continue
        yield _Model(digest, _described(member, files), files, archives)


def _members(content: bytes) -> list[dict[str, Any]] | None:
    """What an index lists, without what is about others; None for another kind of document."""
    try:
        listed = parse_object(content).get("manifests")
    except StrictJsonError:
        return None
    if not isinstance(listed, list):
        return None
    return [m for m in listed if isinstance(m, dict) and _ABOUT not in _dict(m, "annotations")]


def _described(member: dict[str, Any], files: Manifest) -> str:
    platform = _dict(member, "platform")
    said = (platform.get(key) for key in ("os", "architecture", "variant"))
    where = "/".join(s for s in said if isinstance(s, str))
    size = f"{len(files.entries)} files, {files.total_bytes} bytes"
    return f"{where}, {size}" if where else size


def _dict(fields: dict[str, Any], key: str) -> dict[str, Any]:
    found = fields.get(key)
    return found if isinstance(found, dict) else {}
