"""Misbehaviour on demand.

Decides what can go wrong with one request, independently of what the request is: how late the
answer comes, whether the work is done, and what becomes of the answer. Several injected faults
that match the same request act together.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["drop", "cut"]
_FOR_EVER = 86400.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What to do to the requests whose method and quoted path with query match.

    ``times`` requests are hit (``None``: all) after ``skip`` were let through. ``status``
    answers with an error, ``end`` "drop" closes the connection without an answer and "cut"
    closes it after half of the body. With ``applied`` the work is done all the same; ``late`` is
    how many seconds after the connection was closed.
    ``corrupt`` makes a commit store other bytes for the paths that match it, so that the tree
    shows another digest (and, with ``grow``, another size) than was sent. ``drip`` is the pause
    after each byte of the answer's body, ``endless`` the one between the lines of a head that never
    ends, and ``deaf`` leaves the request's body on the line.
    ``body`` stands in the place of the answer's, and so does what ``rewrite`` makes of its JSON.
    """

    path: str = ""
    method: str = ""
    times: int | None = 1
    skip: int = 0
    delay: float = 0.0
    status: int | None = None
    message: str = "injected fault"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    end: End | None = None
    applied: bool = False
    late: float = 0.0
    corrupt: str | None = None
    grow: bool = False
    drip: float = 0.0
    endless: float = 0.0
    deaf: bool = False
    body: bytes | None = None
    rewrite: Callable[[Any], Any] | None = None

    @classmethod
    def refuse(cls, status: int, path: str = "", method: str = "", times: int | None = 1) -> Fault:
        """Answer with an error status and do nothing."""
        return cls(path=path, method=method, times=times, status=status)

    @classmethod
    def rate_limit(
        cls, seconds: int, path: str = "", method: str = "", times: int | None = 1
    ) -> Fault:
        """Answer 429 and say, with the Hub's headers, when to come back."""
        headers = {
            "RateLimit": f'"api";r=0;t={seconds}',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
            "Retry-After": str(seconds),
        }
        return cls(path=path, method=method, times=times, status=429, headers=headers)

    @classmethod
    def slow(cls, seconds: float, path: str = "", method: str = "", times: int | None = 1) -> Fault:
        """Wait before doing the work."""
        return cls(path=path, method=method, times=times, delay=seconds)

    @classmethod
    def unreachable(cls, path: str = "", method: str = "", times: int | None = 1) -> Fault:
        """Close the connection before doing any work."""
        return cls(path=path, method=method, times=times, end="drop")

    @classmethod
    def hangs(cls, path: str = "", method: str = "", times: int | None = None) -> Fault:
        """Take the request, and then neither work nor answer nor close the connection."""
        return cls(path=path, method=method, times=times, delay=_FOR_EVER, end="drop")

    @classmethod
    def trickles(cls, path: str = "", method: str = "", times: int | None = None) -> Fault:
        """Do the work, and answer byte by byte."""
        return cls(path=path, method=method, times=times, drip=0.05)

    @classmethod
    def never_begins(cls, path: str = "", method: str = "", times: int | None = None) -> Fault:
        """Do the work, and send one line of the answer's head after the other, without end."""
        return cls(path=path, method=method, times=times, endless=0.05)

    @classmethod
    def never_reads(cls, path: str = "", method: str = "", times: int | None = None) -> Fault:
        """Take the request's head, and nothing of its body."""
        return cls(path=path, method=method, times=times, deaf=True, end="drop")

    @classmethod
    def lost_answer(cls, path: str = "", method: str = "", times: int | None = 1) -> Fault:
        """Do the work, then close the connection without an answer."""
        return cls(path=path, method=method, times=times, end="drop", applied=True)

    @classmethod
    def late_work(cls, seconds: float, path: str = "", method: str = "") -> Fault:
        """Close the connection without an answer, and do the work some time after that."""
        return cls(path=path, method=method, end="drop", applied=True, late=seconds)

    @classmethod
    def cut_answer(cls, path: str = "", method: str = "", times: int | None = 1) -> Fault:
        """Do the work, then close the connection in the middle of the body."""
        return cls(path=path, method=method, times=times, end="cut", applied=True)

    @classmethod
    def wrong_bytes(cls, files: str = "", *, grow: bool = False) -> Fault:
        """Commit other bytes than were sent for the files that match."""
        return cls(path="/commit/", method="POST", corrupt=files, grow=grow)

    def spoken(self, answer: bytes) -> bytes:
        """The body of an answer, as this server says it."""
        if self.body is not None or self.rewrite is None:
            return answer if self.body is None else self.body
        return json.dumps(self.rewrite(json.loads(answer))).encode()

    def matches(self, method: str, target: str) -> bool:
        """Whether this fault is about that request."""
        right_method = self.method in ("", method)
        return right_method and re.search(self.path, target) is not None

    def corrupts(self, path: str) -> bool:
        """Whether a commit stores other bytes for this file."""
        return self.corrupt is not None and re.search(self.corrupt, path) is not None

    def spoil(self, content: bytes) -> bytes:
        """Other bytes than these, of the same size unless ``grow``."""
        if self.grow or not content:
            return content + b"\0"
        return content[:-1] + bytes([content[-1] ^ 0xFF])


class Injection:
    """A fault at work; ``hits`` counts the requests it has struck."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0

    def strikes(self, method: str, target: str) -> bool:
        """Count a request and say whether the fault applies to it."""
        if not self.fault.matches(method, target):
            return False
        self.seen += 1
        times = self.fault.times
        if self.seen <= self.fault.skip or (times is not None and self.hits >= times):
            return False
        self.hits += 1
        return True


class FaultPlan:
    """The injected faults of one server, safe to use from its threads."""

    def __init__(self) -> None:
        self._injections: list[Injection] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> Injection:
        """Add a fault and return the handle that counts its hits."""
        injection = Injection(fault)
        with self._lock:
            self._injections.append(injection)
        return injection

    def clear(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._injections.clear()

    def take(self, method: str, target: str) -> tuple[Fault, ...]:
        """The faults that strike this request."""
        with self._lock:
            return tuple(each.fault for each in self._injections if each.strikes(method, target))


def refusal(faults: Iterable[Fault]) -> Fault | None:
    """The first fault that answers with an error."""
    return next((fault for fault in faults if fault.status is not None), None)


def ending(faults: Iterable[Fault]) -> End | None:
    """What becomes of the connection: a drop wins over a cut."""
    ends = {fault.end for fault in faults}
    if "drop" in ends:
        return "drop"
    return "cut" if "cut" in ends else None


def prevents_work(faults: Iterable[Fault]) -> bool:
    """Whether some fault keeps the request from being carried out."""
    return any(
        not fault.applied and (fault.status is not None or fault.end == "drop") for fault in faults
    )
