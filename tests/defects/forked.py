"""Run a command of Python on many directories, importing it once: a fork for each directory.

``python forked.py PACKAGE SECONDS FILE ARGUMENT…`` in the command's own environment. FILE lists
the directories; beside each, ``PACKAGE.out`` gets what was printed, and ``PACKAGE.code`` the exit
code, negative for the signal that ended it. A timer ends what takes too long: it counts what the
processor does, so that a busy machine makes nobody hang.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path


def end_after(seconds: int) -> None:
    """End this process by SIGPROF after so many seconds of a processor, by SIGALRM if it waits."""
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(10 * seconds)


def _child(command: Callable[[], object], out: Path, seconds: int, arguments: list[str]) -> None:
    end_after(seconds)
    target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    sys.argv[1:] = arguments
    code: object
    try:
        code = command()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    out.with_suffix(".modules").write_text("\n".join(sys.modules))
    os._exit(code if isinstance(code, int) else int(code is not None))


def _import(listed: Path) -> None:
    """Import what the child had to, so that the next need not."""
    names = listed.read_text().splitlines() if listed.exists() else []
    for name in names:
        if name not in sys.modules and "__main__" not in name:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def main(package: str, seconds: str, listed: str, arguments: list[str]) -> None:
    (found,) = entry_points(group="console_scripts", name=package)
    command = found.load()
    sys.argv = [package]
    os.nice(10)
    for directory in map(Path, Path(listed).read_text().splitlines()):
        child = os.fork()
        if child == 0:
            os.chdir(directory.parent)
            out = directory.parent / f"{package}.out"
            _child(command, out, int(seconds), [*arguments, str(directory)])
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        (directory.parent / f"{package}.code").write_text(str(code))
        _import(directory.parent / f"{package}.modules")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
