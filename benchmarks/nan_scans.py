"""What people write to look for NaN, or to digest: `python -m benchmarks.nan_scans
numpy|torch|digest|threads FILE…`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def digest(paths: Iterable[str]) -> None:
    """The sha256 of each file, one after the other."""
    for path in paths:
        with Path(path).open("rb") as file:
            print(hashlib.file_digest(file, "sha256").hexdigest(), path)


def digest_in_threads(paths: Iterable[str]) -> None:
    """The sha256 of all files, each in a thread: what the machine's cores make possible."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda path: digest([path]), paths))


def numpy_scan(paths: Iterable[str]) -> int:
    """Tensors with a NaN or an infinity; numpy has no bfloat16, so by the bits of its exponent."""
    import numpy as np
    from safetensors import deserialize

    found = 0
    for path in paths:
        for _, tensor in deserialize(Path(path).read_bytes()):
            words = np.frombuffer(tensor["data"], np.uint16)
            found += bool(((words & 0x7F80) == 0x7F80).any())
    return found


def torch_scan(paths: Iterable[str]) -> int:
    """Tensors with a NaN or an infinity."""
    import torch
    from safetensors import safe_open

    found = 0
    for path in paths:
        with safe_open(path, "pt") as file:
            found += sum(not bool(torch.isfinite(file.get_tensor(n)).all()) for n in file.keys())  # noqa: SIM118
    return found


if __name__ == "__main__":
    what, files = sys.argv[1], sys.argv[2:]
    if what == "digest":
        digest(files)
    elif what == "threads":
        digest_in_threads(files)
    elif (torch_scan if what == "torch" else numpy_scan)(files):
        raise SystemExit("found what is not there")
