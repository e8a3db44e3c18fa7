"""Interleaved runs of whole processes: their times, their peak memory, and the ratios."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Settings:
    """``size`` in bytes; ``runs`` of each process; the directory to make the data set in."""

    size: int
    runs: int
    directory: str | None


@dataclass(frozen=True)
class Contender:
    """A command; ``made`` is what it writes, removed before and after each run."""

    name: str
    command: Sequence[str]
    made: Path | None = None
    # Measures itself: it prints its seconds, in which the interpreter's start has no part.
    timed_inside: bool = False
    before: Callable[[], None] | None = None
    # A checker's exit code says what it found.
    may_fail: bool = False


@dataclass(frozen=True)
class Aim:
    """``contender`` may take at most ``most`` times what ``peer`` takes."""

    contender: str
    peer: str
    most: float


@dataclass
class Samples:
    """What was measured of one contender: seconds, and the largest peak of any run."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0


def run_once(contender: Contender) -> tuple[float, int]:
    """Seconds and peak resident bytes of one run. Raises RuntimeError if it fails."""
    _remove(contender.made)
    if contender.before is not None:
        contender.before()
    began = time.perf_counter()
    process = subprocess.Popen(
        contender.command,
        cwd=ROOT,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if contender.timed_inside else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    # What is printed is far less than a pipe holds, so waiting first cannot lock up.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    output, errors = process.communicate()
    _remove(contender.made)
    if process.returncode and not contender.may_fail:
        said = errors.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{contender.name}: exit code {process.returncode}\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(output) if contender.timed_inside else seconds, usage.ru_maxrss * unit


def measure(contenders: Sequence[Contender], runs: int) -> dict[str, Samples]:
    """All contenders, taking turns; the first round warms the caches and does not count."""
    samples = {c.name: Samples() for c in contenders}
    for turn in range(runs + 1):
        for contender in contenders:
            seconds, peak = run_once(contender)
            if turn:
                samples[contender.name].seconds.append(seconds)
                samples[contender.name].peak = max(samples[contender.name].peak, peak)
    return samples


def ratio(samples: Mapping[str, Samples], contender: str, peer: str) -> float:
    """The median over the rounds, so that what slows a whole round down cancels out."""
    pairs = zip(samples[contender].seconds, samples[peer].seconds, strict=True)
    return median(a / b for a, b in pairs)


def report(
    title: str,
    contenders: Sequence[Contender],
    aims: Sequence[Aim],
    runs: int,
    peaks: Mapping[str, int] | None = None,
) -> bool:
    """Measure and print, times relative to the first contender; True if all aims are met.

    ``peaks`` has the most bytes that a contender may have resident.
    """
    print(f"\n{title}  (median of {runs})", flush=True)
    samples = measure(contenders, runs)
    width, first = max(len(c.name) for c in contenders), contenders[0].name
    for name, sample in samples.items():
        print(
            f"  {name:<{width}}  {median(sample.seconds):8.3f} s"
            f"  {ratio(samples, name, first):6.2f} x  peak {sample.peak / 1e6:6.0f} MB"
        )
    met = True
    for aim in aims:
        found = ratio(samples, aim.contender, aim.peer)
        met &= _verdict(found <= aim.most, f"{aim.contender}: {found:.2f} x {aim.peer}", aim.most)
    for name, most in (peaks or {}).items():
        found = samples[name].peak / 1e6
        met &= _verdict(found <= most / 1e6, f"{name}: peak {found:.0f} MB", most / 1e6)
    return met


def _verdict(met: bool, text: str, most: float) -> bool:
    print(f"  {'met   ' if met else 'MISSED'}  {text}, aim at most {most:.3g}", flush=True)
    return met


def _remove(made: Path | None) -> None:
    if made is None:
        return
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink(missing_ok=True)


@contextmanager
def data_set(settings: Settings, shape: str) -> Iterator[Path]:
    """A directory with a LoRA of that shape in ``lora``, written by a child process.

    A child's peak counts what its parent had resident when it was started: this process must
    stay small, and never imports numpy.
    """
    with TemporaryDirectory(prefix="weighbridge-bench-", dir=settings.directory) as made:
        room = Path(made)
        if shutil.disk_usage(room).free < 3 * settings.size:
            raise SystemExit(f"{room}: needs {3 * settings.size / 1e9:.1f} GB free; --directory")
        command = [PYTHON, "-m", "benchmarks.lora", str(room / "lora"), shape, str(settings.size)]
        subprocess.run(command, cwd=ROOT, check=True)
        yield room


Benchmark = Callable[[Settings], bool]
