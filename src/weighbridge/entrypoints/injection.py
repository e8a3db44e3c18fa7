"""dependency-injector; on the command line without the web frameworks that it would wire.

It imports each that is installed. They take as long as all of Weighbridge, and only a program that
wires functions of theirs has a use for them: in any other process than our own they are left to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

#: As ``dependency_injector.providers`` and ``dependency_injector.wiring`` try them.
_FRAMEWORKS = frozenset(
    {"pydantic", "pydantic_settings", "fastapi", "fast_depends", "starlette", "werkzeug"}
)


class _Absent:
    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name in _FRAMEWORKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextmanager
def _without_frameworks() -> Iterator[None]:
    sys.meta_path.insert(0, _Absent)
    try:
        yield
    finally:
        sys.meta_path.remove(_Absent)


if "weighbridge.entrypoints.cli" in sys.modules:
    with _without_frameworks():
        from dependency_injector import containers, providers
else:
    from dependency_injector import containers, providers

__all__ = ["containers", "providers"]
