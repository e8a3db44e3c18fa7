"""The objects of one prefix: blobs by their sha256, and the index that names revisions.

Decides how large content travels: in parts, of which one is in memory, each with its sha256.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

from attrs import frozen

from weighbridge.adapters.s3_registry.failures import translated
from weighbridge.adapters.s3_registry.parts import PART, InParts
from weighbridge.adapters.s3_registry.sums import coded, summed, unless_older
from weighbridge.application.streams import resumed, stream_of
from weighbridge.domain import oci_layout
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryError,
    RegistryRejected,
    RevisionConflict,
    Unsupported,
)
from weighbridge.domain.publication import S3Prefix

_CHUNK = 1 << 20
#: Of an index or a manifest, which are in memory.
_MOST_BYTES = 64 << 20
#: Conditions of a write where something is, which do not hold.
_IF_FREE: Mapping[str, str] = {"IfNoneMatch": "*"}
_IF_OTHER: Mapping[str, str] = {"IfMatch": '"00000000000000000000000000000000"'}
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})


@frozen
class Index:
    """The index as it was read, and the tag by which its next writer proves to have read it."""

    content: bytes
    etag: str


@frozen
class Store:
    """The objects below a prefix. All calls raise the RegistryError family."""

    client: Any
    place: S3Prefix

    @property
    def address(self) -> str:
        """Where the index is, for people."""
        return f"s3://{self.place.bucket}/{self._key('index.json')}"

    def index(self) -> Index | None:
        """The index; None if nothing was published here yet."""
        with translated(str(self.place), "reading index.json"):
            answer = self._found(self._key("index.json"))
            if answer is None:
                return None
            with answer["Body"] as body:
                if "ETag" not in answer:  # a page of something that says yes to everything
                    reason = "what answers is no store that speaks S3: it gives no ETag; is "
                    reason += "AWS_ENDPOINT_URL its address, and not that of its console?"
                    raise RegistryRejected(destination=str(self.place), reason=reason)
                return Index(self._all(body, "index.json"), answer["ETag"])

    def write_index(self, content: bytes, before: Index | None) -> None:
        """Replace what was read as ``before``; the one write that readers see.

        Raises RevisionConflict if the index is another by now: then nothing has changed.
        """
        condition = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before.etag}
        self._put(self._key("index.json"), content, "application/json", **condition)

    def require_conditions(self) -> None:
        """Write the file that makes the prefix an OCI image layout, unless it is there.

        Raises Unsupported if the store writes it on a condition that does not hold: it would let
        the second of two writers replace the index of the first.
        """
        self._written_if(IfNoneMatch="*")
        self._require_refused(_IF_FREE, _IF_OTHER)

    def try_conditions(self) -> None:
        """The same as far as it can be known with nothing left behind; PermissionDenied if nothing
        may be written."""
        with translated(str(self.place), "looking for oci-layout"):
            there = self._head(self._key(oci_layout.LAYOUT_FILE)) is not None
        try:
            self._require_refused(_IF_OTHER, *((_IF_FREE,) if there else ()))
        except Unsupported:
            with suppress(RegistryError), translated(str(self.place), "removing oci-layout"):
                if not there:
                    key = self._key(oci_layout.LAYOUT_FILE)
                    self.client.delete_object(Bucket=self.place.bucket, Key=key)
            raise

    def _require_refused(self, *conditions: Mapping[str, str]) -> None:
        for condition in conditions:
            if self._written_if(**condition):
                reason = (
                    f"the store takes no notice of conditional writes ({next(iter(condition))}), "
                    "without which one of two writers is lost; publish to one that knows them"
                )
                raise Unsupported(destination=str(self.place), reason=reason)

    def _written_if(self, **condition: str) -> bool:
        try:
            key = self._key(oci_layout.LAYOUT_FILE)
            self._put(key, oci_layout.LAYOUT, "application/json", **condition)
        except (RevisionConflict, DestinationMissing):  # of what is not there to be compared
            return False
        return True

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of that digest and size is there, as far as the store says."""
        with translated(str(self.place), "looking for a blob"):
            head = partial(self._head, self._blob(digest))
            told = {"ChecksumMode": "ENABLED"}
            found = unless_older(self.client, lambda more: head(**more), told, {})
        if found is None or found.get("ContentLength") != size:
            return False
        stored = found.get("ChecksumSHA256", "")
        # Of an object in parts the sum is one of sums. Their number is behind it, or in some stores
        # only behind the ETag.
        in_parts = "-" in stored or "-" in found.get("ETag", "")
        return not stored or in_parts or stored == coded(bytes.fromhex(digest[7:]))

    def put_blob(self, digest: str, size: int, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Store a blob; ``chunks`` gives its bytes, anew each time. If that raises, it is not
        stored; after a broken connection the next attempt sends only parts that had not arrived."""
        key = self._blob(digest)
        if size <= PART:
            self._put(key, b"".join(chunks()), "application/octet-stream")
            return
        place = self.place
        InParts(self.client, place.bucket, key, size, chunks, str(place)).send()

    def read_blob(self, digest: str) -> bytes:
        """A small blob. Raises DestinationMissing if it is not there."""
        with translated(str(self.place), "reading a manifest"):
            answer = self._found(self._blob(digest))
            if answer is None:
                raise self._missing(f"no revision {digest}")
            with answer["Body"] as body:
                return self._all(body, f"the manifest {digest}")

    def open_blob(self, digest: str, size: int) -> BinaryIO:
        """The bytes of a blob, from the first. The caller closes."""
        with translated(str(self.place), "reading a blob"):
            answer = self._found(self._blob(digest))
        if answer is None:
            raise self._missing(f"the blob {digest} is not there")
        body = answer["Body"]
        return stream_of(self._chunks(digest, size, body), body.close)

    def _chunks(self, digest: str, size: int, body: Any) -> Generator[bytes, None, None]:
        """All bytes, of which ``body`` has the first; asks for the rest where it broke."""
        place, first = self.place, [body]

        def chunks_from(offset: int) -> Iterator[bytes]:
            with (
                translated(str(place), "reading a blob"),
                first.pop() if first else self._rest(digest, offset) as came,
            ):
                while chunk := came.read(_CHUNK):
                    yield chunk

        return resumed((digest, size), chunks_from, str(place))

    def _rest(self, digest: str, offset: int) -> Any:
        key = self._blob(digest)
        span = f"bytes={offset}-"
        return self.client.get_object(Bucket=self.place.bucket, Key=key, Range=span)["Body"]

    def _all(self, body: Any, what: str) -> bytes:
        content = bytes(body.read(_MOST_BYTES + 1))
        if len(content) > _MOST_BYTES:
            reason = f"{what} has more than {_MOST_BYTES} bytes, and is none"
            raise RegistryRejected(destination=str(self.place), reason=reason)
        return content

    def _put(self, key: str, content: bytes, kind: str, **condition: str) -> None:
        with translated(str(self.place), f"writing {key}"):
            summed(
                self.client, self.client.put_object, content,
                Bucket=self.place.bucket, Key=key, ContentType=kind, **condition,
            )  # fmt: skip

    def _head(self, key: str, **more: str) -> Any:
        return self._unless_missing(self.client.head_object, key, **more)

    def _found(self, key: str) -> Any:
        return self._unless_missing(self.client.get_object, key)

    def _unless_missing(self, call: Any, key: str, **more: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return call(Bucket=self.place.bucket, Key=key, **more)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise

    def _missing(self, reason: str) -> DestinationMissing:
        return DestinationMissing(destination=str(self.place), reason=reason)

    def _key(self, name: str) -> str:
        return f"{self.place.prefix}/{name}"

    def _blob(self, digest: str) -> str:
        algorithm, _, value = digest.partition(":")
        return self._key(f"blobs/{algorithm}/{value}")
