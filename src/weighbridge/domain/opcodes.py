"""The bytes of a file as ``pickletools`` asks for them, of which a few are held at a time.

A pickle may hide what it calls behind any number of bytes: a text of a megabyte that it drops
again, a thousand lists. Long arguments are therefore stepped over, and stand for themselves by
their length; what an opcode does with the stack is the same.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

#: Reads so many bytes at an offset; fewer at the end of what may be read.
ReadAt = Callable[[int, int], bytes]
_STEP = 1 << 16
#: Longer arguments are stepped over.
_LONGEST = 1 << 16
#: Opcodes whose line is a text, the value of which is nobody's concern here.
_TEXTS = (b"S", b"V")


class Skipped(bytes):
    """Stands for an argument that is ``length`` bytes long."""

    length: int

    def __len__(self) -> int:
        return self.length


@define
class Opcodes:
    """A file for ``pickletools.genops``: ``read``, ``readline`` and ``tell``."""

    read_at: ReadAt
    _held: bytes = b""
    _start: int = 0
    _at: int = 0
    _opcode: bytes = b""
    #: Nothing comes after what is held.
    _at_end: bool = False
    ended: bool = field(default=False, init=False)

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def read(self, count: int) -> bytes:
        """The next bytes; an opcode if it is one."""
        if count > _LONGEST:
            return self._skipped(count)
        found = self._bytes(count)
        self._at += len(found)
        if count == 1:
            self._opcode = found
        return found

    def readline(self) -> bytes:
        """The next line; of a long text its ends alone."""
        begin, line = self._at, b""
        while not line.endswith(b"\n"):
            if not self._bytes(1):
                return line
            start = self._at - self._start
            end = self._held.find(b"\n", start) + 1
            part = self._held[start:end] if end else self._held[start:]
            self._at += len(part)
            line = line + part if len(line) + len(part) < _LONGEST else line[:1] + part[-2:]
        text = self._opcode in _TEXTS and self._at - begin > _LONGEST
        return line[:1] + line[-2:] if text else line

    def _skipped(self, count: int) -> bytes:
        self._at += count - 1
        if not self._bytes(1):
            return b""
        self._at += 1
        found = Skipped(b"x")
        found.length = count
        return found

    def _bytes(self, count: int) -> bytes:
        """``count`` bytes from here, or all that there are."""
        begin = self._at - self._start
        if not 0 <= begin <= len(self._held) - (1 if self._at_end else count):
            self._start, begin = self._at, 0
            self._held = self.read_at(self._at, max(count, _STEP))
            self._at_end = len(self._held) < max(count, _STEP)
        found = self._held[begin : begin + count]
        self.ended = self.ended or len(found) < count
        return found
