"""Header, JSON and npz, read by ours and by others' readers: ours may be stricter, never laxer."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile

from safetensors import deserialize

from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.load import read_header, read_npz
from weighbridge.domain.artifact import TensorFile
from weighbridge.domain.strict_json import StrictJsonError, parse_strictly


def header(data: bytes) -> None:
    """A safetensors file as it is."""
    memory = MemoryFiles()
    memory.seed("run", {"a.safetensors": data}, ())
    found = read_header(memory, "run", memory.scan("run").files[0])
    _sound(found, "ST")
    if found.header is None:
        return
    theirs = dict(deserialize(data))
    ours = found.header.specs
    assert theirs.keys() == ours.keys()
    for slot in found.header.slots:
        other = theirs[slot.spec.name]
        assert (other["dtype"], other["shape"]) == (slot.spec.dtype, list(slot.spec.shape))
        assert other["data"] == data[slot.start : slot.start + slot.spec.nbytes]


def header_text(data: bytes) -> None:
    """The text of a header, whose length is right; the first byte is how much data follows."""
    text = data[1:]
    header(struct.pack("<Q", len(text)) + text + bytes(data[0] if data else 0))


def document(data: bytes) -> None:
    """A JSON document."""
    try:
        found = parse_strictly(data)
    except StrictJsonError:
        return
    assert json.loads(data) == found
    json.dumps(found, allow_nan=False).encode()


def npz(data: bytes) -> None:
    """An archive of arrays, against zipfile."""
    memory = MemoryFiles()
    memory.seed("run", {"adapters.npz": data}, ())
    found = read_npz(memory, "run", memory.scan("run").files[0])
    _sound(found, "NZ")
    if found.header is None:
        return
    slots = found.header.slots
    assert all(0 < s.start <= s.start + s.spec.nbytes <= len(data) for s in slots)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        named = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        assert named.keys() == found.header.specs.keys()
        for slot in slots:
            info = named[slot.spec.name]
            with archive.open(info):  # compares the two entries
                assert info.file_size >= slot.spec.nbytes


def npy(data: bytes) -> None:
    """The header of one array, in an archive that is sound."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.npy"), data)
    npz(made.getvalue())


def _sound(found: TensorFile, family: str) -> None:
    if found.header is None:
        assert found.defects and all(d.code.startswith(family) for d in found.defects)
        return
    for spec in found.header.specs.values():
        assert spec.nbytes >= 0 and math.prod(spec.shape) >= 0
