"""Fusing and dequantising a model, proof included, against copying it, mlx-lm, and torch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import BIN, PYTHON, ROOT, Aim, Contender, Settings, report
from benchmarks.convert import _NO_REFLINK, _with_size

_SPARE_BYTES = 300_000_000
# The sizes of benchmarks.models, which imports numpy and must not be imported here.
_LARGEST_BYTES = 2 * 2048 * 5632


def run(settings: Settings) -> bool:
    """True if all aims are met."""
    with _models(settings) as room:
        return all([_fuse(settings, room), _dequantise(settings, room)])


def _fuse(settings: Settings, room: Path) -> bool:
    base, lora, out = (room / name for name in ("base", "run", "fused"))
    ours = (str(BIN / "weighbridge"), "fuse", "-q", str(lora), "-o", str(out), "--base", str(base))
    mlx = (PYTHON, "-m", "mlx_lm", "fuse", "--model", str(base), "--adapter-path", str(lora),
           "--save-path", str(out))  # fmt: skip
    torch = (
        PYTHON,
        str(ROOT / "benchmarks" / "handwritten_fuse.py"),
        str(base),
        str(lora),
        str(out),
    )
    return _report(
        "fuse", base, out, {"weighbridge": ours, "mlx_lm": mlx, "torch": torch}, settings
    )


def _dequantise(settings: Settings, room: Path) -> bool:
    packed, out = room / "packed", room / "floats"
    ours = (str(BIN / "weighbridge"), "dequantize", "-q", str(packed), "-o", str(out))
    mlx = (PYTHON, "-m", "mlx_lm", "convert", "--dequantize", "--hf-path", str(packed),
           "--mlx-path", str(out))  # fmt: skip
    script = str(ROOT / "benchmarks" / "handwritten_dequantise.py")
    commands = {
        "weighbridge": ours,
        "mlx_lm": mlx,
        "torch": (PYTHON, script, str(packed), str(out)),
    }
    return _report("dequantize", room / "base", out, commands, settings)


def _report(
    verb: str, as_large: Path, out: Path, commands: dict[str, Sequence[str]], settings: Settings
) -> bool:
    """Each command against a copy of as many bytes as it writes."""
    copied = ("cp", "-r", *_NO_REFLINK, str(as_large), str(out))
    contenders = [Contender("cp", copied, out)]
    contenders += [Contender(f"{name} {verb}", command, out) for name, command in commands.items()]
    ours = f"weighbridge {verb}"
    aims = tuple(Aim(ours, f"{name} {verb}", 1) for name in commands if name != "weighbridge")
    peaks = {ours: _SPARE_BYTES + 2 * _LARGEST_BYTES}
    title = _with_size(f"{verb}, BF16", settings.size)
    return report(title, contenders, aims, settings.runs, peaks)


@contextmanager
def _models(settings: Settings) -> Iterator[Path]:
    """``base``, ``run`` and ``packed``, written by a child process: see ``common.data_set``."""
    with TemporaryDirectory(prefix="weighbridge-bench-", dir=settings.directory) as made:
        room = Path(made)
        if shutil.disk_usage(room).free < 3 * settings.size:
            raise SystemExit(f"{room}: needs {3 * settings.size / 1e9:.1f} GB free; --directory")
        command = [PYTHON, "-m", "benchmarks.models", str(room), str(settings.size)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield room
