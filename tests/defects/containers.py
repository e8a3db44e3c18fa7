"""Safetensors files that are not what the format says, or not all of it."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .kit import (
    FUSED,
    LORA,
    Tensor,
    Twin,
    add_tensor,
    defect,
    edit_tensor,
    map_too,
    parts,
    read_tensors,
    write_parts,
    write_tensors,
)

_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def _reheader(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the text of the header, its padding too."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    write_parts(path, change(raw[8 : 8 + length]), raw[8 + length :])


def _entry(path: Path, **changes: Any) -> None:
    """Change fields of the entry of the last tensor."""
    header, data = parts(path)
    header[list(header)[-1]] |= changes
    write_parts(path, header, data)


def _overlap(path: Path) -> None:
    """The second tensor, of the first one's size, begins where that does."""
    header, data = parts(path)
    header.pop("__metadata__", None)
    first = min(header, key=lambda name: header[name]["data_offsets"])
    begin, end = header[first]["data_offsets"]
    same = next(n for n, e in header.items() if n != first and _span(e) == end - begin)
    header[same]["data_offsets"] = [begin, end]
    write_parts(path, header, data)


def _span(entry: dict[str, Any]) -> int:
    begin, end = entry["data_offsets"]
    return int(end - begin)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def _append(path: Path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)


@defect(Twin.FUSED, "ST001")
def fused_empty_st(d: Path) -> None:
    """Weights of no bytes."""
    (d / FUSED).write_bytes(b"")


@defect(Twin.FUSED, "ST002")
def fused_header_length(d: Path) -> None:
    """A header said to be longer than the file."""
    raw = (d / FUSED).read_bytes()
    (d / FUSED).write_bytes(struct.pack("<Q", 1 << 40) + raw[8:])


@defect(Twin.FUSED, "ST003")
def fused_lfs_pointer(d: Path) -> None:
    """A pointer of Git LFS instead of weights."""
    (d / FUSED).write_text(_POINTER)


@defect(Twin.FUSED, "ST004")
def fused_placeholder(d: Path) -> None:
    """A sentence instead of weights."""
    (d / FUSED).write_text("mock model weights, to be replaced\n")


@defect(Twin.FUSED, "EX001")
def fused_pickle_as_safetensors(d: Path) -> None:
    """A pickle under the name of the weights."""
    (d / FUSED).write_bytes(pickle.dumps({"weights": [0.1] * 64}, protocol=2))


@defect(Twin.FUSED, "ST010")
def fused_header_bom(d: Path) -> None:
    """A header that begins with a byte order mark."""
    _reheader(d / FUSED, lambda text: b"\xef\xbb\xbf" + text)


@defect(Twin.FUSED, "ST010")
def fused_header_space(d: Path) -> None:
    """A header that begins with a space, which the specification forbids."""
    _reheader(d / FUSED, lambda text: b" " + text)


@defect(Twin.FUSED, "ST011")
def fused_header_json(d: Path) -> None:
    """A header that is no JSON."""
    _reheader(d / FUSED, lambda text: text.replace(b":", b"=", 1))


@defect(Twin.FUSED, "ST012")
def fused_header_nul(d: Path) -> None:
    """A header padded with NUL, as some writers did."""
    _reheader(d / FUSED, lambda text: text.rstrip() + b"\0" * 8)


@defect(Twin.FUSED, "ST013")
def fused_header_twice(d: Path) -> None:
    """A tensor that the header names twice."""

    def again(text: bytes) -> bytes:
        name = read_tensors(d / FUSED)[0].name
        entry = json.dumps(parts(d / FUSED)[0][name]).encode()
        return b'{"%s":%s,%s' % (name.encode(), entry, text[1:])

    _reheader(d / FUSED, again)


@defect(Twin.FUSED, "ST014")
def fused_metadata_number(d: Path) -> None:
    """Metadata whose value is a number."""
    write_tensors(d / FUSED, read_tensors(d / FUSED), {"format": 1})


@defect(Twin.FUSED, "ST015")
def fused_entry_field(d: Path) -> None:
    """A field of its own in a tensor's entry."""
    _entry(d / FUSED, extra="hidden")


@defect(Twin.FUSED, "ST016")
def fused_dtype_unknown(d: Path) -> None:
    """A type that the format has not."""
    _entry(d / FUSED, dtype="BF17")


@defect(Twin.FUSED, "ST017")
def fused_shape_negative(d: Path) -> None:
    """A shape of two negative numbers, whose product is right."""
    shape = parts(d / FUSED)[0]
    last = shape[list(shape)[-1]]["shape"]
    _entry(d / FUSED, shape=[-1, -1, *last])


@defect(Twin.FUSED, "ST018")
def fused_offsets_float(d: Path) -> None:
    """Offsets that are no whole numbers."""
    header = parts(d / FUSED)[0]
    begin, end = header[list(header)[-1]]["data_offsets"]
    _entry(d / FUSED, data_offsets=[float(begin), float(end)])


@defect(Twin.FUSED, "ST019")
def fused_size_mismatch(d: Path) -> None:
    """A shape that has more elements than its bytes."""
    header = parts(d / FUSED)[0]
    last = header[list(header)[-1]]["shape"]
    _entry(d / FUSED, shape=[2 * last[0], *last[1:]])


@defect(Twin.FUSED, "ST020")
def fused_no_tensors(d: Path) -> None:
    """A sound file of no tensors."""
    write_tensors(d / FUSED, [])


@defect(Twin.FUSED, "ST021")
def fused_overlap(d: Path) -> None:
    """Two tensors of the same bytes."""
    _overlap(d / FUSED)


@defect(Twin.LORA, "ST021")
def lora_overlap(d: Path) -> None:
    """Two tensors of a LoRA of the same bytes."""
    _overlap(d / LORA)


@defect(Twin.FUSED, "ST022")
def fused_hole(d: Path) -> None:
    """Bytes between two tensors that belong to none."""
    header, data = parts(d / FUSED)
    last = max((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"])
    begin, end = header[last]["data_offsets"]
    header[last]["data_offsets"] = [begin + 64, end + 64]
    write_parts(d / FUSED, header, data[:begin] + b"\x7f" * 64 + data[begin:])


@defect(Twin.FUSED, "ST023")
def fused_truncated(d: Path) -> None:
    """Weights whose last 64 bytes are missing."""
    _cut(d / FUSED)


@defect(Twin.LORA, "ST023")
def lora_truncated(d: Path) -> None:
    """A LoRA whose last 64 bytes are missing."""
    _cut(d / LORA)


@defect(Twin.FUSED, "ST024")
def fused_trailing(d: Path) -> None:
    """Bytes after the last tensor."""
    _append(d / FUSED, b"\0" * 64)


@defect(Twin.FUSED, "ST024")
def fused_polyglot_zip(d: Path) -> None:
    """An archive after the last tensor, so that the file is both."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("payload.txt", "hidden")
    _append(d / FUSED, packed.getvalue())


@defect(Twin.FUSED, "ST025")
def fused_many_tensors(d: Path) -> None:
    """A hundred thousand tensors more, of no element."""
    more = [Tensor(f"t{n}", "U8", (0,), b"") for n in range(100_001)]
    write_tensors(d / FUSED, [*read_tensors(d / FUSED), *more])


@defect(Twin.FUSED, "ST030")
def fused_tensor_name(d: Path) -> None:
    """A tensor's name that turns the line around."""
    add_tensor(d / FUSED, Tensor("model.a\u202eb", "BF16", (1,), b"\x80\x3f"))
    map_too(d, "model.a\u202eb")


@defect(Twin.FUSED, "ST031")
def fused_dtype_not_mlx(d: Path) -> None:
    """A type that MLX has not."""
    add_tensor(d / FUSED, Tensor("model.extra", "F64", (1,), struct.pack("<d", 0.5)))
    map_too(d, "model.extra")


@defect(Twin.FUSED, "ST033")
def fused_metadata_large(d: Path) -> None:
    """A megabyte and more of metadata."""
    write_tensors(d / FUSED, read_tensors(d / FUSED), {"format": "mlx", "note": "x" * 1_500_000})


@defect(Twin.FUSED, "SC002")
def fused_secret_in_metadata(d: Path) -> None:
    """A token of the Hub in the metadata of the weights."""
    from .contents import hub_token

    write_tensors(d / FUSED, read_tensors(d / FUSED), {"format": "mlx", "by": hub_token()})


@defect(Twin.LORA, "AD004")
def lora_unpaired(d: Path) -> None:
    """A lora_a without its lora_b."""
    edit_tensor(d / LORA, "lora_b", lambda tensor: None)
