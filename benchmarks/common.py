"""Interleaved runs of whole processes: their times, peak memory, bytes read, and the ratios."""

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
#: Compiled once, as pip does for whoever installs it: the peers are installed.
_NOT_PASSED_ON = "PYTHONDONTWRITEBYTECODE"
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Settings:
    """``size`` in bytes; ``runs`` of each process; the directory to make the data set in."""

    size: int
    runs: int
    directory: str | None


@dataclass(frozen=True)
class Contender:
    """A command; ``made`` is what it writes, removed before and after each run.

    ``before`` is called before each run, and ``sent`` before and after: it tells how many bytes a
    server has received so far.
    """

    name: str
    command: Sequence[str]
    made: Path | None = None
    # Measures itself: it prints its seconds, in which the interpreter's start has no part.
    timed_inside: bool = False
    # A checker's exit code says what it found.
    may_fail: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    sent: Callable[[], int] | None = None


@dataclass(frozen=True)
class Aim:
    """``contender`` may take at most ``most`` times what ``peer`` takes."""

    contender: str
    peer: str
    most: float


@dataclass(frozen=True)
class Run:
    """One run: seconds, and bytes resident at most, read by its reads (0 where the system does not
    tell), and received by the server."""

    seconds: float
    peak: int
    read: int
    sent: int


@dataclass
class Samples:
    """What was measured of one contender: seconds, and the most of any run: bytes resident, read
    and sent."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    read: int = 0
    sent: int = 0

    def take(self, run: Run) -> None:
        """Add one run."""
        self.seconds.append(run.seconds)
        self.peak, self.read = max(self.peak, run.peak), max(self.read, run.read)
        self.sent = max(self.sent, run.sent)


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _NOT_PASSED_ON}


def run_once(contender: Contender) -> Run:
    """Run it. Raises RuntimeError if it fails."""
    _remove(contender.made)
    if contender.before:
        contender.before()
    before = contender.sent() if contender.sent else 0
    began = time.perf_counter()
    process = subprocess.Popen(
        contender.command,
        cwd=ROOT,
        env={**_surroundings(), **_ENVIRONMENT, **contender.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if contender.timed_inside else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    # What is printed is far less than a pipe holds, so waiting first cannot lock up.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - began
    read = bytes_read(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output, errors = process.communicate()
    _remove(contender.made)
    if process.returncode and not contender.may_fail:
        said = errors.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{contender.name}: exit code {process.returncode}\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(
        float(output) if contender.timed_inside else seconds,
        usage.ru_maxrss * unit,
        read,
        contender.sent() - before if contender.sent else 0,
    )


def bytes_read(process: int) -> int:
    """What a process, ended but not yet waited for, got from its reads of files, from the disk or
    the page cache. Linux tells; elsewhere 0."""
    try:
        lines = Path(f"/proc/{process}/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def measure(contenders: Sequence[Contender], runs: int) -> dict[str, Samples]:
    """All contenders, taking turns; the first round warms the caches and does not count."""
    samples = {c.name: Samples() for c in contenders}
    for turn in range(runs + 1):
        for contender in contenders:
            run = run_once(contender)
            if turn:
                samples[contender.name].take(run)
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
    counted = any(c.sent for c in contenders)
    for name, sample in samples.items():
        line = (
            f"  {name:<{width}}  {median(sample.seconds):8.3f} s"
            f"  {ratio(samples, name, first):6.2f} x  peak {sample.peak / 1e6:6.0f} MB"
        )
        moved = f"  read {sample.read / 1e6:7.1f} MB  sent {sample.sent / 1e6:7.1f} MB"
        print(line + (moved if counted else ""))
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
