"""Several at a time: the order of what comes, and what a failure or an interrupt leaves."""

from __future__ import annotations

import threading

import pytest

from weighbridge.application.several import AT_ONCE, SMALL, at_once, of_files
from weighbridge.domain.artifact import ArtifactPath, ManifestEntry


def test_several_are_at_work_and_what_they_make_is_in_order() -> None:
    meet = threading.Barrier(AT_ONCE, timeout=20)

    def work(number: int) -> int:
        meet.wait()
        return number * number

    assert at_once(work, range(2 * AT_ONCE)) == [n * n for n in range(2 * AT_ONCE)]


def test_after_a_failure_nothing_more_is_begun() -> None:
    begun = list[int]()

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match=r"[0-9]"):
        at_once(work, range(100))
    assert len(begun) <= AT_ONCE


def test_an_interrupt_does_not_wait_for_who_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.application.several._GRACE", 0.01)
    silent, joined = threading.Event(), threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if timeout is None:
            raise KeyboardInterrupt
        joined(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        at_once(lambda _: silent.wait(60), range(3))
    silent.set()


def test_what_is_large_goes_alone() -> None:
    entries = [
        ManifestEntry(ArtifactPath(f"{n}"), size, ())
        for n, size in enumerate((SMALL + 1, 1, SMALL + 2, SMALL))
    ]
    here, lock = list[str](), threading.Lock()

    def work(entry: ManifestEntry) -> str:
        with lock:
            here.append(threading.current_thread().name)
        return entry.path.text

    assert of_files(work, entries) == ["0", "1", "2", "3"]
    assert here[-2:] == [threading.current_thread().name] * 2
    assert threading.current_thread().name not in here[:2]
