"""A large object in parts, of which one is in memory.

Decides what becomes of parts when not all get there. If the connection broke, or the process died,
they stay, and whoever sends the same object next sends only the others; if anything else went
wrong, they are given back, for they would be paid for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from attrs import frozen

from weighbridge.adapters.s3_registry.failures import translated
from weighbridge.adapters.s3_registry.sums import (
    checksum_of,
    knows_sha256,
    summed,
    unless_older,
)
from weighbridge.application.uploads import in_parts
from weighbridge.domain.errors import RateLimited, RegistryUnreachable

PART = 16 << 20
_MOST_PARTS = 10_000


class _Gone(Exception):
    """The upload is no more: completed or given back, by us or by another who sends the same."""


@frozen
class InParts:
    """One object on its way. ``chunks`` gives its bytes, anew each time."""

    client: Any
    bucket: str
    key: str
    size: int
    chunks: Callable[[], Iterable[bytes]]
    destination: str

    def send(self) -> None:
        """Raises the RegistryError family, and what ``chunks`` raises."""
        for resume in (True, False):
            try:
                self._send(self._unfinished() if resume else None)
                return
            except _Gone:
                with translated(self.destination, f"looking for {self.key}"):
                    if self._is_there():
                        return
        reason = f"writing {self.key}: the upload was given up by somebody else"
        raise RegistryUnreachable(destination=self.destination, reason=reason, applied=False)

    def _send(self, upload: str | None) -> None:
        begun = [upload] if upload else []
        try:
            with translated(self.destination, f"writing {self.key}"):
                there = self._listed(begun[0]) if begun else {}
                if not begun:
                    begun.append(self._begin())
                self._fill(begun[0], there)
        except (RegistryUnreachable, RateLimited, _Gone):
            raise
        except Exception:
            for each in begun:
                self._give_back(each)
            raise

    def _begin(self) -> str:
        target = {"Bucket": self.bucket, "Key": self.key}
        begin, known = self.client.create_multipart_upload, {"ChecksumAlgorithm": "SHA256"}
        begun = unless_older(self.client, lambda sums: begin(**target, **sums), known, {})
        return str(begun["UploadId"])

    def _fill(self, upload: str, there: Mapping[int, Any]) -> None:
        size = max(PART, -(-self.size // _MOST_PARTS))
        parts = in_parts(self.chunks(), size)
        done = [self._part(upload, n, part, there.get(n)) for n, part in enumerate(parts, 1)]
        # Where the answer is lost the client asks again, and the upload is gone.
        self._call("complete_multipart_upload", upload, MultipartUpload={"Parts": done})

    def _part(self, upload: str, number: int, part: bytes, there: Any) -> dict[str, Any]:
        checksum = checksum_of(part)
        answer = there
        if there is None or not _is_same(there, part, checksum):
            send = partial(self._call, "upload_part", upload, PartNumber=number)
            answer = summed(self.client, send, part)
        sums = {"ChecksumSHA256": checksum} if knows_sha256(self.client) else {}
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    def _unfinished(self) -> str | None:
        """The newest upload of this object that was begun and not ended, if that can be known."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            listed = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.key)
        except (BotoCoreError, ClientError):
            return None
        found = [each for each in listed.get("Uploads", []) if each["Key"] == self.key]
        return max(found, key=lambda each: each["Initiated"])["UploadId"] if found else None

    def _listed(self, upload: str) -> Mapping[int, Any]:
        pages = self.client.get_paginator("list_parts")
        where = {"Bucket": self.bucket, "Key": self.key, "UploadId": upload}
        with _gone_is_told():
            return {
                p["PartNumber"]: p
                for page in pages.paginate(**where)
                for p in page.get("Parts", [])
            }

    def _call(self, name: str, upload: str, **more: Any) -> Any:
        with _gone_is_told():
            call = getattr(self.client, name)
            return call(Bucket=self.bucket, Key=self.key, UploadId=upload, **more)

    def _is_there(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            found = self.client.head_object(Bucket=self.bucket, Key=self.key)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return bool(found["ContentLength"] == self.size)

    def _give_back(self, upload: str) -> None:
        """What failed first is what is told."""
        from botocore.exceptions import BotoCoreError, ClientError

        with suppress(BotoCoreError, ClientError, _Gone):
            self._call("abort_multipart_upload", upload)


@contextmanager
def _gone_is_told() -> Iterator[None]:
    """Raises _Gone for an answer that there is no such upload."""
    try:
        yield
    except Exception as error:
        if _code(error) == "NoSuchUpload":
            raise _Gone from error
        raise


def _code(error: BaseException) -> str:
    """What S3 said, if it is that which boto3 raises."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _is_same(there: Mapping[str, Any], part: bytes, checksum: str) -> bool:
    """Whether a part that is there is this one: by its sha256, or by the MD5 that most stores give
    as its tag."""
    if there.get("Size") != len(part):
        return False
    if stored := there.get("ChecksumSHA256"):
        return bool(stored == checksum)
    return bool(there["ETag"].strip('"') == hashlib.md5(part, usedforsecurity=False).hexdigest())
