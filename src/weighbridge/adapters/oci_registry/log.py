"""The past of a tag, which OCI does not keep: in a manifest of ours under a tag beside it.

Decides what it is worth: it is written after the tag has moved, and without it nothing is lost but
the past. What it does not know of the head is told as a revision without a date.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256

from attrs import frozen

from weighbridge.adapters.oci_registry.repository import Repository
from weighbridge.domain import modelpack
from weighbridge.domain.errors import RegistryError
from weighbridge.domain.oci_layout import LOG, parse_log, render_log
from weighbridge.domain.publication import Revision
from weighbridge.domain.strict_json import StrictJsonError, parse_object

_PREFIX = "weighbridge-log-"
_TYPE = "application/vnd.weighbridge.log.v1"
# What the specification says an artifact without a config has.
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def log_tag(tag: str) -> str:
    """The tag of the log of a tag, which may be as long as tags can be."""
    return _PREFIX + sha256(tag.encode()).hexdigest()[:32]


def without_branches(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Those that nothing is published to, and that are no logs."""
    return tuple(t for t in tags if not t.startswith(_PREFIX) and log_tag(t) not in tags)


@frozen
class Log:
    """The log of one tag of a repository."""

    repository: Repository
    tag: str

    def read(self, head: str | None) -> tuple[Revision, ...]:
        """What the tag named, newest first; the first is ``head``, what it names now."""
        if head is None:
            return ()
        told = self._told()
        return told if told and told[0].id == head else (Revision(head, "", ""), *told)

    def add(self, before: str | None, digest: str, message: str) -> None:
        """Note that the tag names ``digest`` now, and what it named before. If the registry does
        not take that, the publication has succeeded all the same."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(RegistryError):
            self._write((Revision(digest, when, message), *self.read(before)))

    def _told(self) -> tuple[Revision, ...]:
        stored = self.repository.manifest(log_tag(self.tag))
        if stored is None:
            return ()
        try:
            annotations = parse_object(stored.content).get("annotations")
        except StrictJsonError:
            return ()
        return parse_log(annotations.get(LOG)) if isinstance(annotations, dict) else ()

    def _write(self, log: tuple[Revision, ...]) -> None:
        digest = modelpack.digest_of(_EMPTY)
        empty = {"mediaType": _EMPTY_TYPE, "digest": digest, "size": len(_EMPTY)}
        if not self.repository.has_blob(digest, len(_EMPTY)):
            self.repository.upload(digest, len(_EMPTY), lambda: [_EMPTY])
        manifest = {
            "schemaVersion": 2,
            "mediaType": modelpack.MANIFEST,
            "artifactType": _TYPE,
            "config": empty,
            "layers": [empty],
            "annotations": {LOG: render_log(log)},
        }
        self.repository.put_manifest(log_tag(self.tag), json.dumps(manifest).encode())
