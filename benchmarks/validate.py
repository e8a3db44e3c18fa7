"""Validating with the full scan, against reading the file; the scan alone, against readinto."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from benchmarks.common import BIN, PYTHON, Aim, Contender, Settings, data_set, report

_REUSED_BYTES = 512 << 10
_MOST_BYTES = 150_000_000


def run(settings: Settings) -> bool:
    """True if all aims are met."""
    with data_set(settings, "layers") as room:
        lora = room / "lora"
        weights = str(lora / "adapters.safetensors")
        size = f"{settings.size / (1 << 30):.3g} GiB"
        command = (str(BIN / "weighbridge"), "validate", "-q", str(lora))
        whole = (
            Contender("cat > /dev/null", ("cat", weights)),
            Contender("weighbridge validate", command),
        )
        peaks = {"weighbridge validate": _MOST_BYTES}
        met = report(f"validate, {size}", whole, (), settings.runs, peaks)
        inner = tuple(
            Contender(name, (PYTHON, "-m", "benchmarks.validate", what, weights), timed_inside=True)
            for what, name in (
                ("reuse", "readinto, a small buffer reused"),
                ("once", "readinto, one buffer for all"),
                ("scan", "scan"),
                ("digest", "sha256 alone"),
                ("both", "scan and sha256 in one pass"),
            )
        )
        peers = ("readinto, one buffer for all", "readinto, a small buffer reused")
        aims = (
            *(Aim("scan", peer, 1 / 0.7) for peer in peers),
            Aim("scan and sha256 in one pass", "sha256 alone", 1.10),
        )
        title = f"the scan alone, in process, {size}"
        return report(title, inner, aims, settings.runs, {"scan": _MOST_BYTES}) and met


def _read(path: Path, buffer_bytes: int) -> None:
    buffer = bytearray(buffer_bytes)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _digest(path: Path) -> None:
    buffer, hasher = bytearray(_REUSED_BYTES), hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])


def _scan(path: Path, *, digest: bool) -> None:
    from weighbridge.adapters.local_files.reading import LocalReader
    from weighbridge.adapters.numpy_survey import NumpySurveyor
    from weighbridge.domain.tensors import header_length, parse_header

    with path.open("rb") as file:
        reader = LocalReader.of(file.fileno(), path.name)
        length = header_length(reader.read(0, 16), reader.size)
        header = parse_header(reader.read(8, length), reader.size)
        began = time.perf_counter()
        sink = hashlib.sha256().update if digest else None
        stats = NumpySurveyor().survey(reader, header, advance=lambda count: None, sink=sink)
    if not all(s.finite and s.examined for s in stats.values()):
        raise SystemExit("the scan found what is not there")
    print(time.perf_counter() - began)


def _main(what: str, path: Path) -> None:
    if what in ("scan", "both"):
        _scan(path, digest=what == "both")
        return
    began = time.perf_counter()
    if what == "digest":
        _digest(path)
    else:
        _read(path, _REUSED_BYTES if what == "reuse" else path.stat().st_size)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
