"""Logins where none belongs: in the words that name a destination, a revision or a tag, and in the
message of a publication, which its history keeps.

They would be repeated in every message, in plans and in reports, and none is ever taken from there.
"""

from __future__ import annotations

import re

from weighbridge.domain.errors import UsageError
from weighbridge.domain.leaks import LeakScanner

_BEFORE_THE_HOST = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_WHERE = "a token is taken from HF_TOKEN, a login from docker's or the cloud's own configuration"


def require_no_login(text: str) -> None:
    """Raises UsageError, without showing it, if there is one in ``text``."""
    if _BEFORE_THE_HOST.search(text):
        scheme = text.partition("://")[0]
        raise UsageError(problem=f"there is a login in the {scheme}:// address; {_WHERE}")
    scanner = LeakScanner("", place="")
    scanner.feed(text.encode(errors="replace"))
    for found in scanner.found:
        if found.code == "SC002":
            raise UsageError(problem=f"{found.what} ({found.masked}) is no name; {_WHERE}")


def public_message(text: str) -> str:
    """``text`` if it can be the message of a publication. Raises UsageError if it is empty or holds
    a login, without showing that."""
    if not text.strip():
        raise UsageError(problem="the message is empty; leave --message out, or say something")
    try:
        require_no_login(text)
    except UsageError as error:
        problem = "there is a login in the message, which everybody reads who sees the model"
        raise UsageError(problem=problem) from error
    return text
