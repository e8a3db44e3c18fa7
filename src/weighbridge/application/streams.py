"""A remote file as a stream: what arrives in chunks is read as any other file."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from typing import BinaryIO, cast

_BUFFER = 1 << 20


def stream_of(
    chunks: Generator[bytes, None, None], close: Callable[[], object] = lambda: None
) -> BinaryIO:
    """The chunks as one stream that cannot be rewound. Closing it closes the generator, and
    calls ``close``: a generator that was never begun has nothing to run.

    Errors of the generator pass through to whoever reads; so an adapter translates inside of it.
    """
    return cast(BinaryIO, io.BufferedReader(_Chunks(chunks, close), _BUFFER))


class _Chunks(io.RawIOBase):
    def __init__(self, chunks: Generator[bytes, None, None], close: Callable[[], object]) -> None:
        self._chunks, self._close = chunks, close
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._chunks.close()
        self._close()
        super().close()
