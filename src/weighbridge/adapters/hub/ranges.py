"""Ranges of files on the Hub, each by one request, so that nothing is downloaded whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from weighbridge.adapters.hub.silence import DOWNLOAD

# A server that ignores the range of a request sends the file from its beginning.
_MOST_SKIPPED = 64 << 20
#: Bytes in a second, after a while: what is looked at is small, and somebody waits for it.
_SLOWEST = 2000


class NoRanges(Exception):
    """The server sends whole files only, and the range is far inside of one; or it sends another
    range than was asked for."""


def file_request(
    name: str, path: str, revision: str, span: str | None,
    *, endpoint: str | None, token: str | bool | None, timeout: float,
) -> AbstractContextManager[Any]:  # fmt: skip
    """The answer to a GET of a file; ``span`` is of its bytes, as "5-" or "5-9", None for all.
    For ``timeout`` seconds nothing may come."""
    from huggingface_hub import get_session, hf_hub_url

    # Public, but exported in a way that type checkers do not see.
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(name, path, revision=revision, endpoint=endpoint)
    headers = build_hf_headers(token=token, library_name="weighbridge")
    # Compressed, neither a length nor a range would be that of the file.
    headers |= {"Accept-Encoding": "identity"} | ({"Range": f"bytes={span}"} if span else {})
    session: Any = get_session()
    answer: AbstractContextManager[Any] = session.stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=timeout,
        extensions={DOWNLOAD: True},
    )  # fmt: skip
    return answer


def fetch_range(
    name: str, path: str, revision: str, offset: int, length: int,
    *, endpoint: str | None, token: str | bool | None, timeout: float,
) -> bytes:  # fmt: skip
    """``length`` bytes from ``offset``, fewer if so many did not come. Raises NoRanges, and
    whatever the client raises."""
    # Public, but exported in a way that type checkers do not see.
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    span = f"{offset}-{offset + length - 1}"
    request = file_request(
        name, path, revision, span, endpoint=endpoint, token=token, timeout=timeout
    )
    with request as answer:
        hf_raise_for_status(answer)
        partial = answer.status_code == 206
        skip = 0 if partial else offset
        begins = str(answer.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")
        if skip > _MOST_SKIPPED or (partial and not begins):
            raise NoRanges
        seconds = timeout + (skip + length) / _SLOWEST
        return _taken(answer.iter_bytes(), skip, length, time.monotonic() + seconds)


def _taken(chunks: Iterator[bytes], skip: int, length: int, end: float) -> bytes:
    """``length`` bytes after the first ``skip``, and no more than that is taken off the line.
    Raises TimeoutError if they have not come at the time ``end``."""
    taken = bytearray()
    for chunk in chunks:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(taken)} of {length} bytes came")
        taken += chunk[skip:] if skip < len(chunk) else b""
        skip = max(0, skip - len(chunk))
        if len(taken) >= length:
            break
    return bytes(taken[:length])
