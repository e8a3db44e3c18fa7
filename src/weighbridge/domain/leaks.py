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
    (b"ABIA", "an AWS access key", rb"ABIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ACCA", "an AWS access key", rb"ACCA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ABSK", "an AWS Bedrock key", rb"ABSK[A-Za-z0-9+/]{100,300}"),
    (b"LTAI", "an Alibaba access key", rb"LTAI[A-Za-z0-9]{20}(?![A-Za-z0-9])"),
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
    (b"sk_test_", "a Stripe key", rb"sk_test_[A-Za-z0-9]{16,128}"),
    (b"sk_", "an ElevenLabs key", rb"sk_[0-9a-f]{48}(?![A-Za-z0-9])"),
    (b"pplx-", "a Perplexity API key", rb"pplx-[A-Za-z0-9]{48}(?![A-Za-z0-9])"),
    (b"xai-", "an xAI API key", rb"xai-[A-Za-z0-9]{70,90}(?![A-Za-z0-9])"),
    (b"nvapi-", "an NVIDIA API key", rb"nvapi-[\w-]{50,80}(?![\w-])"),
    (b"wandb_v1_", "a Weights & Biases key", rb"wandb_v1_[\w-]{60,120}"),
    (b"pcsk_", "a Pinecone key", rb"pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{50,80}"),
    (b"lsv2_", "a LangSmith key", rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    (b"rpa_", "a RunPod key", rb"rpa_[A-Za-z0-9]{40,50}(?![A-Za-z0-9])"),
    (b"tvly-", "a Tavily key", rb"tvly-(?:dev-|prod-)?[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    (b"KGAT_", "a Kaggle token", rb"KGAT_[0-9a-f]{32}(?![A-Za-z0-9])"),
    (b"dop_v1_", "a DigitalOcean token", rb"dop_v1_[a-f0-9]{64}"),
    (b"doo_v1_", "a DigitalOcean token", rb"doo_v1_[a-f0-9]{64}"),
    (b"dor_v1_", "a DigitalOcean token", rb"dor_v1_[a-f0-9]{64}"),
    (b"dapi", "a Databricks token", rb"dapi[a-f0-9]{32}(?![A-Za-z0-9])"),
    (b"dckr_pat_", "a Docker Hub token", rb"dckr_pat_[\w-]{27}(?![\w-])"),
    (b"ntn_", "a Notion token", rb"ntn_[A-Za-z0-9]{40,50}(?![A-Za-z0-9])"),
    (b"lin_api_", "a Linear key", rb"lin_api_[A-Za-z0-9]{40}(?![A-Za-z0-9])"),
    (b"PMAK-", "a Postman key", rb"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    (b"shpat_", "a Shopify token", rb"shpat_[a-fA-F0-9]{32}"),
    (b"shpss_", "a Shopify secret", rb"shpss_[a-fA-F0-9]{32}"),
    (b"HRKU-AA", "a Heroku key", rb"HRKU-AA[\w-]{58}"),
    (b"sbp_", "a Supabase token", rb"sbp_[a-f0-9]{40}(?![A-Za-z0-9])"),
    (b"pscale_", "a PlanetScale secret", rb"pscale_(?:tkn|pw|oauth)_[\w-]{32,64}"),
    (b"glsa_", "a Grafana token", rb"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    (b"glc_", "a Grafana token", rb"glc_[A-Za-z0-9+/]{32,400}"),
    (b"sntrys_", "a Sentry token", rb"sntrys_eyJ[\w+/=-]{80,400}"),
    (b"sntryu_", "a Sentry token", rb"sntryu_[a-f0-9]{64}"),
    (b"NRAK-", "a New Relic key", rb"NRAK-[A-Z0-9]{27}(?![A-Za-z0-9])"),
    (b"ATATT3", "an Atlassian token", rb"ATATT3[\w=-]{180,200}"),
    (b"figd_", "a Figma token", rb"figd_[\w-]{38,44}(?![\w-])"),
    (b"nfp_", "a Netlify token", rb"nfp_[A-Za-z0-9]{36,40}(?![A-Za-z0-9])"),
    (b"fo1_", "a Fly.io token", rb"fo1_[\w-]{43}(?![\w-])"),
    (b"ops_eyJ", "a 1Password token", rb"ops_eyJ[A-Za-z0-9+/]{250,4096}"),
    (b"AGE-SECRET-KEY-1", "a secret key of age", rb"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    (b"SK", "a Twilio key", rb"SK[0-9a-f]{32}(?![A-Za-z0-9])"),
    (b"key-", "a Mailgun key", rb"key-[0-9a-f]{32}(?![A-Za-z0-9])"),
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
#: What has a point or a slash within: (what every one has in it, what it is, the form, masked).
_DOTTED: tuple[tuple[bytes, str, re.Pattern[bytes], str], ...] = tuple(
    (needle, what, re.compile(form), masked)
    for needle, what, form, masked in (
        (b"hooks.slack.com", "a Slack webhook",
         rb"hooks\.slack\.com/services/T\w{1,64}/B\w{1,64}/\w{8,64}",
         "hooks.slack.com/services/***"),
        (b"/api/webhooks/", "a Discord webhook",
         rb"discord(?:app)?\.com/api/webhooks/\d{16,20}/[\w-]{60,72}",
         "discord.com/api/webhooks/***"),
        (b"SG.", "a SendGrid key", rb"(?<![\w.-])SG\.[\w-]{22}\.[\w-]{43}(?![\w-])", "SG.***"),
        (b"hvs.", "a Vault token", rb"(?<![\w.-])hvs\.[\w-]{90,120}", "hvs.***"),
        (b"dp.pt.", "a Doppler token", rb"(?<![\w.-])dp\.pt\.[A-Za-z0-9]{40,44}", "dp.pt.***"),
        (b".atlasv1.", "a Terraform token", rb"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}",
         "atlasv1.***"),
        (b"v1.0-", "a Cloudflare key", rb"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}", "v1.0-***"),
        (b"AccountKey=", "an Azure storage key", rb"AccountKey=[A-Za-z0-9+/]{86}==",
         "AccountKey=***"),
        (b"Q~", "an Azure client secret",
         rb"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~.-])", "Q~***"),
        (b":AA", "a Telegram bot token", rb"(?<![\w:])\d{8,10}:AA[\w-]{33}(?![\w-])", "***:AA***"),
    )
)  # fmt: skip
_ASSIGNED = re.compile(
    rb"(?i)(aws_secret_access_key|secret_access_key|wandb_api_key)[\"']?\s{0,4}[=:]\s{0,4}[\"']?"
    rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"
)
#: A variable or key whose name says what its value is, as in a .env or a script.
_NAMED = re.compile(
    rb"(?i)(?<![A-Za-z0-9])([A-Z0-9]{0,24}[_-]?(?:api[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token"
    rb"|client[_-]?secret|api[_-]?token|hf[_-]?token))[\"']?[ \t]{0,4}[=:][ \t]{0,4}[\"']?"
    rb"([A-Za-z0-9+/_-]{24,200})(?![A-Za-z0-9+/_.({\[-])"
)
#: The names of those three, in small letters and without what may join their words.
_NAMES_SQUEEZED = {
    b"key": (b"api", b"secret", b"access"),
    b"token": (b"access", b"auth", b"api", b"hf"),
    b"secret": (b"client",),
    b"authorization": (b"",),
}
_BEARER = re.compile(rb"(?i)(authorization)[\"']?\s{0,4}[=:]\s{0,4}[\"']?bearer\s{1,4}"
                     rb"([\w.~+/-]{24,400})")  # fmt: skip
_CREDENTIALS = re.compile(
    rb"(?i)(?<![a-z0-9])([a-z][a-z0-9+.-]{1,20}://)[^\s:/@'\"<>${}\[\]]{1,64}:([^\s:/@'\"<>${}\[\]]{8,128})"
    rb"@(?!localhost|127\.|(?:[\w-]{1,64}\.){0,4}example\.|host(?![\w.]))[\w.-]{1,128}"
)
_EVERY_DAY = re.compile(rb"(?i)pass(word|wd|phrase)?|secret|token|key")
_MANY_SIGNS = 11
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
#: What stands for one character: of JSON, Python and YAML, of HTML, of addresses and of Markdown.
_ESCAPED = re.compile(
    rb"\\(?:u00|x)([2-7][0-9A-Fa-f])|&#(?:[xX]([2-7][0-9A-Fa-f])|0?(4[5-9]|[5-9]\d|1[01]\d|12[0-2]));"
    rb"|%([57][0-9A-Fa-f]|[2346][0-9A-Fa-f])|\\([/_-])"
    rb"|(\xe2\x80[\x8b-\x8d]|\xe2\x81\xa0|\xef\xbb\xbf|\xc2\xad)"
)
#: Without one of these there is nothing to undo.
_PLAIN_ESCAPERS = (b"\\", b"&#", b"%")
_ESCAPERS = (*_PLAIN_ESCAPERS, b"\xe2\x80", b"\xe2\x81\xa0", b"\xef\xbb\xbf", b"\xc2\xad")
_ESCAPES = re.compile(
    rb"\\(?:u00|x[2-7]|[/_-])|&#|%[2-7]|\xe2\x80[\x8b-\x8d]|\xe2\x81\xa0|\xef\xbb\xbf|\xc2\xad"
)
#: Signs that most texts are without, the rarest first. One sign is found fifty times faster than
#: two, so a text without it is known at once to be without what has it.
_RARE = b"~\\&%@=/QKUGPASx:"
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


def _holds(text: bytes, needle: bytes) -> bool:
    """``needle in text``, sooner."""
    rare = next((sign for sign in _RARE if sign in needle), needle[0])
    return rare in text and needle in text


def _unescaped(text: bytes) -> bytes:
    """The characters that JSON, HTML, addresses and Markdown write by their numbers, or with
    another before them; without those that are not shown. Lines stay as they are."""
    escapers = _PLAIN_ESCAPERS if text.isascii() else _ESCAPERS
    if not any(_holds(text, escaper) for escaper in escapers) or not _ESCAPES.search(text):
        return text
    return _ESCAPED.sub(_character, text)


def _character(match: re.Match[bytes]) -> bytes:
    hexadecimal = match[1] or match[2] or match[4]
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    return bytes([int(match[3])]) if match[3] else match[5] or b""


def _keys(text: bytes) -> Iterator[_Hit]:
    if _holds(text, b"PRIVATE KEY") or _holds(text, b"PuTTY"):
        for match in _PRIVATE_KEY.finditer(text):
            yield match.start(), "SC002", "a private key", "-----BEGIN … PRIVATE KEY-----"
    for needle, what, form, masked in _DOTTED:
        if _holds(text, needle):
            for match in form.finditer(text):
                yield match.start(), "SC002", what, masked


def _runs(text: bytes) -> Iterator[_Hit]:
    if b"wandb.ai" in text:
        for match in _RUN.finditer(text):
            yield match.start(), "SC005", "a run of Weights & Biases", "wandb.ai/***"


def _tokens(text: bytes) -> Iterator[_Hit]:
    places = list(_long_words(text))
    words = {text[start:end] for start, end in places}
    together = b" ".join(words)
    if not any(prefix in together for prefix in _FORMS):
        return
    # An index names the same few shards ten thousand times: each word is tried once.
    beginnings = {word: list(_beginnings(word)) for word in words}
    for start, end in places:
        for at, prefix in beginnings[text[start:end]]:
            yield from _token(text, start + at, prefix)


def _long_words(text: bytes) -> Iterator[tuple[int, int]]:
    """From where to where each word goes that is long enough to hold a token."""
    flat = text.translate(_FLAT)
    start = flat.find(_RUN_OF_SECRETS)
    while start >= 0:
        end = flat.find(b" ", start)
        end = len(text) if end < 0 else end
        yield start, end
        start = flat.find(_RUN_OF_SECRETS, end)


def _beginnings(word: bytes) -> Iterator[tuple[int, bytes]]:
    """Where in it a token may begin, and with which prefix: at once, or behind a joint."""
    joints = (joint.end() for joint in _JOINT.finditer(word))
    for at in chain((0,), islice(joints, _MOST_TRIED)):
        prefix = _PREFIX.match(word, at)
        # A web token only begins a word: tried elsewhere, hostile text would take for ever.
        if prefix is not None and (at == 0 or prefix[0] != b"eyJ"):
            yield at, prefix[0]


def _token(text: bytes, at: int, prefix: bytes) -> Iterator[_Hit]:
    what, form = _FORMS[prefix]
    match = form.match(text, at)
    if match is not None and not _PLACEHOLDER.search(match[0][len(prefix) :]):
        yield at, "SC002", what, f"{prefix.decode()}***"


def _homes(text: bytes) -> Iterator[_Hit]:
    for needle in (b"/home/", b"/Users/", b"Users"):
        at, tried = text.find(needle) if _holds(text, needle) else -1, 0
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


def _is_random(value: bytes) -> bool:
    """True for what nobody would write by hand: letters and digits, of many kinds and no words."""
    kinds = re.search(rb"\d", value) and re.search(rb"[A-Za-z]", value)
    return bool(kinds) and len(set(value)) >= _MANY_SIGNS and not _PLACEHOLDER.search(value)


def _assigned(text: bytes) -> Iterator[_Hit]:
    for match in _ASSIGNED.finditer(text):
        yield match.start(), "SC002", "a secret key", f"{match[1].decode()}=***"
    for form in (_NAMED, _BEARER):
        for match in form.finditer(text):
            if _is_random(match[2]):
                yield match.start(), "SC002", "a secret key", f"{match[1].decode()}=***"


def _addresses(text: bytes) -> Iterator[_Hit]:
    for match in _CREDENTIALS.finditer(text):
        if not _EVERY_DAY.fullmatch(match[2]) and not _PLACEHOLDER.search(match[2]):
            yield match.start(), "SC002", "a password in an address", f"{match[1].decode()}***"
    for match in _INNER_HOST.finditer(text):
        if not match[0].partition(b"//")[2].startswith(b"127."):
            yield match.start(), "SC004", "the address of an internal host", "http://***"


def _close(text: bytes) -> Iterator[_Hit]:
    # A search for letters of either case is slow, and few files need it.
    squeezed = text.lower().translate(None, b"_-")
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
