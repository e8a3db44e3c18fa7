"""A remote file as a stream: what arrives in chunks is read as any other file.

Decides how often the rest is asked for where connections break: a few times in vain, but again and
again as long as each brings something.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable
from typing import BinaryIO, cast

from weighbridge.domain.errors import RegistryUnreachable, ServerSilent

#: How often something is asked for that does not come.
ATTEMPTS = 5
_MOST_SILENT = 2
_WORTH_IT = 1 << 20
_BUFFER = 1 << 20


def stream_of(
    chunks: Generator[bytes, None, None], close: Callable[[], object] = lambda: None
) -> BinaryIO:
    """The chunks as one stream that cannot be rewound. Closing it closes the generator, and
    calls ``close``: a generator that was never begun has nothing to run.

    Errors of the generator pass through to whoever reads; so an adapter translates inside of it.
    """
    return cast(BinaryIO, io.BufferedReader(_Chunks(chunks, close), _BUFFER))


def resumed(
    entry: tuple[str, int],
    chunks_from: Callable[[int], Iterable[bytes]],
    destination: str,
    pause: Callable[[float], None] = lambda _: None,
) -> Generator[bytes, None, None]:
    """All bytes of ``entry``, a name and a size; ``chunks_from`` gives those from an offset, until
    a connection breaks. Raises what it raises, RegistryUnreachable in the end only."""
    (name, size), done, spent = entry, 0, 0.0
    while True:
        before, broke = done, None
        try:
            for chunk in chunks_from(done):
                done += len(chunk)
                yield chunk
        except RegistryUnreachable as error:
            broke = error
        if done >= size:
            return
        spent = price(broke) + (0.0 if done - before > _WORTH_IT else spent)
        if spent >= ATTEMPTS:
            reason = f"{name} ended after {done} of {size} bytes"
            raise broke or RegistryUnreachable(
                destination=destination, reason=reason, applied=False
            )
        pause(0.1 * spent)


def price(error: RegistryUnreachable | None) -> float:
    """How many of the ATTEMPTS a failure takes: silence takes its time as well."""
    return ATTEMPTS / _MOST_SILENT if isinstance(error, ServerSilent) else 1


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
