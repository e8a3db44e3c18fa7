"""Runs vendors in processes of their own; the launching side.

Each module beside this one is a script that imports a vendor (torch, transformers, PEFT, MLX),
reads one JSON object from its standard input and writes one to the file named there under
``answer``. Standard output is no channel, since vendors print on it. This module imports none of
them: an abort of a vendor, its memory and its import time stay in the child.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weighbridge.adapters.workers.stages import Listener, Steps, nobody, wait
from weighbridge.domain.errors import StorageError

__all__ = [
    "TIMEOUT_SECONDS",
    "Steps",
    "WorkerFailed",
    "available_memory",
    "missing_extra",
    "missing_mlx",
    "missing_peft",
    "run_worker",
    "scratch_directory",
]

TIMEOUT_SECONDS: Final = 1800.0

_INSTALL = "needs the extra '{0}': pip install 'weighbridge[{0}]'"
_SCRATCH = "keeping a temporary directory"
_STDERR_BYTES = 16_384
_STDERR_LINES = 8
_LINE_CHARACTERS = 300

# A proof reads local directories only; a vendor that reaches for the network would hang behind a
# firewall, or prove something about another model than the one in hand.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


class WorkerFailed(Exception):
    """A worker did not answer. ``args`` are the worker's name and the reason, for a reader."""

    def __str__(self) -> str:
        name, reason = self.args
        return f"{name} {reason}"


def run_worker(
    name: str,
    request: Mapping[str, Any],
    *,
    timeout: float = TIMEOUT_SECONDS,
    listener: Listener = nobody,
) -> dict[str, Any]:
    """What the worker module of that name answered to the request.

    ``timeout`` is in seconds; ``listener`` is told where the worker is, again and again while it
    runs. Raises WorkerFailed if the worker cannot be started, dies by a
    signal, ends with another code than 0, takes longer, or leaves no JSON object; StorageError as
    ``scratch_directory``. Whatever
    interrupts the wait (KeyboardInterrupt) kills the worker and what it started, then goes on.
    """
    with scratch_directory("worker") as folder:
        question, answer, stderr = folder / "request", folder / "answer", folder / "stderr"
        stages = folder / "stages"
        asked = {**request, "answer": str(answer), "stages": str(stages)}
        question.write_text(json.dumps(asked), encoding="utf-8")
        with _started(name, question, stderr, timeout) as process:
            code = wait(process, stages, listener, timeout)
        if code:
            raise WorkerFailed(name, f"{_ending(code)}{_last_lines(stderr)}")
        return _read(name, answer)


@contextlib.contextmanager
def scratch_directory(purpose: str) -> Iterator[Path]:
    """An empty directory for the time of the block.

    Raises StorageError if none can be made, or if the block fails and the directory is gone: what
    cleans temporary files up on this machine says nothing of what was to be proved.
    """
    try:
        folder = tempfile.mkdtemp(prefix=f"weighbridge-{purpose}-")
    except OSError as problem:
        where = tempfile.tempdir or "TMPDIR"
        raise StorageError(path=where, operation=_SCRATCH, reason=str(problem)) from problem
    try:
        yield Path(folder)
    except (OSError, WorkerFailed) as problem:
        if Path(folder).is_dir():
            raise
        reason = "it was removed while it was in use; nothing was proved or refuted, try again"
        raise StorageError(path=folder, operation=_SCRATCH, reason=reason) from problem
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def missing_extra(extra: str, modules: Sequence[str], advice: str = "") -> str | None:
    """What to install if one of these top-level modules cannot be found; imports none of them."""
    if all(_found(module) for module in modules):
        return None
    return _INSTALL.format(extra) + (f"; {advice}" if advice else "")


def missing_peft() -> str | None:
    """What to install if torch, transformers or PEFT cannot be found."""
    on_linux = sys.platform.startswith("linux")
    advice = "on Linux install a CPU build of torch first to avoid the CUDA packages"
    return missing_extra("peft", ("torch", "transformers", "peft"), advice if on_linux else "")


def missing_mlx() -> str | None:
    """What to install if MLX or mlx-lm cannot be found, or if MLX came without its library."""
    missing = missing_extra("mlx", ("mlx", "mlx_lm"))
    if missing or not sys.platform.startswith("linux"):
        return missing
    # On Linux the package `mlx` is a shell: only its extra `cpu` (or `cuda`) brings libmlx.so.
    spec = importlib.util.find_spec("mlx")
    roots = (spec.submodule_search_locations or ()) if spec else ()
    if any((Path(root) / "lib" / "libmlx.so").is_file() for root in roots):
        return None
    return _INSTALL.format("mlx")


def available_memory() -> int | None:
    """Bytes that a process may still take; where only that is known, what the machine has.

    None if the system tells neither.
    """
    try:
        # SC_AVPHYS_PAGES leaves out the page cache, which the kernel gives up on demand.
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # no Linux
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: a module put into sys.modules without a spec
        return False


@contextlib.contextmanager
def _started(
    name: str, question: Path, stderr: Path, timeout: float
) -> Iterator[subprocess.Popen[bytes]]:
    """The worker's process; whatever ends the block early kills it."""
    with question.open("rb") as source, stderr.open("wb") as errors:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__name__}.{name}"],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=_environment(),
                # `-m` puts the working directory in front of sys.path. In the user's, which may
                # be the artifact under judgement, a file torch.py would be run.
                cwd=question.parent,
                start_new_session=True,
            )
        except OSError as problem:
            raise WorkerFailed(name, f"could not be started: {problem}") from problem
        try:
            yield process
        except subprocess.TimeoutExpired:
            _kill(process)
            raise WorkerFailed(name, f"took longer than {timeout:g} s") from None
        except BaseException:
            _kill(process)
            raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    """The caller's environment, offline, without secrets, and with the caller's sys.path."""
    kept = {key: value for key, value in os.environ.items() if key not in _SECRETS}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**kept, **_OFFLINE, "PYTHONPATH": path}


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _last_lines(stderr: Path) -> str:
    raw = stderr.read_bytes()[-_STDERR_BYTES:].decode("utf-8", "replace")
    lines = [line.rstrip()[:_LINE_CHARACTERS] for line in raw.splitlines() if line.strip()]
    return ": " + "\n".join(lines[-_STDERR_LINES:]) if lines else ""


def _read(name: str, answer: Path) -> dict[str, Any]:
    try:
        value = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise WorkerFailed(name, f"left no answer: {type(problem).__name__}") from problem
    if not isinstance(value, dict):
        raise WorkerFailed(name, "left an answer that is no JSON object")
    return value
