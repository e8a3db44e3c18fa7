"""The safetensors container: dtypes, tensor specs, and a strict header parser and encoder.

Stricter than the reference reader where a release must be (duplicate keys, padding, no tensors),
and exact about which tensor is wrong. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from operator import itemgetter, mul, sub
from typing import Any, NamedTuple, TypeAlias

from attrs import frozen

from weighbridge.domain.strict_json import (
    DIGITS_ALIKE,
    StrictJsonError,
    parse_strictly,
    parse_unwalked,
)

#: Bits per element of every dtype that the format names.
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip

#: As huggingface_hub's own limit; the reference reader's is 100,000,000.
MAX_HEADER_BYTES = 25_000_000
_FIELDS = ("dtype", "shape", "data_offsets")
#: Of an entry: its name, those of its fields, and the dtype.
_STRINGS_EACH = 2 + len(_FIELDS)
_MAX_RANK = 8
_MAX_DIM = 2**31 - 1
_MOST_ELEMENTS = 2**56
_MOST_DIGITS = 100
_LFS_MAGIC = b"version https://git-lfs"


@frozen
class TensorSpec:
    """Name, dtype and shape of a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes; elements of less than a byte are packed."""
        return math.prod(self.shape) * DTYPE_BITS[self.dtype] // 8


class TensorSlot(NamedTuple):
    """A spec with its place: ``start`` in bytes from the beginning of the file."""

    spec: TensorSpec
    start: int


# As the class itself, three times as fast.
_slot_of = partial(tuple.__new__, TensorSlot)


@frozen
class Header:
    """A sound header; slots in order of their place."""

    slots: tuple[TensorSlot, ...]
    metadata: Mapping[str, str] | None
    data_start: int

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Specs by name."""
        return {slot.spec.name: slot.spec for slot in self.slots}

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(slot.spec.nbytes for slot in self.slots)

    @property
    def by_mlx(self) -> bool:
        """True if the file says that MLX wrote it, as all of mlx-lm's do since 2024-02."""
        return (self.metadata or {}).get("format") == "mlx"


#: A tensor, and where its bytes begin and end in the data.
_Span: TypeAlias = tuple[TensorSpec, int, int]


@frozen
class HeaderDefect:
    """One thing wrong with a safetensors file; ``code`` is the rule's."""

    code: str
    detail: str
    tensor: str = ""


class HeaderInvalid(ValueError):
    """All defects of one header."""

    def __init__(self, defects: Iterable[HeaderDefect]) -> None:
        self.defects = tuple(defects)
        super().__init__("; ".join(f"{d.code} {d.tensor} {d.detail}" for d in self.defects))


def header_length(prefix: bytes, file_size: int) -> int:
    """Length in bytes of the JSON header, from the first bytes of the file.

    Raises HeaderInvalid if the file cannot be a safetensors file.
    """
    if prefix.startswith(_LFS_MAGIC):
        raise HeaderInvalid([HeaderDefect("ST003", "is a git-lfs pointer, not the weights")])
    if file_size < 8:
        raise HeaderInvalid([HeaderDefect("ST001", f"has {file_size} bytes; 8 is the least")])
    length = int(struct.unpack("<Q", prefix[:8])[0])
    if prefix[8:9] not in (b"{", b""):
        other = "text" if _looks_like_text(prefix) else _OTHERS.get(prefix[:4])
        if other is not None:
            raise HeaderInvalid([HeaderDefect("ST004", f"holds {other}, not safetensors")])
    if length < 2 or length + 8 > file_size or length > MAX_HEADER_BYTES:
        detail = f"header length {length} in a file of {file_size} bytes"
        raise HeaderInvalid([HeaderDefect("ST002", detail)])
    return length


#: What other files begin with, which get the name of the weights.
_OTHERS = {
    b"GGUF": "GGUF",
    b"PK\x03\x04": "a zip archive, as torch.save writes it",
    b"\x89HDF": "HDF5",
}


def _looks_like_text(prefix: bytes) -> bool:
    return all(byte in (9, 10, 13) or 32 <= byte < 127 for byte in prefix[:16])


def parse_header(raw: bytes, file_size: int) -> Header:
    """The header from its JSON bytes (without the 8 of the length).

    Raises HeaderInvalid with every defect: fields, dtypes, shapes, sizes, overlap, holes,
    truncation, trailing bytes.
    """
    table, said, spans = _parse_table(raw)
    defects: list[HeaderDefect] = []
    metadata = _parse_metadata(said, defects)
    if spans is None:
        spans = [s for name, entry in table.items() if (s := _parse_entry(name, entry, defects))]
    if (name := uncountable(table)) is not None:
        defects.append(HeaderDefect("ST034", "has a number in its name that counts nothing", name))
    if not table:
        defects.append(HeaderDefect("ST020", "names no tensors"))
    start = 8 + len(raw)
    ordered = sorted(spans, key=itemgetter(1, 2))
    if not defects:
        defects += _layout_defects(ordered, file_size - start)
    if defects:
        raise HeaderInvalid(defects)
    specs, begins, _ = zip(*ordered, strict=True)
    starts = [start + begin for begin in begins]
    return Header(tuple(map(_slot_of, zip(specs, starts, strict=True))), metadata, start)


def _parse_table(raw: bytes) -> tuple[dict[str, Any], Any, list[_Span] | None]:
    """The header's entries, its metadata, and the spans if ``_parse_entry`` would object to none.

    No need to walk through those then: each holds as many strings as the next.
    """
    if raw[:1] != b"{":
        raise HeaderInvalid([HeaderDefect("ST010", "does not begin with '{'")])
    end = raw.rfind(b"}") + 1
    if end and raw[end:].strip(b" "):
        raise HeaderInvalid([HeaderDefect("ST012", "is padded with other bytes than spaces")])
    try:
        table, strings = parse_unwalked(raw)
        about = 1 if "__metadata__" in table else 0
        said = table.pop("__metadata__", None)
        spans = _sound_spans(table)
        if isinstance(said, dict) and set(map(type, said.values())) <= {str}:
            about += 2 * len(said)
        if spans is None or strings != about + _STRINGS_EACH * len(spans) or b"\\" in raw:
            parse_strictly(raw)
    except StrictJsonError as error:
        code = {"JS002": "ST013", "JS007": "ST010"}.get(error.code, "ST011")
        raise HeaderInvalid([HeaderDefect(code, error.detail)]) from error
    return table, said, spans


def _parse_metadata(value: Any, defects: list[HeaderDefect]) -> Mapping[str, str] | None:
    if value is None:  # mlx writes null, and the reference reader takes it
        return None
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return dict(value)
    defects.append(HeaderDefect("ST014", "__metadata__ is not a map of strings"))
    return None


def uncountable(names: Collection[str]) -> str | None:
    """The first of these names that holds a number as no layer or expert has: Python refuses to
    read one of thousands of digits, wherever it is met."""
    text = "\n".join(names)
    if text.isascii() and b"0" * (_MOST_DIGITS + 1) not in text.encode().translate(DIGITS_ALIKE):
        return None
    found = (n for n in names if any(len(d) > _MOST_DIGITS for d in re.findall(r"\d+", n)))
    return next(found, None)


def digits_alike(names: Sequence[str]) -> list[bytes]:
    """Each name with 0 for its digits: in one piece, ten times as fast as one by one."""
    text = "\n".join(names).encode("utf-8", "surrogatepass").translate(DIGITS_ALIKE)
    alike = text.split(b"\n")
    if len(alike) == len(names):
        return alike
    return [n.encode("utf-8", "surrogatepass").translate(DIGITS_ALIKE) for n in names]


def _sound_spans(table: Mapping[str, Any]) -> list[_Span] | None:
    """All entries at once, or None if there is any that ``_parse_entry`` would object to.

    What it asks is the same, of columns in place of rows: a header of 10,000 tensors takes a third
    of the time.
    """
    try:
        dtypes, shapes, offsets = (list(map(itemgetter(k), table.values())) for k in _FIELDS)
        bits = [DTYPE_BITS[dtype] for dtype in dtypes]
    except (KeyError, TypeError):
        return None
    if set(map(type, chain(shapes, offsets))) != {list} or set(map(len, offsets)) != {2}:
        return None
    numbers = list(chain.from_iterable(chain(shapes, offsets)))
    if set(map(type, numbers)) != {int} or min(numbers) < 0:
        return None
    if set(map(len, table.values())) != {len(_FIELDS)}:
        return None
    if max(map(len, shapes)) > _MAX_RANK or max(chain.from_iterable(shapes), default=0) > _MAX_DIM:
        return None
    counts = list(map(math.prod, shapes))
    if 0 in counts or max(counts) >= _MOST_ELEMENTS:
        return None
    begins, ends = (list(map(itemgetter(n), offsets)) for n in range(2))
    if list(map(mul, counts, bits)) != [8 * length for length in map(sub, ends, begins)]:
        return None
    specs = map(TensorSpec, table, dtypes, map(tuple, shapes))
    return list(zip(specs, begins, ends, strict=True))


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _parse_entry(name: str, entry: Any, defects: list[HeaderDefect]) -> _Span | None:
    if not isinstance(entry, dict) or entry.keys() != set(_FIELDS):
        defects.append(HeaderDefect("ST015", "needs exactly dtype, shape, data_offsets", name))
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    before = len(defects)
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        defects.append(HeaderDefect("ST016", f"unknown dtype {dtype!r}", name))
    if not _are_counts(shape) or max(shape, default=0) > _MAX_DIM:
        defects.append(HeaderDefect("ST017", f"shape {shape!r} is not a list of sizes", name))
    elif len(shape) > _MAX_RANK:
        defects.append(HeaderDefect("ST017", f"has {len(shape)} dimensions", name))
    # Readers multiply before they meet the 0.
    elif math.prod(filter(None, shape)) >= _MOST_ELEMENTS:
        defects.append(HeaderDefect("ST017", f"shape {shape} overflows", name))
    if not _are_counts(offsets) or len(offsets) != 2:
        defects.append(HeaderDefect("ST018", f"data_offsets {offsets!r}", name))
    if len(defects) > before:
        return None
    spec = TensorSpec(name, dtype, tuple(shape))
    bits, span = math.prod(shape) * DTYPE_BITS[dtype], offsets[1] - offsets[0]
    if bits != span * 8:
        detail = f"{dtype} {list(shape)} needs {bits / 8:g} bytes, data_offsets give {span}"
        defects.append(HeaderDefect("ST019", detail, name))
        return None
    return spec, offsets[0], offsets[1]


def _layout_defects(spans: list[_Span], data_bytes: int) -> Iterator[HeaderDefect]:
    ends = [0, *map(itemgetter(2), spans)]
    if ends[-1] == data_bytes and ends[:-1] == list(map(itemgetter(1), spans)):
        return
    at = 0
    for spec, begin, end in spans:
        if begin < at:
            yield HeaderDefect("ST021", f"overlaps the tensor before it by {at - begin}", spec.name)
        elif begin > at:
            yield HeaderDefect("ST022", f"{begin - at} bytes before it belong to none", spec.name)
        at = max(at, end)
    if at > data_bytes:
        yield HeaderDefect("ST023", f"{at} bytes of tensors, but only {data_bytes} are there")
    elif at < data_bytes:
        yield HeaderDefect("ST024", f"{data_bytes - at} bytes follow the last tensor")


def encode_header(specs: Iterable[TensorSpec], metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and header, padded with spaces to 8 bytes, for tensors stored in the given order."""
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for spec in specs:
        end = at + spec.nbytes
        table[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [at, end],
        }
        at = end
    raw = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw
