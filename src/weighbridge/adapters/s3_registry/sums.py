"""The sums by which a store checks what it is sent: sha256, or MD5 where that is unknown.

Decides that a store is asked to check whatever it is sent, and what a refusal of the sum itself is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

#: Clients of stores that know no other sum than MD5.
_older: WeakSet[Any] = WeakSet()


def knows_sha256(client: Any) -> bool:
    """False for the client of a store that has refused a sha256."""
    return client not in _older


def summed(client: Any, call: Callable[..., Any], content: bytes, **more: Any) -> Any:
    """The answer to ``content`` with a sum of it."""
    md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    # The algorithm's name says nothing more, but locks on objects look for it.
    known = {"ChecksumSHA256": checksum_of(content), "ChecksumAlgorithm": "SHA256"}
    older = {"ContentMD5": md5}
    return unless_older(client, lambda sums: call(Body=content, **more, **sums), known, older)


def unless_older(
    client: Any,
    call: Callable[[Mapping[str, str]], Any],
    known: Mapping[str, str],
    older: Mapping[str, str],
) -> Any:
    """The answer to a call with the arguments ``known``, or with ``older`` from a store that does
    not know those. Raises what boto3 raises."""
    from botocore.exceptions import ClientError

    if knows_sha256(client):
        try:
            return call(known)
        except ClientError as error:
            if not _is_of_sums(error.response):
                raise
            _older.add(client)
    return call(older)


def _is_of_sums(response: Any) -> bool:
    """Whether a store refuses a sum as such, and not what it is of. The answer to HEAD has no
    words."""
    said = response.get("Error", {})
    words = f"{said.get('Code')} {said.get('Message')}".lower()
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    unknown = "unsupported" in words or "not implemented" in words or "notimplemented" in words
    return status in (400, 501) and (
        ("checksum" in words and unknown) or words in ("400 bad request", "501 not implemented")
    )


def checksum_of(content: bytes) -> str:
    """The sha256 as S3 writes it."""
    return coded(hashlib.sha256(content).digest())


def coded(digest: bytes) -> str:
    """A sha256 as S3 writes it."""
    return base64.b64encode(digest).decode()
