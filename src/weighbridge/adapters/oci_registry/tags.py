"""The tags of a repository: names at once, and what each stands for when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from weighbridge.adapters.oci_registry.repository import Stored


class Tags(Mapping[str, str]):
    """Names with the digests that they stand for; one that is gone meanwhile is not there."""

    def __init__(self, names: Iterable[str], look: Callable[[str], Stored | None]) -> None:
        self._names, self._look = tuple(names), look
        self._found: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        digest = self._digest(name) if name in self._names else None
        if digest is None:
            raise KeyError(name)
        return digest

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if self._digest(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _digest(self, name: str) -> str | None:
        if name not in self._found:
            stored = self._look(name)
            self._found[name] = stored.digest if stored else None
        return self._found[name]
