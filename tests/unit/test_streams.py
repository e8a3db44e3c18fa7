"""How often the rest of a file is asked for where connections break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from weighbridge.application.streams import resumed
from weighbridge.domain.errors import RegistryUnreachable, ServerSilent

MIB = 1 << 20


class Source:
    """Breaks after ``each`` bytes of every connection, as ``failure`` says or without a word."""

    def __init__(self, each: int, failure: type[RegistryUnreachable] | None) -> None:
        self.each, self.failure, self.asked = each, failure, list[int]()

    def __call__(self, offset: int) -> Iterator[bytes]:
        self.asked.append(offset)
        yield bytes(self.each)
        if self.failure:
            raise self.failure(destination="x", reason="broke", applied=False)


@pytest.mark.parametrize("failure", [None, RegistryUnreachable, ServerSilent])
def test_as_often_as_it_brings_something(failure: type[RegistryUnreachable] | None) -> None:
    source = Source(2 * MIB, failure)
    assert sum(map(len, resumed(("w", 20 * MIB), source, "x"))) == 20 * MIB
    assert source.asked == [2 * MIB * number for number in range(10)]


@pytest.mark.parametrize(
    ("failure", "times"), [(None, 5), (RegistryUnreachable, 5), (ServerSilent, 2)]
)
def test_a_few_times_in_vain(failure: type[RegistryUnreachable] | None, times: int) -> None:
    source, paused = Source(9, failure), list[float]()
    expected = "broke" if failure else f"w ended after {9 * times} of {MIB} bytes"
    with pytest.raises(failure or RegistryUnreachable, match=expected):
        list(resumed(("w", MIB), source, "x", paused.append))
    assert len(source.asked) == times and len(paused) == times - 1
