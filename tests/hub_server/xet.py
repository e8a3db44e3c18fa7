"""The Xet side: a CAS in a local folder, and what the Hub learns from it.

``hf_xet`` accepts ``local://DIR`` as the address of a CAS, so the real Rust client can be
used without a network. Decides that an object counts as uploaded once some shard in that
folder names its sha256, and copies its bytes into the LFS store so that git sees them too.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HEADER = 48
_RECORD = 48
_BOOKEND = b"\xff" * 32
_WITH_VERIFICATION = 1 << 31
_WITH_METADATA = 1 << 30
_FETCH = """
import sys, hf_xet
cas, xet_hash, size, target = sys.argv[1:]
how = {"endpoint": cas, "token": "t", "token_expiry_unix_secs": 1 << 40}
with hf_xet.XetSession().new_file_download_group(**how) as group:
    group.start_download_file(hf_xet.XetFileInfo(xet_hash, int(size)), target)
"""


class XetUnavailable(Exception):
    """The bytes of a known object could not be fetched with ``hf_xet``."""


class XetStore:
    """The folder that stands for the content-addressed store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        """The address for the client."""
        return f"local://{self._folder}"

    def index(self) -> dict[str, str]:
        """The Xet hash of every uploaded file, by its sha256."""
        shards = (self._folder / "xet" / "xorbs" / "shards").glob("*.mdb")
        return {sha256: xet for path in shards for xet, sha256 in parse_shard(path.read_bytes())}

    def fetch(self, xet_hash: str, size: int, target: str) -> None:
        """Write the bytes of an uploaded file to ``target``.

        Works on a copy of the folder: the client that uploads may still hold its locks.
        """
        with tempfile.TemporaryDirectory() as scratch:
            ignore = shutil.ignore_patterns("shard-session", "shard-cache")
            shutil.copytree(self._folder, Path(scratch, "cas"), ignore=ignore)
            args = [f"local://{scratch}/cas", xet_hash, str(size), target]
            command = [sys.executable, "-c", _FETCH, *args]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise XetUnavailable(done.stderr[-500:])


def parse_shard(shard: bytes) -> Iterator[tuple[str, str]]:
    """Xet hash and sha256 of each file that a shard describes with both."""
    at = _HEADER
    while True:
        file_hash, flags, count = struct.unpack_from("<32sII", shard, at)
        if file_hash == _BOOKEND:
            return
        per_entry = 2 if flags & _WITH_VERIFICATION else 1
        at += _RECORD * (1 + count * per_entry)
        if flags & _WITH_METADATA:
            yield _hex(file_hash), _hex(shard[at : at + 32])
            at += _RECORD


def _hex(digest: bytes) -> str:
    """Xet's spelling of a hash: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
