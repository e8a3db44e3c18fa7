"""Where the tensors of an ``adapters.npz`` are, without reading them.

mlx-lm wrote these until 2024-04 (0.5), and mlx-examples still does: a zip archive of stored, not
compressed, members ``<name>.npy``. So every tensor has a place in the file, as in safetensors.
Formats: APPNOTE.TXT of PKWARE (zip), numpy.lib.format (npy).
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from weighbridge.domain.tensors import (
    Header,
    HeaderDefect,
    HeaderInvalid,
    TensorSlot,
    TensorSpec,
    uncountable,
)

#: Reads ``length`` bytes at ``offset``.
Read = Callable[[int, int], bytes]

_DTYPES = {
    "<f4": "F32", "<f2": "F16", "<f8": "F64",
    "<V2": "BF16", "|V2": "BF16",  # bfloat16 has no name in numpy: two bytes of anything
    "<u4": "U32", "<i4": "I32", "<i8": "I64", "|u1": "U8", "|b1": "BOOL",
}  # fmt: skip
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UTF8 = 0x800
#: Flags that change nothing of a stored member: how hard it was packed, sizes behind the data.
_KNOWN = _UTF8 | 0x2 | 0x4 | 0x8
#: The version 6.3 of the format is the last that zipfile reads.
_NEWEST = 63
_MOST_MEMBERS = 100_000
_MOST_HEADER = 64_000
_FIELDS = {"descr", "fortran_order", "shape"}


@frozen
class _Member:
    name: str
    method: int
    size: int
    packed: int
    offset: int


def parse_npz(read: Read, file_size: int) -> Header:
    """Every tensor with its place. Raises HeaderInvalid (code NZ001) for what is no such file."""
    try:
        slots = [_slot(m, read, file_size) for m in _members(read, file_size)]
    except (struct.error, ValueError, SyntaxError, KeyError, MemoryError, RecursionError) as error:
        if isinstance(error, HeaderInvalid):
            raise
        raise _invalid(f"is no npz archive that can be read: {error}") from error
    if not slots:
        raise _invalid("names no tensors")
    if len({slot.spec.name for slot in slots}) < len(slots):
        raise _invalid("names a tensor twice")
    if (name := uncountable([slot.spec.name for slot in slots])) is not None:
        raise _invalid("has a number in its name that counts nothing", name)
    return Header(tuple(sorted(slots, key=lambda s: s.start)), None, min(s.start for s in slots))


def _invalid(detail: str, tensor: str = "") -> HeaderInvalid:
    return HeaderInvalid([HeaderDefect("NZ001", detail, tensor)])


def _members(read: Read, file_size: int) -> Iterator[_Member]:
    tail = min(file_size, _END.size + 65_535)
    raw = read(file_size - tail, tail)
    at = raw.rfind(b"PK\x05\x06")
    if at < 0:
        raise _invalid("has no end of a zip archive")
    _, _, _, _, count, size, offset, comment = _END.unpack_from(raw, at)
    if count > _MOST_MEMBERS or 0xFFFFFFFF in (size, offset):
        raise _invalid("has a directory that is too large, or of the 64-bit form")
    # Bytes before, between or after are read by some as another archive.
    if offset + size != file_size - tail + at or at + _END.size + comment != tail:
        raise _invalid("has a directory that does not end where the archive ends")
    table, position = read(offset, size), 0
    for _ in range(count):
        fields = _CENTRAL.unpack_from(table, position)
        if fields[0] != b"PK\x01\x02" or fields[2] & 0xFF > _NEWEST:
            raise _invalid("has a directory that cannot be read")
        method, packed, whole, name_length, more, comment = fields[4], *fields[8:13]
        start = position + _CENTRAL.size
        name = _name(table[start : start + name_length], fields[3])
        extra = table[start + name_length : start + name_length + more]
        packed, whole, local = _zip64(extra, packed, whole, fields[16])
        yield _Member(name, method, whole, packed, local)
        position = start + name_length + more + comment
    if position != size:
        raise _invalid("has a directory with more in it than it counts")


def _name(raw: bytes, flags: int) -> str:
    """The name as zipfile reads it, by which mlx does: other bytes of it mean other letters."""
    if flags & ~_KNOWN or not (raw.isascii() or flags & _UTF8) or b"\0" in raw:
        raise _invalid("holds what is encrypted or patched, or a name that is not in UTF-8")
    return raw.decode()


def _zip64(extra: bytes, packed: int, whole: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the extra field where they do not fit into 32 bits."""
    values = [whole, packed, offset]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            at = position + 4
            for index, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    values[index] = struct.unpack_from("<Q", extra, at)[0]
                    at += 8
        position += 4 + length
    return values[1], values[0], values[2]


def _slot(member: _Member, read: Read, file_size: int) -> TensorSlot:
    name = member.name.removesuffix(".npy")
    if name == member.name:
        raise _invalid(f"holds {member.name!r}, which is no array")
    if member.method or member.packed != member.size:
        raise _invalid("is compressed; save it again with mx.savez", name)
    local = _LOCAL.unpack(read(member.offset, _LOCAL.size))
    if local[0] != b"PK\x03\x04":
        raise _invalid("has no local entry where the directory says", name)
    start = member.offset + _LOCAL.size + local[9] + local[10]
    if read(member.offset + _LOCAL.size, local[9]) != member.name.encode():
        raise _invalid("has another name in its local entry", name)
    if start + member.size > file_size:
        raise _invalid("ends before its data", name)
    spec, header = _array(name, read(start, min(member.size, _MOST_HEADER)))
    if header + spec.nbytes != member.size:
        raise _invalid(f"has {member.size} bytes, not {header + spec.nbytes}", name)
    return TensorSlot(spec, start + header)


def _array(name: str, raw: bytes) -> tuple[TensorSpec, int]:
    """The spec that an npy header states, and the header's length."""
    if raw[:6] != b"\x93NUMPY" or len(raw) < 10:
        raise _invalid("is no npy array", name)
    wide = raw[6] >= 2
    length = struct.unpack_from("<L" if wide else "<H", raw, 8)[0]
    begin = 12 if wide else 10
    fields: Any = ast.literal_eval(raw[begin : begin + length].decode("latin-1").strip())
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise _invalid("has a header that is not numpy's", name)
    dtype, shape = fields["descr"], fields["shape"]
    if not isinstance(shape, tuple):
        raise _invalid(f"has the shape {shape!r}", name)
    if fields["fortran_order"] and len(shape) > 1:
        raise _invalid("is in column-major order", name)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _invalid(f"has the dtype {dtype!r}", name)
    if not all(type(n) is int and 0 <= n < 2**31 for n in shape) or len(shape) > 8:
        raise _invalid(f"has the shape {shape!r}", name)
    return TensorSpec(name, _DTYPES[dtype], tuple(shape)), begin + length
