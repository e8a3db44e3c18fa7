"""Secrets and private paths in any bytes: found, masked, and forgotten.

What tokens look like is in ``domain/token_forms.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias

from attrs import define, field

from weighbridge.domain.commands import commands
from weighbridge.domain.contents import Leak
from weighbridge.domain.escapes import WORDS, long_words, unescaped, unwrapped
from weighbridge.domain.home_paths import home_paths
from weighbridge.domain.strict_json import DIGITS_ALIKE
from weighbridge.domain.token_forms import DOTTED, PRIVATE_KEY, TOKENS

#: What every token begins with, whose letters and number rule out most words at once.
_FIRST, _MORE = b"".join({prefix[:1] for prefix, _, _ in TOKENS}), rb"[\w+/=-]{12}"


def _any_of(forms: Iterable[tuple[bytes, bytes]]) -> bytes:
    """One of (prefix, form), by their first letters."""
    by_letter: dict[bytes, list[bytes]] = {}
    for prefix, form in forms:
        by_letter.setdefault(prefix[:1], []).append(form[1:])
    parts = (letter + b"(?:%s)" % b"|".join(each) for letter, each in by_letter.items())
    return b"(?:%s)" % b"|".join(parts)


_WHAT = {prefix: what for prefix, what, _ in TOKENS}
#: Each with the sign before it, which is found sooner than a place behind none.
_BEGUN = re.compile(
    b"[^A-Za-z0-9](?=(%s))"
    % _any_of((prefix, re.escape(prefix)) for prefix in sorted(_WHAT, reverse=True))
)
_TOKEN = re.compile(
    b"[^A-Za-z0-9](?=[%s]%s)%s"
    % (_FIRST, _MORE, _any_of((prefix, form) for prefix, _, form in TOKENS))
)
#: What stands between a name and its value: in configs, scripts and calls of Python, and in the
#: lists of Kubernetes.
_IS = rb"[\"']?\]?[ \t]{0,4}(?:[=:,]|[\"',\s]{1,40}value[\"']?[ \t]{0,4}[=:])\s{0,4}[\"']?"
_ASSIGNED = re.compile(
    rb"(?i)(aws_secret_access_key|secret_?access_?key|wandb[_-]?(?:api[_-]?)?key)(?:%s|[ \t]{1,4})"
    rb"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])" % _IS
)
#: A variable or key whose name says what its value is, as in a .env or a script.
_NAMED = re.compile(
    rb"(?i)(?<![A-Za-z0-9])([A-Z0-9]{0,24}[_-]?(?:(?:access|auth|api|hf|hub)[_-]?token"
    rb"|(?:api|secret)[_-]?key|client[_-]?secret|auth))%s"
    rb"([A-Za-z0-9+/_-]{24,200})(?![A-Za-z0-9+/_.({\[-])" % _IS
)
#: The names of those three, in small letters and without what may join their words.
_NAMES_SQUEEZED = {
    b"key": (b"api", b"secret", b"access", b"wandb"),
    b"token": (b"access", b"auth", b"api", b"hf", b"hub"),
    b'auth"': (b"",),
    b"auth=": (b"",),
    b"authorization": (b"",),
    b"secret": (b"client",),
}
_HEADER = re.compile(
    rb"(?i)(authorization)[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?:bearer|basic|token)\s{1,4}"
    rb"([\w.~+/-]{24,400})"
)
#: A password is of any form, and so may be what follows the word in a sentence.
_PASSWORD = re.compile(
    rb"(?i:passw(?:or)?d)[\"']?[ \t]{0,4}[=:][ \t]{0,4}([\"']?)(?=\S{0,63}\d)(?=\S{0,63}[A-Za-z])"
    rb"([^\s\"'<>{}()\[\]$%*`,;]{8,64})(?=[\"'\s,;]|$)"
)
_KAGGLE = re.compile(
    rb"\"username\"\s{0,4}:\s{0,4}\"[^\"]{1,64}\",\s{0,4}\"key\"\s{0,4}:\s{0,4}\"[0-9a-f]{32}\""
)
_NETRC = re.compile(
    rb"\bmachine\s{1,4}(?!\S{0,64}example)\S{1,128}\s{1,8}login\s{1,4}\S{1,128}\s{1,8}password\s{1,4}"
    rb"([^\s<>{}()\[\]\"'`$*%]{6,200})(?!\S)"
)
_LOGIN = re.compile(
    rb"wandb[ .]login[ (](?:--\w{1,16} ){0,2}(?:key=)?[\"']?[0-9a-f]{40}(?![A-Za-z0-9])"
)
_CREDENTIALS = re.compile(
    rb"(?i)(?<![a-z0-9])([a-z][a-z0-9+.-]{1,20}://)[^\s:/@'\"<>${}\[\]]{0,64}:([^\s:/@'\"<>${}\[\]]{8,128})"
    rb"@(?!localhost|127\.|(?:[\w-]{1,64}\.){0,4}example\.|host(?![\w.]))[\w.-]{1,128}"
)
_EVERY_DAY = re.compile(rb"(?i)(my)?_?(pass(word|wd|phrase)?|secret|token|key)[_-]?\d{0,4}")
_MANY_SIGNS = 11
#: No word of a name in a program is as long.
_LONG_WORD = 12
_PLACEHOLDER = re.compile(rb"(?i)example|your|placeholder|x{6}|\*{4}|^[x0*._-]*$")

_RUN = re.compile(rb"wandb\.ai/[\w.-]{1,64}/[\w.-]{1,64}/runs/\w{4,64}")
_BEFORE_AT = re.compile(rb"[A-Za-z0-9._+-]{1,64}\Z")
_AFTER_AT = re.compile(rb"@(?:[A-Za-z0-9-]{1,63}\.){1,4}([A-Za-z]{2,24})(?![A-Za-z0-9-])")
_INNER_HOST = re.compile(
    rb"https?://(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}"
    rb"|https?://[\w.-]{1,128}\.(?:local|internal|intranet|lan|corp)(?![\w.-])"
)
_NO_MAIL = frozenset(b"png jpg jpeg svg gif py js ts md json webp".split())
_FOR_ANYBODY = re.compile(rb"(?i)^git@|@(?:[\w-]+\.)*example\.|noreply|no-reply|your|name@|user@")

#: No secret is without a word so long, and a vocabulary has few.
_LEAST = 16
_RUN_OF_SECRETS = b"x" * _LEAST
#: Bytes for each long word. Where there are more words, all of a text is searched at once.
_SPARSE = 100
#: Where distinct entries are at least so much of a text, all of it is searched at once.
_DENSE = 4
#: Signs that most texts are without, the rarest first. One sign is found fifty times faster than
#: two, so a text without it is known at once to be without what has it.
_RARE = b"~\\&%@=/QKUGPASx:"
_OVERLAP = 16384
#: What has several lines, as a login in a .netrc, has no more than so many bytes.
_ACROSS_LINES = 640
_MOST_OF_A_KIND = 20
_MOST_AT_ONCE = 50
_MOST_TRIED = 4096
#: Offset, the rule's code, what it is, masked.
_Hit: TypeAlias = tuple[int, str, str, str]
_Search: TypeAlias = Callable[[bytes], Iterator[_Hit]]


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
        plain = unescaped(text)
        if not self.closely or _says_anything(plain, self._searches):
            self._scan(plain)
        whole = text.rfind(b"\n", 0, max(0, len(text) - _ACROSS_LINES)) + 1
        kept = max(whole, len(text) - _OVERLAP)
        self._line += text.count(b"\n", 0, kept)
        self._rest = text[kept:]

    def _scan(self, text: bytes) -> None:
        # Of each search only so many: a file full of them is no better known for its thousandth.
        for search in self._searches:
            for at, code, what, masked in islice(search(text), _MOST_AT_ONCE):
                if self._count.get(what, 0) < _MOST_OF_A_KIND:
                    self._add(code, self._where(text, at), what, masked)

    @property
    def _searches(self) -> tuple[_Search, ...]:
        return (*_SEARCHES, *((_close, self._commands) if self.closely else ()))

    def _commands(self, text: bytes) -> Iterator[_Hit]:
        for at, what in commands(text, calls=self.place != "line"):
            yield at, "FS021", what, "not shown"

    def _where(self, text: bytes, at: int) -> str:
        if self.place != "line":
            return self.place
        return "line {}".format(self._line + text.count(b"\n", 0, at))

    def _add(self, code: str, place: str, what: str, masked: str) -> None:
        key = (place, what, masked)
        if key not in self._seen:
            self._seen[key] = Leak(code, self.path, place, what, masked)
            self._count[what] = self._count.get(what, 0) + 1


def _says_anything(text: bytes, searches: Iterable[_Search]) -> bool:
    """False if there is nothing in a text that says the same again and again, as an index does.

    Most of its ten thousand entries differ in the numbers of layers and shards alone, and one of
    each form is looked at: nobody's secret differs from another entry in its digits alone.
    """
    alike = text.translate(DIGITS_ALIKE).split(b",")
    once = b",".join(dict(zip(alike, text.split(b","), strict=True)).values())
    if len(once) * _DENSE > len(text):
        return True
    return any(True for search in searches for _ in search(once))


def _holds(text: bytes, needle: bytes) -> bool:
    """``needle in text``, sooner."""
    rare = next((sign for sign in _RARE if sign in needle), needle[0])
    return rare in text and needle in text


def _keys(text: bytes) -> Iterator[_Hit]:
    if _holds(text, b"PRIVATE KEY") or _holds(text, b"PuTTY"):
        for match in PRIVATE_KEY.finditer(text):
            yield match.start(), "SC002", "a private key", "-----BEGIN … PRIVATE KEY-----"
    if _RUN_OF_SECRETS not in text.translate(WORDS):
        return
    for needle, what, form, masked in DOTTED:
        if _holds(text, needle):
            for match in form.finditer(text):
                yield match.start(), "SC002", what, masked


def _runs(text: bytes) -> Iterator[_Hit]:
    if b"wandb.ai" in text:
        for match in _RUN.finditer(text):
            yield match.start(), "SC005", "a run of Weights & Biases", "wandb.ai/***"


def _tokens(text: bytes) -> Iterator[_Hit]:
    whole = b"\n" + text
    for match in _candidates(whole):
        begun = _BEGUN.match(whole, match.start())
        if begun is not None and not _PLACEHOLDER.search(match[0][1 + len(begun[1]) :]):
            yield match.start(), "SC002", _WHAT[begun[1]], f"{begun[1].decode()}***"


def _candidates(text: bytes) -> Iterator[re.Match[bytes]]:
    """What looks like a token. What stands for one may go on with one."""
    flat, at = text.translate(WORDS), 0
    if flat.count(_RUN_OF_SECRETS) * _SPARSE > len(text):
        while (match := _TOKEN.search(text, at)) is not None:
            yield match
            at = match.start() + 1
        return
    for start, end in long_words(flat, _LEAST):
        for begun in _BEGUN.finditer(text, start - 1, end):
            if (match := _TOKEN.match(text, begun.start())) is not None:
                yield match


def _wrapped(text: bytes) -> Iterator[_Hit]:
    """What base64 hides: the same, once more."""
    found = unwrapped(text)
    if found is not None:
        for at, code, what, masked in chain(_tokens(found.text), _keys(found.text)):
            yield found.place(at), code, f"{what}, in base64", masked


def _homes(text: bytes) -> Iterator[_Hit]:
    for at, what, masked in home_paths(text):
        yield at, "SC003", what, masked


def _is_random(value: bytes) -> bool:
    """True for what nobody would write by hand: letters and digits, of many kinds and no words."""
    kinds = re.search(rb"\d", value) and re.search(rb"[A-Za-z]", value)
    if not kinds or len(set(value)) < _MANY_SIGNS or _PLACEHOLDER.search(value):
        return False
    return max(map(len, re.split(rb"[_-]", value))) >= _LONG_WORD


def _assigned(text: bytes) -> Iterator[_Hit]:
    for form in (_ASSIGNED, _NAMED, _HEADER):
        for match in form.finditer(text):
            if _is_random(match[2]):
                yield match.start(), "SC002", "a secret key", f"{match[1].decode()}=***"


def _passwords(text: bytes) -> Iterator[_Hit]:
    found = [(match.start(), match[1]) for match in _NETRC.finditer(text)]
    for match in _PASSWORD.finditer(text):
        at = match.start()
        if match[1] or text[at : at + 4].isupper() or text[at - 1 : at] == b"_":
            found.append((at, match[2]))
    for at, value in found:
        if not _EVERY_DAY.fullmatch(value) and not _PLACEHOLDER.search(value):
            yield at, "SC002", "a password", "***"
    for match in _KAGGLE.finditer(text):
        yield match.start(), "SC002", "a Kaggle key", '"key": "***"'


def _addresses(text: bytes) -> Iterator[_Hit]:
    for match in _CREDENTIALS.finditer(text):
        if not _EVERY_DAY.fullmatch(match[2]) and not _PLACEHOLDER.search(match[2]):
            yield match.start(), "SC002", "a password in an address", f"{match[1].decode()}***"
    for match in _INNER_HOST.finditer(text):
        if not match[0].partition(b"//")[2].startswith(b"127."):
            yield match.start(), "SC004", "the address of an internal host", "http://***"


def _close(text: bytes) -> Iterator[_Hit]:
    if b"wandb" in text:
        for match in _LOGIN.finditer(text):
            yield match.start(), "SC002", "a Weights & Biases key", "wandb login ***"
    # A search for letters of either case is slow, and few files need it.
    small = text.lower()
    if b"passw" in small or b'"key"' in small:
        yield from _passwords(text)
    squeezed = small.translate(None, b"_-")
    if any(end in squeezed and any(name + end in squeezed for name in names)
           for end, names in _NAMES_SQUEEZED.items()):  # fmt: skip
        yield from _assigned(text)
    if _holds(text, b"://"):
        yield from _addresses(text)
    for after in islice(_AFTER_AT.finditer(text), _MOST_TRIED):
        before = _BEFORE_AT.search(text[max(0, after.start() - 64) : after.start()])
        whole = before[0] + after[0] if before else b""
        if whole and after[1].lower() not in _NO_MAIL and not _FOR_ANYBODY.search(whole):
            yield after.start(), "SC004", "an e-mail address", f"{whole[:1].decode()}***@***"


_SEARCHES = (_tokens, _keys, _wrapped, _homes, _runs)
