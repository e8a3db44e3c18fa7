"""Validating two shards against as many bytes in one: each is hashed and scanned by a thread.

Beside it the same of `hashlib` alone, which is what the machine's two cores gain at that time.
"""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from benchmarks.common import BIN, PYTHON, Aim, Contender, Settings, report

_TENSOR = 64 << 20
_NOISE = bytes(range(1, 120)) * 40


def run(settings: Settings) -> bool:
    """True if two are at least 1.7 times as fast on two idle cores."""
    with tempfile.TemporaryDirectory(dir=settings.directory) as scratch:
        places = [_write(Path(scratch, name), settings.size, count)
                  for name, count in (("one", 1), ("two", 2))]  # fmt: skip
        command = (str(BIN / "weighbridge"), "validate", "-q", "--fail-on", "never")
        contenders = [Contender(p.name, (*command, str(p))) for p in places]
        digest = (PYTHON, "-m", "benchmarks.nan_scans", "threads")
        for place in places:
            files = map(str, sorted(place.glob("*.safetensors")))
            contenders.append(Contender(f"hashlib, {place.name}", (*digest, *files)))
        aims = (Aim("two", "one", 1 / 1.7),)
        return report("validate, one file and two shards", contenders, aims, settings.runs)


def _write(root: Path, size: int, files: int) -> Path:
    root.mkdir()
    per_file = max(1, size // files // _TENSOR)
    weight_map = {}
    for number in range(files):
        of = f"-{number + 1:05d}-of-{files:05d}" if files > 1 else ""
        path, names = f"model{of}.safetensors", [f"t{number}.{n}" for n in range(per_file)]
        header = {
            name: {"dtype": "BF16", "shape": [8192, 4096],
                   "data_offsets": [_TENSOR * at, _TENSOR * (at + 1)]}
            for at, name in enumerate(names)
        }  # fmt: skip
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (root / path).open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            block = (_NOISE * (_TENSOR // len(_NOISE) + 1))[:_TENSOR]
            for name in names:  # each its own, or the search for duplicates would read all again
                stream.write(name.encode().ljust(8)[:8] + block[8:])
        weight_map |= dict.fromkeys(names, path)
    if files > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (root / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return root
