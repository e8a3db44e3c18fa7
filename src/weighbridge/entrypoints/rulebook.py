"""The rules of installed packages: the entry points of the group ``weighbridge.rules``.

Loading one runs that package's code, so nothing in the current directory counts as installed: that
may be the very artifact that is to be judged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from functools import lru_cache, wraps
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from weighbridge.domain.findings import Observation, Rule, Subject
from weighbridge.domain.rulebook import Offer, Rulebook, rulebook

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "weighbridge.rules"
_MOST_SEEN = 100_000
#: A rule reads no file: seconds that one may take, and to end when it is stopped.
_SECONDS, _MOMENT = 60.0, 1.0


def installed_rulebook() -> Rulebook:
    """The catalogue and what installed packages offer. What cannot be loaded is among the refused
    ones; nothing raises. They are loaded anew only once packages come or go."""
    return _rulebook(tuple((path, _changed(path)) for path in _installed_paths()))


@lru_cache(maxsize=1)
def _rulebook(paths: tuple[tuple[str, int], ...]) -> Rulebook:
    return rulebook(_offers(path for path, _ in paths))


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _offers(installed: Iterable[str]) -> Iterator[Offer]:
    paths = [path for path in installed if _may_offer(path)]
    if not paths:
        return
    from importlib.metadata import distributions  # 20 ms, which most never need

    seen = set()
    for distribution in distributions(path=paths):
        name = _name(distribution)
        try:
            points = _points(distribution)
        except (TypeError, ValueError) as error:  # a file of entry points that is none
            yield Offer(f"{name}: entry_points.txt", error)
            continue
        for point in points:
            source = f"{name}: {point.name}"
            # As on import, the first of two on the path is the one that counts.
            if source not in seen:
                seen.add(source)
                yield Offer(source, _loaded(point))


def _installed_paths() -> list[str]:
    here = os.path.realpath(os.curdir)
    return [path for path in sys.path if path and os.path.realpath(path) != here]


def _may_offer(path: str) -> bool:
    """True if a package there names our group; an archive is not looked into, and may."""
    if not os.path.isdir(path):
        return os.path.isfile(path)
    files = (file for info in ("dist-info", "egg-info") for file in _entry_points(path, info))
    return any(_names_group(file) for file in files)


def _entry_points(path: str, info: str) -> Iterator[Path]:
    return Path(path).glob(f"*.{info}/entry_points.txt")


def _names_group(file: Path) -> bool:
    try:
        return GROUP.encode() in file.read_bytes()
    except OSError:
        return False


def _points(distribution: Distribution) -> list[EntryPoint]:
    # Most packages have none, and their metadata are not worth parsing for that.
    text = distribution.read_text("entry_points.txt") or ""
    return list(distribution.entry_points.select(group=GROUP)) if GROUP in text else []


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"])


def _loaded(point: EntryPoint) -> object:
    try:
        with _stdout_apart():
            found = point.load()
    except (Exception, SystemExit, GeneratorExit) as error:
        return error  # A package's bug must not hide our own findings.
    return [_apart(r) for r in found] if isinstance(found, list | tuple) else _apart(found)


def _apart(rule: object) -> object:
    """The rule, so that nothing it prints gets into the report, and so that it ends."""
    if not isinstance(rule, Rule) or not callable(rule.check):
        return rule

    @wraps(rule.check)
    def check(subject: Subject) -> Iterator[Observation]:
        run = _Run(rule, subject)
        with _stdout_apart():
            run.wait(_SECONDS)
        yield from tuple(run.seen)
        if run.error is not None:
            raise run.error

    return evolve(rule, check=check)


@contextmanager
def _stdout_apart() -> Iterator[None]:
    """What is printed goes to the standard error, also that of processes which are started."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr), ExitStack() as after:
        with suppress(OSError):  # Without one, or without a standard error, there is none to keep.
            ours = os.dup(1)
            after.callback(os.close, ours)
            os.dup2(2, 1)
            after.callback(os.dup2, ours, 1)
        yield


@define(eq=False)
class _Run:
    """A rule at work in a thread, which may not come to an end; ``seen`` is what it saw so far."""

    rule: Rule
    subject: Subject
    seen: list[Observation] = field(factory=list)
    error: BaseException | None = None

    def wait(self, seconds: float) -> None:
        """Until it has ended, or ``error`` says that it did not."""
        thread = Thread(target=self._see, name=self.rule.code, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            import ctypes  # which hardly anybody needs

            self.error = TimeoutError(f"did not come to an end within {seconds:g} s")
            stop = ctypes.pythonapi.PyThreadState_SetAsyncExc
            stop(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
            thread.join(_MOMENT)

    def _see(self) -> None:
        try:
            for number, one in enumerate(self.rule.check(self.subject)):
                if number >= _MOST_SEEN:
                    raise RuntimeError(f"saw more than {_MOST_SEEN} things")
                self.seen.append(one)
        except BaseException as error:
            self.error = self.error or error
