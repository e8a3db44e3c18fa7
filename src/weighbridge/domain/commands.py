"""What a text has its reader's machine run: commands that fetch a program, and markup that acts.

The texts of a model are seldom more than looked at; these are what somebody has in mind who wants
more than that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: (one of these is in it, what it is, the form)
_COMMANDS = tuple(
    (needles, what, re.compile(form))
    for needles, what, form in (
        ((b"curl", b"wget"), "a command that runs what it downloads",
         rb"(?:curl|wget)\b[^\n|;]{0,300}\|\s{0,4}(?:sudo\s{1,4})?(?:ba|z|da)?sh\b"
         rb"|\b(?:ba|z)?sh\s{1,4}(?:-c\s{1,4}[\"']?\$\(|<\()\s{0,4}(?:curl|wget)\b"),
        ((b"/dev/tcp/", b"nc "), "a command that gives a shell away",
         rb"/dev/tcp/\d|\bnc\s[^\n]{0,80}?-e\s{0,4}/"),
        ((b"owershell", b"owerShell", b"OWERSHELL"), "a command of PowerShell that nobody can read",
         rb"(?i)powershell[^\n]{0,80}?\s-e(?:nc|c|ncodedcommand)?\s{1,4}[A-Za-z0-9+/]{16}"),
        ((b"index-url",), "a package index that anybody on the way can replace",
         rb"--(?:extra-)?index-url[ =]{1,4}http://(?!localhost|127\.)"),
        ((b"<script", b"<SCRIPT", b"javascript:", b"onerror", b"onload"), "markup that acts",
         rb"(?i)<script\b|\b(?:href|src)=[\"']?javascript:|<\w[^>\n]{0,200}?\bon(?:error|load)\s{0,4}="),
    )
)  # fmt: skip
#: Calls of Python are common in a card, and in no metadata.
_CALLS = re.compile(
    rb"__import__\s{0,4}\(|\b(?:eval|exec)\s{0,4}\(|\bos\.(?:system|popen)\b|\bsubprocess\."
)


def commands(text: bytes, calls: bool = False) -> Iterator[tuple[int, str]]:
    """Where each begins, and what it is; with ``calls`` those of Python as well."""
    for needles, what, form in _COMMANDS:
        if any(needle in text for needle in needles):
            yield from ((match.start(), what) for match in form.finditer(text))
    if calls:
        yield from ((match.start(), "a call of Python") for match in _CALLS.finditer(text))
