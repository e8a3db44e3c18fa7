"""From the operations of a commit to what changes in the tree.

Decides which paths and which contents are acceptable, and what operations mean one after the
other. This is also where the ``corrupt`` fault stores other bytes than were sent.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

from tests.hub_server.errors import Rejected, UnknownEntry
from tests.hub_server.faults import Fault
from tests.hub_server.hub import Hub
from tests.hub_server.lfs import LARGE, Pointer
from tests.hub_server.storage import Content, Repository
from tests.hub_server.xet import XetUnavailable

Changes = dict[str, Content | None]


def read_changes(
    hub: Hub,
    repository: Repository,
    present: Iterable[str],
    operations: Iterable[dict[str, Any]],
    faults: Sequence[Fault],
) -> Changes:
    """The changes that the operations amount to, or the reason why they are refused."""
    changes: Changes = {}
    there = set(present)
    for operation in operations:
        kind, value = operation["key"], operation["value"]
        path = _checked(value["path"])
        if kind in ("deletedFile", "deletedFolder"):
            gone = _covered(path, there, folder=kind == "deletedFolder")
            changes.update(dict.fromkeys(gone))
            there -= gone
        else:
            content = _content(hub, repository, kind, value)
            changes[path] = _sabotaged(repository, path, content, faults)
            there.add(path)
    return changes


def _checked(path: str) -> str:
    """A path that git can hold and that stays inside the repository."""
    parts = path.rstrip("/").split("/")
    if any(part in ("", ".", "..", ".git") for part in parts):
        raise Rejected(f"Invalid path: {path}")
    return "/".join(parts)


def _covered(path: str, there: set[str], *, folder: bool) -> set[str]:
    """The files that a deletion takes away; there must be one."""
    gone = {each for each in there if each.startswith(f"{path}/")} if folder else there & {path}
    if not gone:
        raise UnknownEntry(
            f"A {'folder' if folder else 'file'} with this name doesn't exist: {path}"
        )
    return gone


def _content(hub: Hub, repository: Repository, kind: str, value: dict[str, Any]) -> Content:
    """The new content of a file."""
    if kind == "file":
        return _regular(value)
    if kind == "lfsFile":
        return _large(hub, repository, value)
    raise Rejected(f"Unknown operation: {kind}")


def _regular(value: dict[str, Any]) -> bytes:
    """The bytes of a file that travels inside the commit."""
    if value.get("encoding") != "base64":
        return str(value["content"]).encode()
    try:
        content = base64.b64decode(value["content"], validate=True)
    except binascii.Error as error:
        raise Rejected(f"Malformed base64: {value['path']}") from error
    if len(content) >= LARGE:
        raise Rejected(f"{value['path']} is larger than 10 MiB and must be sent through LFS")
    return content


def _large(hub: Hub, repository: Repository, value: dict[str, Any]) -> Pointer:
    """The pointer to an object that was uploaded before, by LFS or by Xet."""
    oid = str(value["oid"])
    size = repository.lfs.size(oid)
    if size is None and hub.can.xet:
        size = _from_xet(hub, repository, oid, int(value.get("size", 0)))
    if size is None or value.get("size", size) != size:
        raise Rejected(f"LFS pointer pointed to a file that does not exist: {value['path']}")
    return Pointer(oid, size)


def _from_xet(hub: Hub, repository: Repository, oid: str, size: int) -> int | None:
    """Copy an object from the Xet store, checking that its bytes have the sha256 it claims."""
    xet_hash = hub.xet.index().get(oid)
    if xet_hash is None:
        return None
    if not repository.lfs.keep:  # The client's own word for it.
        return repository.lfs.put_size(oid, size).size
    with repository.lfs.incoming() as temporary:
        try:
            hub.xet.fetch(xet_hash, size, temporary.name)
        except XetUnavailable as error:
            raise Rejected(f"Xet object {xet_hash} cannot be read: {error}") from error
        pointer = repository.lfs.put_file(temporary.name, oid)
    return pointer.size if pointer else None


def _sabotaged(
    repository: Repository, path: str, content: Content, faults: Sequence[Fault]
) -> Content:
    """The content, or other bytes when a fault says so."""
    fault = next((each for each in faults if each.corrupts(path)), None)
    if fault is None:
        return content
    if isinstance(content, Pointer):
        return repository.lfs.put_bytes(fault.spoil(repository.lfs.read(content.oid)))
    return fault.spoil(content)
