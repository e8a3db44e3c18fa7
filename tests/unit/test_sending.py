"""What the client reads to send it: hashed in order, a part again if it must, and nothing else."""

from __future__ import annotations

import hashlib
import io
import shutil
from typing import BinaryIO, cast

import pytest
from hypothesis import given, strategies as st

from weighbridge.adapters.hub.metering import Meter
from weighbridge.adapters.hub.sending import Sent
from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry
from weighbridge.domain.errors import ArtifactChanged

CONTENT = bytes(range(100))


def entry_of(content: bytes) -> ManifestEntry:
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    return ManifestEntry(ArtifactPath("w.safetensors"), len(content), (digest,))


def sent(content: bytes, planned: bytes = CONTENT) -> Sent:
    return Sent(cast(BinaryIO, io.BytesIO(content)), entry_of(planned), lambda _: None)


def read_part(file: Sent, start: int, size: int) -> bytes:
    """As the client reads a part: it looks for the end, goes to the part, and back afterwards."""
    before = file.tell()
    file.seek(0, io.SEEK_END)
    file.seek(start)
    data = b""
    while len(data) < size and (more := file.read(min(7, size - len(data)))):
        data += more
    file.seek(before)
    return data


@given(part=st.integers(1, 120), again=st.lists(st.integers(0, 3), max_size=100))
def test_parts_in_order_each_as_often_as_it_must(part: int, again: list[int]) -> None:
    file = sent(CONTENT)
    came = b""
    for number, start in enumerate(range(0, len(CONTENT), part)):
        for _ in range(again[number] if number < len(again) else 0):
            read_part(file, start, max(1, part // 2))  # The connection broke.
        came += read_part(file, start, min(part, len(CONTENT) - start))
    assert came == CONTENT
    assert file.in_order


@given(part=st.integers(1, 120), at=st.integers(0, 99))
def test_the_end_of_other_content_is_withheld(part: int, at: int) -> None:
    other = CONTENT[:at] + b"?" + CONTENT[at + 1 :] if at != ord("?") else CONTENT[::-1]
    file = sent(other)
    *parts, last = range(0, len(other), part)
    for start in parts:
        read_part(file, start, part)
    with pytest.raises(ArtifactChanged):
        read_part(file, last, part)


@pytest.mark.parametrize("other", [CONTENT[:-1], CONTENT + b"?", b""])
def test_a_file_of_another_length_is_no_file_of_the_plan(other: bytes) -> None:
    file = sent(other)
    with pytest.raises(ArtifactChanged, match="100 bytes"):
        shutil.copyfileobj(file, io.BytesIO(), 30)


def test_what_is_read_in_another_order_is_not_taken_for_checked() -> None:
    file = sent(CONTENT)
    file.seek(50)
    file.read(10)
    assert not file.in_order


def test_an_empty_file() -> None:
    assert sent(b"", planned=b"").read() == b""


def test_what_is_there_is_not_to_be_sent() -> None:
    seen: list[tuple[int, int]] = []
    meter = Meter(lambda _, done, total: seen.append((done, total)), 100)
    meter.begin()
    meter.there(60)
    meter.reached("a", 10)
    meter.reached("a", 5)  # A part goes again.
    meter.reached("b", 15)
    meter.end()
    assert seen == [(0, 100), (0, 40), (10, 40), (25, 40), (40, 40)]


def test_whoever_sends_stops() -> None:
    meter = Meter(lambda *_: None, 100)
    meter.stop()
    with pytest.raises(KeyboardInterrupt):
        meter.reached("a", 10)
