"""A whole model judged and digested, against reading it, digesting it, and the other checkers.

Warm, from the page cache; and cold, with the cache emptied of the files before each run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import BIN, PYTHON, ROOT, Aim, Contender, Settings, report

_MOST_BYTES = 300_000_000
_OURS, _DIGEST = "weighbridge validate", "hashlib.file_digest"
#: Who looks at every byte of the weights, as we do; the other checkers read headers or less.
_SAME_BYTES = ("sha256sum", _DIGEST, "numpy, any NaN", "torch, any NaN", "modelaudit")


def run(settings: Settings) -> bool:
    """True if no checker that reads the weights is faster, warm and cold."""
    with TemporaryDirectory(prefix="weighbridge-bench-", dir=settings.directory) as made:
        model = Path(made, "fused")
        command = [PYTHON, "-m", "benchmarks.models", made, str(settings.size), "fused"]
        subprocess.run(command, cwd=ROOT, check=True)
        files = sorted(map(str, model.glob("*.safetensors")))
        size = f"{sum(map(os.path.getsize, files)) / (1 << 30):.2f} GiB in {len(files)} files"
        met = True
        for cold in (False, True):
            contenders = _contenders(str(model), files, cold=cold)
            named = {c.name for c in contenders}
            aims = tuple(Aim(_OURS, name, 1.0) for name in _SAME_BYTES if name in named)
            title = f"a model of {size}, {'cold' if cold else 'warm'}"
            met &= report(title, contenders, aims, settings.runs, {_OURS: _MOST_BYTES})
    return met


def _contenders(model: str, files: Sequence[str], *, cold: bool) -> tuple[Contender, ...]:
    commands: dict[str, Sequence[str]] = {
        "cat > /dev/null": ("cat", *files),
        "sha256sum": ("sha256sum", *files),
        _DIGEST: (PYTHON, "-m", "benchmarks.nan_scans", "digest", *files),
        _OURS: (str(BIN / "weighbridge"), "validate", "-q", "--fail-on", "never", model),
        "numpy, any NaN": (PYTHON, "-m", "benchmarks.nan_scans", "numpy", *files),
        "torch, any NaN": (PYTHON, "-m", "benchmarks.nan_scans", "torch", *files),
        **_peers(model),
    }
    before = (lambda: _forget(files)) if cold else None
    return tuple(Contender(n, c, before=before, may_fail=n in _PEERS) for n, c in commands.items())


_PEERS = ("modelaudit", "mlx-model-doctor", "modelscan", "picklescan")


def _peers(model: str) -> dict[str, Sequence[str]]:
    """The other checkers that can be installed, each in its own environment."""
    from tests.defects.peers import PEERS, install

    return {
        peer.package: (str(peer.home / "bin" / peer.package), *peer.arguments, model)
        for peer in PEERS
        if install(peer)
    }


def _forget(files: Sequence[str]) -> None:
    """Empty the page cache of these files, as anybody may."""
    for path in files:
        with Path(path).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
