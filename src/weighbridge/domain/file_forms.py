"""What a file is, by its first and last bytes; names decide nothing here.

Pickles are recognised and refused, never analysed: every scanner of them has been got round.
"""

from __future__ import annotations

import ast
import pickletools
import re
import zlib
from collections.abc import Iterator
from typing import Any

from weighbridge.domain.contents import Family, Form
from weighbridge.domain.opcodes import ReadAt
from weighbridge.domain.pickles import pickled

#: So many bytes of the beginning are enough, but for a pickle that hides what it calls.
EDGE = 4096
#: Of the end: a zip archive's directory lies before a comment of up to 64 KiB.
TAIL = 22 + (1 << 16)

_OPCODES = frozenset(op.code.encode("latin-1") for op in pickletools.opcodes)
_SHEBANG = re.compile(
    rb"(?:\xef\xbb\xbf)?#![ \t]*(?:/|(?:env|sh|bash|zsh|python3?|perl|ruby|node)\b)"
)
#: A drawing is shown by browsers, and runs what it holds.
_ACTIVE_DRAWING = re.compile(
    rb"(?i)<script|\bon(?:load|click|error|begin|mouseover)\s*=|javascript:|<foreignObject"
)
#: (offset, bytes, family, what)
_MAGIC: tuple[tuple[int, bytes, Family, str], ...] = (
    (0, b"\x7fELF", Family.EXECUTABLE, "an ELF executable"),
    (0, b"\xfe\xed\xfa\xce", Family.EXECUTABLE, "a Mach-O executable"),
    (0, b"\xfe\xed\xfa\xcf", Family.EXECUTABLE, "a Mach-O executable"),
    (0, b"\xce\xfa\xed\xfe", Family.EXECUTABLE, "a Mach-O executable"),
    (0, b"\xcf\xfa\xed\xfe", Family.EXECUTABLE, "a Mach-O executable"),
    (0, b"\xca\xfe\xba\xbe", Family.EXECUTABLE, "a Mach-O or Java executable"),
    (0, b"\xca\xfe\xba\xbf", Family.EXECUTABLE, "a Mach-O executable"),
    (0, b"\x00asm", Family.EXECUTABLE, "a WebAssembly module"),
    (0, b"MTLB", Family.EXECUTABLE, "a library of Metal kernels"),
    (0, b"BC\xc0\xde", Family.EXECUTABLE, "LLVM bitcode"),
    (0, b"dex\n0", Family.EXECUTABLE, "an Android executable"),
    (0, b"FasdUAS ", Family.EXECUTABLE, "a compiled AppleScript"),
    (0, b"L\0\0\0\1\x14\2\0", Family.EXECUTABLE, "a Windows shortcut"),
    (0, b"PK\x03\x04", Family.ARCHIVE, "a zip archive"),
    (0, b"PK\x05\x06", Family.ARCHIVE, "a zip archive"),
    (0, b"PK\x07\x08", Family.ARCHIVE, "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", Family.ARCHIVE, "a 7z archive"),
    (0, b"Rar!\x1a\x07", Family.ARCHIVE, "a rar archive"),
    (0, b"\x1f\x8b", Family.ARCHIVE, "gzip data"),
    (0, b"\xfd7zXZ\x00", Family.ARCHIVE, "xz data"),
    (0, b"\x28\xb5\x2f\xfd", Family.ARCHIVE, "zstandard data"),
    (0, b"\x04\x22\x4d\x18", Family.ARCHIVE, "lz4 data"),
    (0, b"\x02\x21\x4c\x18", Family.ARCHIVE, "lz4 data"),
    (0, b"LZIP\1", Family.ARCHIVE, "lzip data"),
    (0, b"\x1f\x9d", Family.ARCHIVE, "compressed data"),
    (0, b"\x1f\xa0", Family.ARCHIVE, "compressed data"),
    (0, b"ZF0x", Family.ARCHIVE, "zlib data, as joblib wrote once"),
    (0, b"!<arch>\n", Family.ARCHIVE, "an ar archive"),
    (0, b"\xed\xab\xee\xdb", Family.ARCHIVE, "an RPM package"),
    (0, b"070701", Family.ARCHIVE, "a cpio archive"),
    (0, b"MSCF\x00\x00", Family.ARCHIVE, "a cabinet archive"),
    (257, b"ustar", Family.ARCHIVE, "a tar archive"),
    (0, b"GGUF", Family.FOREIGN, "a GGUF model"),
    (0, b"lmgg", Family.FOREIGN, "a GGML model"),
    (0, b"tjgg", Family.FOREIGN, "a GGML model"),
    (0, b"fmgg", Family.FOREIGN, "a GGML model"),
    (0, b"algg", Family.FOREIGN, "a LoRA of GGML"),
    # A block of the user's own may come before it.
    *((at, b"\x89HDF\r\n\x1a\n", Family.FOREIGN, "an HDF5 file, as Keras writes")
      for at in (0, 512, 1024, 2048)),
    (4, b"TFL3", Family.FOREIGN, "a TensorFlow Lite model"),
)  # fmt: skip


def recognise(
    head: bytes, tail: bytes, read_at: ReadAt | None = None, size: int | None = None
) -> Form | None:
    """The form of a file that begins and ends so, ``EDGE`` and ``TAIL`` bytes; None if it is no
    matter. ``read_at`` gives what lies between, of a file of ``size`` bytes."""
    if read_at is None or size is None:
        read_at, size = _only(head), len(head) + (len(head) >= EDGE)
    pickle = _pickle(head, tail) or pickled(head, tail, read_at, size)
    if pickle is not None:
        return Form(Family.PICKLE, pickle)
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return Form(Family.TENSORS, "safetensors")
    for offset, magic, family, what in _MAGIC:
        if head.startswith(magic, offset):
            return Form(family, what)
    return _less_plain(head, tail)


def _less_plain(head: bytes, tail: bytes) -> Form | None:
    if _SHEBANG.match(head):
        if b"python" in head.partition(b"\n")[0]:
            return Form(Family.PYTHON, "a Python script")
        return Form(Family.EXECUTABLE, "a script")
    if head.startswith(b"MZ") and b"\0" in head[:256]:
        return Form(Family.EXECUTABLE, "a Windows executable")
    if re.match(rb"BZh[1-9]1AY&SY", head):
        return Form(Family.ARCHIVE, "bzip2 data")
    if _is_tar(head):
        return Form(Family.ARCHIVE, "a tar archive")
    if _is_lzma(head):
        return Form(Family.ARCHIVE, "lzma data")
    if _is_zlib(head):
        return Form(Family.ARCHIVE, "zlib data, as joblib writes")
    if b"<svg" in head and _ACTIVE_DRAWING.search(head):
        return Form(Family.EXECUTABLE, "a drawing with a script")
    if re.match(rb"[^\n]\r\r\n[\0-\3]\0\0\0", head) or re.match(rb"..\r\n[\0-\3]\0\0\0", head):
        return Form(Family.PYTHON, "compiled Python")
    # A zip archive is found from its end, whatever comes before.
    if b"PK\x05\x06" in tail:
        return Form(Family.ARCHIVE, "a zip archive behind other data")
    return None


def _pickle(head: bytes, tail: bytes) -> str | None:
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        # The length of a safetensors header can look like that; the third byte of it is 0.
        return f"a pickle of protocol {head[1]}" if head[2:3] in _OPCODES else None
    if head.startswith(b"\x93NUMPY") and _holds_objects(head):
        return "a numpy array of pickled objects"
    zipped = head.startswith(b"PK") or b"PK\x05\x06" in tail
    if zipped and (b"data.pkl" in head or b"data.pkl" in tail):
        return "a zip archive with a pickle, as torch.save writes"
    return None


def _only(head: bytes) -> ReadAt:
    return lambda offset, length: head[offset : offset + length]


def _holds_objects(head: bytes) -> bool:
    """True if numpy would unpickle what follows the header, or nobody can tell."""
    begin, end = head.find(b"{"), head.find(b"}")
    try:
        header = ast.literal_eval(head[begin : end + 1].decode("latin-1"))
        return any(re.fullmatch(r"[|<>=]?O\d*|object_?", text) for text in _texts(header["descr"]))
    except (SyntaxError, ValueError, TypeError, KeyError, MemoryError, RecursionError):
        return True


def _texts(described: Any) -> Iterator[str]:
    """Every text of a dtype's description: of a record, one for each field."""
    if isinstance(described, str):
        yield described
    elif isinstance(described, list | tuple):
        for part in described:
            yield from _texts(part)


def _is_tar(head: bytes) -> bool:
    """By the checksum of its first header, for tar before POSIX named its format there."""
    said = re.match(rb" {0,6}([0-7]{1,7})[ \0]", head[148:156])
    if said is None or len(head) < 512 or not head[0]:
        return False
    return sum(head[:148]) + sum(b" " * 8) + sum(head[156:512]) == int(said[1], 8)


def _is_lzma(head: bytes) -> bool:
    """Settings in a byte, the size of a dictionary, a length or none, and a zero of the coder."""
    dictionary, length = int.from_bytes(head[1:5], "little"), head[5:13]
    bounded = length[4:] == bytes(4) and any(length)
    return (
        head[:1] < b"\xe1"
        and dictionary.bit_count() in (1, 2)
        and head[13:14] == b"\0"
        and (bounded or length == b"\xff" * 8)
    )


def _is_zlib(head: bytes) -> bool:
    """Two bytes say so, and are those of many a text: what follows has to unpack."""
    if len(head) < 8 or head[0] != 0x78 or int.from_bytes(head[:2], "big") % 31:
        return False
    try:
        return len(zlib.decompressobj().decompress(head, 64)) > 0
    except zlib.error:
        return False
