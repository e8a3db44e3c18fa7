"""A large object on its way in parts, of which those that arrived once are not sent again.

Decides which unfinished upload is continued: one of the same key, which is the digest of what it
holds. A part counts as arrived if the store tells a checksum of it that is ours; so what another
writer is sending at the same time does no harm. What fails on its way is left to be continued, and
only content that turned out to be wrong is given back; buckets are told to forget the rest by a
lifecycle rule, as for every S3 client.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.adapters.s3_registry.failures import translated
from weighbridge.domain.errors import ArtifactChanged, RegistryUnreachable


@frozen
class MultipartUpload:
    """The upload of one object."""

    client: Any
    destination: str
    bucket: str
    key: str
    size: int

    def send(self, parts: Iterator[bytes]) -> None:
        """Store the parts as one object. Raises what they raise, and the RegistryError family."""
        from botocore.exceptions import ClientError

        with translated(self.destination, f"writing {self.key}"):
            target = {"Bucket": self.bucket, "Key": self.key, "UploadId": self._begun()}
            try:
                self._send(target, parts)
            except ArtifactChanged:
                self._abort(target)
                raise
            except ClientError as error:
                if self._is_there():
                    return
                self._tell_if_ended(error)
                raise

    def _send(self, target: Mapping[str, str], parts: Iterator[bytes]) -> None:
        there = self._arrived(target)
        done = [
            self._sent(target, number, part, there.get(number, {}))
            for number, part in enumerate(parts, 1)
        ]
        self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": done})

    def _is_there(self) -> bool:
        """Whether somebody ended the upload that we shared: then the object has the content that
        its key names, as that of every writer."""
        from botocore.exceptions import ClientError

        try:
            found = self.client.head_object(Bucket=self.bucket, Key=self.key)
        except ClientError:
            return False
        return bool(found["ContentLength"] == self.size)

    def _tell_if_ended(self, error: Any) -> None:
        if error.response.get("Error", {}).get("Code") == "NoSuchUpload":
            reason = f"writing {self.key}: another writer ended the same upload; run again"
            raise RegistryUnreachable(
                destination=self.destination, reason=reason, applied=False
            ) from error

    def _begun(self) -> str:
        """The id of the upload that is continued, or of a new one."""
        found = self._unfinished()
        if found is None:
            begun = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.key, ChecksumAlgorithm="SHA256"
            )
            found = begun["UploadId"]
        return str(found)

    def _unfinished(self) -> str | None:
        """The last upload of the key that was begun, if we may know."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.key)
        except ClientError:  # It is a right of its own, and some stores have no such call.
            return None
        same = [each for each in answer.get("Uploads", ()) if each.get("Key") == self.key]
        newest = max(same, key=lambda each: str(each.get("Initiated", "")), default=None)
        return newest["UploadId"] if newest else None

    def _arrived(self, target: Mapping[str, str]) -> Mapping[int, Mapping[str, Any]]:
        """What the store tells of each part that it has; nothing if it does not tell us."""
        from botocore.exceptions import ClientError

        pages = self.client.get_paginator("list_parts").paginate(**target)
        try:
            return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
        except ClientError:
            return {}

    def _sent(
        self, target: Mapping[str, str], number: int, part: bytes, there: Mapping[str, Any]
    ) -> dict[str, Any]:
        """How the finished object names that part, which is sent unless it is there."""
        checksum = checksum_of(part)
        etag = there.get("ETag", "")
        if not (there.get("Size") == len(part) and _is(part, checksum, there)):
            answer = self.client.upload_part(
                **target, PartNumber=number, Body=part, ChecksumSHA256=checksum
            )
            etag = answer["ETag"]
        return {"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum}

    def _abort(self, target: Mapping[str, str]) -> None:
        """Give the parts back, which would be paid for. What failed first is what is told."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.abort_multipart_upload(**target)
        except (BotoCoreError, ClientError):
            return


def _is(part: bytes, checksum: str, there: Mapping[str, Any]) -> bool:
    """Whether a part is what the store tells of it; the ETag is an MD5 where it does not tell the
    checksum that came with it (and something else where it encrypts: then the part goes again)."""
    told = there.get("ChecksumSHA256")
    if told:
        return bool(told == checksum)
    md5 = hashlib.md5(part, usedforsecurity=False).hexdigest()
    return str(there.get("ETag", "")).strip('"') == md5


def checksum_of(content: bytes) -> str:
    """The sha256 in the form of S3."""
    return coded(hashlib.sha256(content).digest())


def coded(digest: bytes) -> str:
    """A digest in the form of S3."""
    return base64.b64encode(digest).decode()
