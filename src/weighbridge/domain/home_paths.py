"""Paths that tell whose machine a text comes from: macOS, Linux and Windows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

#: Offset, what it is, masked.
Found: TypeAlias = tuple[int, str, str]

_NAME = rb"([\w.\x80-\xff-]{1,64})(?![\w.\x80-\xff-])"
_HOME = re.compile(rb"/(?:Users|home)/" + _NAME)
#: The beginning of a path, or where some systems keep everybody's home or the whole of another one.
_BEFORE_HOME = re.compile(
    rb"(?:(?<![\w./~])|(?<=file://))(?:/(?:mnt|cygdrive|[a-z]|System|Volumes|export|nfs|net|data"
    rb"|usr|var|work|cluster|gpfs|lustre|scratch|storage|shared?)(?:/[\w.-]{1,32}){0,2})?\Z"
)
_WITHIN = re.compile(rb"[\w.]")
_DISK = re.compile(rb"(?<![\w./~])(?:/private)?/(?:Volumes|var/folders)/" + _NAME)
_DRIVE = re.compile(rb"(?<![A-Za-z])[A-Za-z]:(?:\\{1,4}|/)\Z")
_WINDOWS_HOME = re.compile(rb"[Uu]sers(?:\\{1,4}|/)([^\\/:*?\"<>|\r\n]{1,64})")
#: Names that stand for anybody's, and accounts of build machines.
_NOBODY = frozenset(
    b"user username users you yourname your_name your-name yourusername name me someone shared "
    b"public guest default runner runneradmin vscode jovyan <user> ... xxx foo bar".split()
)
_MOST_TRIED = 4096


def home_paths(text: bytes) -> Iterator[Found]:
    """Every path below somebody's home, or on a disk of somebody's; hostile text stays linear."""
    for needle in (b"/home/", b"/Users/", b"Users", b"users"):
        at, tried = text.find(needle) if needle in text else -1, 0
        while at >= 0 and tried < _MOST_TRIED:
            tried += 1
            below = text[at - 1 : at] in (b"/", b"\\")
            drive = _DRIVE.search(text[max(0, at - 7) : at]) if below else None
            if drive is not None:
                yield from _private(text, at - len(drive[0]), _WINDOWS_HOME.match(text, at))
            elif needle[:1] == b"/" and _is_beginning(text, at):
                yield from _private(text, at, _HOME.match(text, at))
            at = text.find(needle, at + 1)
    for needle in (b"/Volumes/", b"/var/folders/"):
        if needle in text:
            for match in _DISK.finditer(text):
                yield from _private(text, match.start(), match, "a path of somebody's Mac")


def _is_beginning(text: bytes, at: int) -> bool:
    """Whether a path begins there, or what comes before it is no place of its own."""
    before = text[at - 1 : at]
    if before in (b"/", b"~"):
        return text.endswith(b"file://", 0, at)
    if _WITHIN.match(before) is None:
        return True
    return _BEFORE_HOME.search(text[max(0, at - 96) : at]) is not None


def _private(
    text: bytes, begin: int, match: re.Match[bytes] | None, what: str = "a home directory"
) -> Iterator[Found]:
    if match is not None and match[1].lower() not in _NOBODY:
        shown = text[begin : match.start(1) + 1].decode("latin-1")
        yield begin, what, f"{shown}***"
