"""Is it a pickle? Decided by following its opcodes as an unpickler would, without doing anything.

A text whose first words happen to be opcodes soon takes from an empty stack, and is let go; what
calls something before it fails is a pickle all the same, for the harm is done by then.
"""

from __future__ import annotations

import pickletools
import re
import struct
from typing import IO, cast

from attrs import define, field

from weighbridge.domain.opcodes import Opcodes, ReadAt

_TELLING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
                      "TUPLE", "LIST", "DICT", "EMPTY_LIST", "EMPTY_DICT"})  # fmt: skip
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_GLOBAL = re.compile(r"[^\W\d][\w.]* [^\W\d][\w.]*")
#: A container that is remembered, as pickle itself begins in protocol 1.
_BINARY = re.compile(rb"[\]})(]q\x00")
#: What pickletools says of an argument whose end is not there.
_CUT_OFF = re.compile(r"no newline found|remain|not enough data|exhausted")
_MARK, _ANY = pickletools.markobject, pickletools.anyobject
_TUPLE = pickletools.pytuple
#: Of a pickle whose end is not in sight, so many sound opcodes are no accident.
_ENOUGH = 16
#: White space that may follow the end.
_LONGEST_REST = 4096
#: More are not followed: nothing else begins with as many.
_MOST_STEPS = 500_000


class _Underflow(Exception):
    """The unpickler would stop here, with an error."""


@define
class _Machine:
    """The kinds of the objects on the stack, and of those remembered."""

    stack: list[pickletools.StackObject] = field(factory=list)
    memo: dict[int, pickletools.StackObject] = field(factory=dict)

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> bool:
        """Take one step; True if it calls something. Raises _Underflow."""
        if opcode.name in _GETS:
            if argument not in self.memo:
                raise _Underflow
            self.stack.append(self.memo[int(str(argument))])
            return False
        if opcode.name in (*_PUTS, "MEMOIZE"):
            place = len(self.memo) if opcode.name == "MEMOIZE" else int(str(argument))
            self.memo[place] = self._top()
            return False
        if opcode.name == "POP" and self.stack:
            self.stack.pop()  # marks as well
            return False
        taken = self._take(opcode.stack_before)
        self.stack += opcode.stack_after
        if opcode.name in ("GLOBAL", "INST") and not _GLOBAL.fullmatch(str(argument)):
            raise _Underflow  # two lines of a text: nothing of that name can be imported
        match opcode.name:
            case "REDUCE" | "NEWOBJ" | "NEWOBJ_EX":
                return taken[0] is _ANY and taken[1] in (_TUPLE, _ANY)
            case "BUILD" | "OBJ":
                return bool(taken) and taken[0] is _ANY
        return opcode.name == "INST"

    def _top(self) -> pickletools.StackObject:
        if not self.stack or self.stack[-1] is _MARK:
            raise _Underflow
        return self.stack[-1]

    def _take(self, wanted: list[pickletools.StackObject]) -> list[pickletools.StackObject]:
        """What the opcode takes, without marks."""
        taken: list[pickletools.StackObject] = []
        if _MARK in wanted:
            while self.stack and self.stack[-1] is not _MARK:
                taken.append(self.stack.pop())
            if not self.stack:
                raise _Underflow
            self.stack.pop()
            wanted = wanted[: wanted.index(_MARK)]
        for _ in wanted:
            taken.append(self._top())
            self.stack.pop()
        return taken[::-1]


_CALLS, _OLD = "a pickle that calls something", "a pickle of an old protocol"


def pickled(head: bytes, tail: bytes, read_at: ReadAt, size: int) -> str | None:
    """What kind of pickle begins with ``head`` and ends with ``tail``; None if it is none.

    ``read_at`` gives the bytes of the file, as far as they may be read, and ``size`` is its own.
    """
    machine, seen, steps, end = _Machine(), set[str](), 0, 0
    source, cut = Opcodes(read_at, head), False
    try:
        for opcode, argument, at in pickletools.genops(cast("IO[bytes]", source)):
            if machine.step(opcode, argument):
                return _CALLS
            seen.add(opcode.name)
            steps, end = steps + 1, at or 0
            if steps > _MOST_STEPS:
                return _OLD
    except _Underflow:
        return None
    except (ValueError, ArithmeticError, struct.error) as error:
        cut = source.ended and source.tell() < size
        if not (cut and _CUT_OFF.search(str(error))):
            return None
    if cut:
        named = {"GLOBAL", "PUT"} <= seen
        sound = named or steps >= _ENOUGH or _BINARY.match(head) is not None
    else:
        rest = read_at(end + 1, _LONGEST_REST + 1)
        sound = len(rest) <= _LONGEST_REST and not rest.strip() and not seen.isdisjoint(_TELLING)
    ends = tail.rstrip(b"\n").endswith(b".")
    return _OLD if sound and ends else None
