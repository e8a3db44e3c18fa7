"""One repository of a registry by the calls of the distribution specification.

Decides what of an answer is believed: a manifest is what its digest says, and a blob is there if
its size is right. Specification: https://github.com/opencontainers/distribution-spec
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO
from urllib.parse import urlencode, urljoin

from attrs import frozen

from weighbridge.adapters.oci_registry import patience
from weighbridge.adapters.oci_registry.patience import once, patiently
from weighbridge.adapters.oci_registry.session import Session
from weighbridge.adapters.oci_registry.transport import Answer
from weighbridge.adapters.oci_registry.upload import Upload
from weighbridge.application.streams import ATTEMPTS, resumed, stream_of
from weighbridge.domain import modelpack
from weighbridge.domain.errors import (
    DestinationMissing,
    RegistryError,
    RegistryRejected,
)
from weighbridge.domain.strict_json import StrictJsonError, parse_object

_CHUNK = 1 << 18
#: 403 is what an address says that was signed for another one.
_NO_SUCH_METHOD = (403, 405, 501)
_TAGS_AT_ONCE = 1000
_NEXT = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')
#: How a registry calls a blob that a manifest names and that it does not have.
_NOT_SEEN = "MANIFEST_BLOB_UNKNOWN"
# Others are asked for too, so that what is no model is not taken for nothing.
_ACCEPTED = ", ".join(
    (
        modelpack.MANIFEST,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


@frozen
class Stored:
    """A manifest as the registry gave it, and its digest, which was computed here. ``etag`` is what
    the registry calls this state of the reference, if it is of the kind that can be compared."""

    digest: str
    content: bytes
    etag: str = ""


@frozen
class Repository:
    """The calls on one repository. All raise the RegistryError family."""

    session: Session
    name: str

    def manifest(self, reference: str) -> Stored | None:
        """The manifest of a tag or digest; None if there is none."""
        return patiently(lambda: self._manifest(reference))

    def put_manifest(
        self, reference: str, content: bytes, only_if: Mapping[str, str] | None = None
    ) -> bool:
        """Make ``reference`` name that manifest: the one request that readers see. The blobs are
        there; a registry that has not seen them yet is given a little time.

        ``only_if`` is a condition of HTTP; False if the registry says that it does not hold.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return self._put_manifest(reference, content, only_if)
            except (RegistryRejected, DestinationMissing) as error:
                if _NOT_SEEN not in error.reason:
                    raise
            patience.pause(0.2 * 2**attempt)
        return self._put_manifest(reference, content, only_if)

    def _put_manifest(
        self, reference: str, content: bytes, only_if: Mapping[str, str] | None
    ) -> bool:
        headers = {"Content-Type": modelpack.MANIFEST, "Content-Length": str(len(content))}
        answer = once(lambda: self.session.request(
            "PUT", f"{self.name}/manifests/{reference}", doing="writing the manifest",
            headers=headers | dict(only_if or {}), body=lambda: [content],
            good=(200, 201, 202, 204, *((412,) if only_if else ())),
        ))  # fmt: skip
        answer.close()
        return answer.status != 412

    def tags(self) -> tuple[str, ...]:
        """Every tag; () if there is no such repository."""
        found: set[str] = set()
        page, more = patiently(partial(self._tags, self._tags_after("")))
        while not found.issuperset(page):  # else it answers the first page to whatever is asked
            found.update(page)
            page, more = patiently(partial(self._tags, more or self._tags_after(page[-1])))
        return tuple(sorted(found))

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of that digest and size is there."""
        return patiently(lambda: self._has_blob(digest, size))

    def upload(self, digest: str, size: int, body: Callable[[], Iterable[bytes]]) -> None:
        """Store a blob. ``body`` gives its bytes, anew for each attempt."""
        is_there = partial(self._has_blob, digest, size)
        Upload(self.session, self.name, digest, size, body, is_there).run()

    def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository of this registry, without sending it; False if
        the registry does not do that."""
        return patiently(lambda: self._mount(digest, source))

    def open_blob(self, digest: str, size: int) -> BinaryIO:
        """The bytes of a blob, from the first. The caller closes."""
        download = _Download(self, digest, size)
        answer = patiently(lambda: download.request(0))
        return stream_of(download.chunks(answer), answer.close)

    def _tags_after(self, last: str) -> str:
        query = {"n": _TAGS_AT_ONCE} | ({"last": last} if last else {})
        return f"{self.name}/tags/list?{urlencode(query)}"

    def _tags(self, path: str) -> tuple[list[str], str | None]:
        """The tags of one page, and where the registry says that the next one is."""
        answer = self.session.request("GET", path, doing="listing the tags", good=(200, 404))
        if answer.status == 404:
            answer.close()
            return [], None
        with self.session.failures.calls("listing the tags"):
            content = answer.content(modelpack.MOST_BYTES)
        try:
            tags = parse_object(content).get("tags") or []
        except StrictJsonError as error:
            reason = f"its list of tags is none: {error.detail}"
            raise self.session.failures.make(RegistryRejected, reason) from error
        names = [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []
        link = _NEXT.search(answer.headers.get("link", ""))
        return sorted(names), urljoin(answer.url, link[1]) if link else None

    def _manifest(self, reference: str) -> Stored | None:
        answer = self.session.request(
            "GET", f"{self.name}/manifests/{reference}", doing="reading the manifest",
            headers={"Accept": _ACCEPTED}, good=(200, 404),
        )  # fmt: skip
        if answer.status == 404:
            answer.close()
            return None
        with self.session.failures.calls("reading the manifest"):
            content = answer.content(modelpack.MOST_BYTES + 1)
        if len(content) > modelpack.MOST_BYTES:
            reason = f"the manifest has more than {modelpack.MOST_BYTES} bytes, and is none"
            raise self.session.failures.make(RegistryRejected, reason)
        digest = modelpack.digest_of(content)
        announced = answer.headers.get("docker-content-digest", digest)
        announced = announced if announced.startswith("sha256:") else digest
        wanted = reference if ":" in reference else announced
        if not announced == wanted == digest:
            reason = f"the manifest {wanted} came as other bytes, of digest {digest}"
            raise self.session.failures.make(RegistryRejected, reason)
        etag = answer.headers.get("etag", "")
        return Stored(digest, content, etag if etag.startswith('"') else "")

    def _has_blob(self, digest: str, size: int) -> bool:
        answer = self._looked(("HEAD", "GET"), f"{self.name}/blobs/{digest}")
        answer.close()
        said = answer.headers.get("content-length")
        return answer.status == 200 and said in (None, str(size))

    def _looked(self, methods: tuple[str, ...], path: str) -> Answer:
        """The answer to the first method that the registry, or where it keeps blobs, knows."""
        method, *others = methods
        good = (200, 404, *(_NO_SUCH_METHOD if others else ()))
        answer = self.session.request(method, path, doing="looking for a blob", good=good)
        if answer.status in (200, 404):
            return answer
        answer.close()
        return self._looked(tuple(others), path)

    def _mount(self, digest: str, source: str) -> bool:
        query = urlencode({"mount": digest, "from": source})
        answer = self.session.request(
            "POST", f"{self.name}/blobs/uploads/?{query}", doing="taking over a blob",
            headers={"Content-Length": "0"}, good=(201, *range(202, 429), *range(430, 500)),
        )  # fmt: skip
        answer.close()
        return answer.status == 201


@frozen
class _Download:
    repository: Repository
    digest: str
    size: int

    def request(self, offset: int) -> Answer:
        """The bytes from ``offset``."""
        path = f"{self.repository.name}/blobs/{self.digest}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        good = (200, 404) if not offset else (200, 206)
        answer = self.repository.session.request(
            "GET", path, doing="reading a blob", headers=headers, good=good
        )
        if answer.status == 404:
            answer.close()
            raise self._failed(DestinationMissing, f"the blob {self.digest} is not there")
        return answer

    def chunks(self, answer: Answer) -> Generator[bytes, None, None]:
        """All bytes, of which ``answer`` has the first; asks for the rest where it broke."""
        failures, first = self.repository.session.failures, [answer]

        def chunks_from(offset: int) -> Iterator[bytes]:
            came = first.pop() if first else once(lambda: self.request(offset))
            with failures.calls("reading a blob"), came.response:
                if offset and came.status == 200:  # it knows no ranges, as is its right
                    _pass_over(came, offset)
                while chunk := came.response.read(_CHUNK):
                    yield chunk

        return resumed((self.digest, self.size), chunks_from, failures.destination, patience.pause)

    def _failed(self, kind: type[RegistryError], reason: str) -> RegistryError:
        return self.repository.session.failures.make(kind, reason)


def _pass_over(answer: Answer, count: int) -> None:
    while count and (chunk := answer.response.read(min(count, _CHUNK))):
        count -= len(chunk)
