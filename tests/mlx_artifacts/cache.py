"""Keeps made artifacts between test runs, below ``tests/.artifacts``.

An artifact is made in a temporary directory and renamed, under a file lock: workers of
pytest-xdist wait for the one that makes it, and an interrupted maker leaves nothing that could
be taken for an artifact. Paths that the tools wrote *into* an artifact (``adapter_path``) are
those of the temporary directory; make what must stay reachable (the base) an artifact of its own.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent / ".artifacts"
_MAKERS = Path(__file__).resolve().parent
_TOOLS = ("mlx", "mlx-lm", "transformers")
# An artifact that another checkout of the sources may still be using is not swept under it.
_STALE_SECONDS = 3600.0


def cached(name: str, maker: Callable[[Path], object], *, root: Path = ROOT) -> Path:
    """The directory that ``maker`` filled, made now or in an earlier run.

    ``name`` has to tell apart makers that share their source (a loop over families, say): only
    the source of the maker, the bound arguments of a ``functools.partial``, the modules of this
    package and the versions of the tools are in the digest, no closed-over value. Whatever the
    maker raises goes through, and nothing is kept. Treat the directory as read-only.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(f"not usable as a directory name: {name!r}")
    _prepare(root)
    target = root / f"{name}-{_digest(maker)}"
    with FileLock(root / f"{name}.lock"):
        if not target.is_dir():
            _make(target, maker)
            _sweep(root, name, keep=target)
        os.utime(target)
    return target


def _make(target: Path, maker: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as scratch:
        made = Path(scratch) / "artifact"
        made.mkdir()
        maker(made)
        made.rename(target)


def _prepare(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _digest(maker: Callable[[Path], object]) -> str:
    parts = [f"{tool}=={version(tool)}" for tool in _TOOLS]
    parts += [path.read_text() for path in sorted(_MAKERS.glob("*.py"))]
    parts += _source(maker)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _source(maker: Callable[..., Any]) -> list[str]:
    if isinstance(maker, functools.partial):
        return [*_source(maker.func), repr(maker.args), repr(sorted(maker.keywords.items()))]
    return [inspect.getsource(maker)]


def _sweep(root: Path, name: str, *, keep: Path) -> None:
    """Remove what older sources made under that name: SmolLM2 takes 257 MiB each time."""
    for path in root.iterdir():
        if path == keep or not re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{16}}", path.name):
            continue
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
