"""How work that takes long is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
#: Called with a stage's name, what is done and what there is to do, in bytes or items. The same
#: again is a sign of life, and a stage that stops short of its total gives way to the next.
Progress: TypeAlias = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""
