"""Secrets and private paths in any bytes: found, masked, and forgotten.

The forms of tokens are what their issuers document, as collected in the rules of gitleaks 8
(https://github.com/gitleaks/gitleaks, MIT). detect-secrets 1.5 was tried in place of this table: it
knows no Hugging Face token, takes 0.4 s to import and 3 s for 20,000 lines of a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import TypeAlias

from attrs import define, field

from weighbridge.domain.contents import Leak

#: prefix -> (what it is, the whole form). Lengths are bounded, so that hostile text stays linear.
_TOKENS: tuple[tuple[bytes, str, bytes], ...] = (
    (b"hf_", "a Hugging Face token", rb"hf_[A-Za-z0-9]{30,64}(?![A-Za-z0-9])"),
    (b"api_org_", "a Hugging Face organisation token", rb"api_org_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    (b"AKIA", "an AWS access key", rb"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ASIA", "an AWS access key", rb"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ghp_", "a GitHub token", rb"ghp_[A-Za-z0-9]{36,255}"),
    (b"gho_", "a GitHub token", rb"gho_[A-Za-z0-9]{36,255}"),
    (b"ghu_", "a GitHub token", rb"ghu_[A-Za-z0-9]{36,255}"),
    (b"ghs_", "a GitHub token", rb"ghs_[A-Za-z0-9]{36,255}"),
    (b"ghr_", "a GitHub token", rb"ghr_[A-Za-z0-9]{36,255}"),
    (b"github_pat_", "a GitHub token", rb"github_pat_\w{36,255}"),
    (b"glpat-", "a GitLab token", rb"glpat-[\w-]{20,255}"),
    (b"sk-", "an API key of OpenAI's form",
     rb"sk-(?:(?:proj|svcacct|admin|ant|or)-[\w-]{20,255}|[A-Za-z0-9]{32,255}"
     rb"|(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{20,31})(?![A-Za-z0-9])"),
    (b"xox", "a Slack token", rb"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    (b"xapp-", "a Slack token", rb"xapp-\d-[A-Za-z0-9-]{10,255}"),
    (b"AIza", "a Google API key", rb"AIza[\w-]{35}(?![\w-])"),
    (b"GOCSPX-", "a Google client secret", rb"GOCSPX-[\w-]{28}(?![\w-])"),
    (b"sk_live_", "a Stripe key", rb"sk_live_[A-Za-z0-9]{16,128}"),
    (b"rk_live_", "a Stripe key", rb"rk_live_[A-Za-z0-9]{16,128}"),
    (b"npm_", "an npm token", rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    (b"pypi-AgEI", "a PyPI token", rb"pypi-AgEI[\w-]{50,255}"),
    (b"r8_", "a Replicate token", rb"r8_[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    (b"gsk_", "a Groq API key", rb"gsk_[A-Za-z0-9]{40,64}(?![A-Za-z0-9])"),
    (b"eyJ", "a JSON web token",
     rb"eyJ[\w-]{10,4096}\.eyJ[\w-]{10,4096}\.[\w-]{10,4096}"),
)  # fmt: skip
_FORMS = {prefix: (what, re.compile(form)) for prefix, what, form in _TOKENS}
_PREFIX = re.compile(b"|".join(map(re.escape, sorted(_FORMS, reverse=True))))
_JOINT = re.compile(rb"[-_](?=[A-Za-z])")
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d"
)
_WEBHOOK = re.compile(rb"hooks\.slack\.com/services/T\w{1,64}/B\w{1,64}/\w{8,64}")
_ASSIGNED = re.compile(
    rb"(?i)(aws_secret_access_key|secret_access_key|wandb_api_key)[\"']?\s{0,4}[=:]\s{0,4}[\"']?"
    rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"
)
_PLACEHOLDER = re.compile(rb"(?i)example|your|placeholder|x{6}|\*{4}|^[x0*._-]*$")

_HOME = re.compile(rb"(?<![\w.])/(?:Users|home)/([\w.-]{1,64})(?=[/\"'\s\\]|$)")
_DRIVE = re.compile(rb"(?<![A-Za-z])[A-Za-z]:(?:\\{1,4}|/)\Z")
_WINDOWS_HOME = re.compile(rb"Users(?:\\{1,4}|/)([^\\/:*?\"<>|\r\n]{1,64})")
#: Names that stand for anybody's, and accounts of build machines.
_NOBODY = frozenset(
    b"user username users you yourname your_name your-name yourusername name me someone shared "
    b"public guest default runner runneradmin vscode jovyan <user> ... xxx foo bar".split()
)
_RUN = re.compile(rb"wandb\.ai/[\w.-]{1,64}/[\w.-]{1,64}/runs/\w{4,64}")
_BEFORE_AT = re.compile(rb"[A-Za-z0-9._+-]{1,64}\Z")
_AFTER_AT = re.compile(rb"@(?:[A-Za-z0-9-]{1,63}\.){1,4}([A-Za-z]{2,24})(?![A-Za-z0-9-])")
_INNER_HOST = re.compile(
    rb"https?://(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}"
    rb"|https?://[\w.-]{1,128}\.(?:local|internal|intranet|lan|corp)(?![\w.-])"
)
_NO_MAIL = frozenset(b"png jpg jpeg svg gif py js ts md json webp".split())
_FOR_ANYBODY = re.compile(rb"(?i)^git@|@(?:[\w-]+\.)*example\.|noreply|no-reply|your|name@|user@")

# Characters of tokens become x: no secret is without a run of them, and a vocabulary has few.
_FLAT = bytes(
    0x78 if chr(c).isascii() and (chr(c).isalnum() or chr(c) in "_-") else 0x20 for c in range(256)
)
_RUN_OF_SECRETS = b"x" * 16
_ESCAPED = re.compile(rb"\\u00([2-7][0-9A-Fa-f])|\\/")
_OVERLAP = 16384
_MOST_OF_A_KIND = 20
_MOST_AT_ONCE = 50
_MOST_TRIED = 4096
#: Offset, the rule's code, what it is, masked.
_Hit: TypeAlias = tuple[int, str, str, str]


@define
class LeakScanner:
    """Looks through one file, chunk by chunk; ``found`` is what it saw.

    ``closely`` is for small texts that people write: e-mail addresses and assignments, too.
    """

    path: str
    place: str = "line"
    closely: bool = False
    _seen: dict[tuple[str, str, str], Leak] = field(factory=dict, init=False)
    _count: dict[str, int] = field(factory=dict, init=False)
    _rest: bytes = field(default=b"", init=False)
    _line: int = field(default=1, init=False)

    @property
    def found(self) -> tuple[Leak, ...]:
        """In the order of the file."""
        return tuple(self._seen.values())

    def feed(self, chunk: bytes) -> None:
        """The next bytes. What a chunk's end cuts is looked at again with the next."""
        text = self._rest + chunk
        self._scan(_unescaped(text))
        kept = max(text.rfind(b"\n") + 1, len(text) - _OVERLAP)
        self._line += text.count(b"\n", 0, kept)
        self._rest = text[kept:]

    def _scan(self, text: bytes) -> None:
        # Of each search only so many: a file full of them is no better known for its thousandth.
        for search in (_tokens, _keys, _homes, _runs, *((_close,) if self.closely else ())):
            for at, code, what, masked in islice(search(text), _MOST_AT_ONCE):
                if self._count.get(what, 0) < _MOST_OF_A_KIND:
                    self._add(code, self._where(text, at), what, masked)

    def _where(self, text: bytes, at: int) -> str:
        if self.place != "line":
            return self.place
        return "line {}".format(self._line + text.count(b"\n", 0, at))

    def _add(self, code: str, place: str, what: str, masked: str) -> None:
        key = (place, what, masked)
        if key not in self._seen:
            self._seen[key] = Leak(code, self.path, place, what, masked)
            self._count[what] = self._count.get(what, 0) + 1


def _unescaped(text: bytes) -> bytes:
    """JSON may write any character by its number, and a slash with another before it."""
    if b"\\u00" not in text and b"\\/" not in text:
        return text
    return _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else b"/", text)


def _keys(text: bytes) -> Iterator[_Hit]:
    if b"PRIVATE KEY" in text or b"PuTTY" in text:
        for match in _PRIVATE_KEY.finditer(text):
            yield match.start(), "SC002", "a private key", "-----BEGIN … PRIVATE KEY-----"
    if b"hooks.slack.com" in text:
        for match in _WEBHOOK.finditer(text):
            yield match.start(), "SC002", "a Slack webhook", "hooks.slack.com/services/***"


def _runs(text: bytes) -> Iterator[_Hit]:
    if b"wandb.ai" in text:
        for match in _RUN.finditer(text):
            yield match.start(), "SC005", "a run of Weights & Biases", "wandb.ai/***"


def _tokens(text: bytes) -> Iterator[_Hit]:
    if not any(prefix in text for prefix in _FORMS):
        return
    flat = text.translate(_FLAT)
    start = flat.find(_RUN_OF_SECRETS)
    while start >= 0:
        end = flat.find(b" ", start)
        end = len(text) if end < 0 else end
        # A token begins its run, or stands behind a joint.
        joints = (joint.end() for joint in _JOINT.finditer(text, start, end))
        for at in chain((start,), islice(joints, _MOST_TRIED)):
            prefix = _PREFIX.match(text, at)
            # A web token only begins a run: tried elsewhere, hostile text would take for ever.
            if prefix is not None and (at == start or prefix[0] != b"eyJ"):
                yield from _token(text, at, prefix[0])
        start = flat.find(_RUN_OF_SECRETS, end)


def _token(text: bytes, at: int, prefix: bytes) -> Iterator[_Hit]:
    what, form = _FORMS[prefix]
    match = form.match(text, at)
    if match is not None and not _PLACEHOLDER.search(match[0][len(prefix) :]):
        yield at, "SC002", what, f"{prefix.decode()}***"


def _homes(text: bytes) -> Iterator[_Hit]:
    for needle in (b"/home/", b"/Users/", b"Users"):
        at, tried = text.find(needle), 0
        while at >= 0 and tried < _MOST_TRIED:
            tried += 1
            begin, match = at, _HOME.match(text, at)
            drive = _DRIVE.search(text[max(0, at - 7) : at]) if needle == b"Users" else None
            if drive is not None:
                begin, match = at - len(drive[0]), _WINDOWS_HOME.match(text, at)
            if match is not None and match[1].lower() not in _NOBODY:
                shown = text[begin : match.start(1) + 1].decode("latin-1")
                yield begin, "SC003", "a home directory", f"{shown}***"
            at = text.find(needle, at + 1)


def _close(text: bytes) -> Iterator[_Hit]:
    lower = text.lower()  # a search for letters of either case is slow, and few files need it
    named = b"secret_access_key" in lower or b"wandb_api_key" in lower
    for match in _ASSIGNED.finditer(text) if named else ():
        yield match.start(), "SC002", "a secret key", f"{match[1].decode()}=***"
    for match in _INNER_HOST.finditer(text) if b"://" in text else ():
        if not match[0].partition(b"//")[2].startswith(b"127."):
            yield match.start(), "SC004", "the address of an internal host", "http://***"
    for after in islice(_AFTER_AT.finditer(text), _MOST_TRIED):
        before = _BEFORE_AT.search(text[max(0, after.start() - 64) : after.start()])
        whole = before[0] + after[0] if before else b""
        if whole and after[1].lower() not in _NO_MAIL and not _FOR_ANYBODY.search(whole):
            yield after.start(), "SC004", "an e-mail address", f"{whole[:1].decode()}***@***"
