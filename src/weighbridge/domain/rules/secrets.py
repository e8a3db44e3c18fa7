"""SC: secrets and what tells of persons and machines. Findings never repeat the secret.

What is looked for is in ``domain/leaks.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from weighbridge.domain.contents import in_repository
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject

_SECRET_FILE = re.compile(
    r"(?i)(^|/)(\.env(\.(?!example|sample|template|dist)[^/]*)?|[^/]+\.env|\.envrc"
    r"|id_(rsa|dsa|ecdsa|ed25519)(_sk)?(\.(?!pub)[^/]*)?|[^/]*\.(pem|key|p8|p12|pfx|jks|keystore|ppk|kdbx|keytab|keychain(-db)?|ovpn)"
    r"|[._]netrc|\.npmrc|\.pypirc|\.git-credentials|\.htpasswd|\.pgpass|\.dockercfg"
    r"|\.docker/config\.json|\.dockerconfigjson|\.aws/.*|\.ssh/.*|\.kube/config|kubeconfig|\.gnupg/.*"
    r"|\.config/gcloud/.*|\.s3cfg|\.boto|\.?rclone\.conf|\.my\.cnf|\.vault-token|[^/]*\.tfstate|secring\.gpg"
    r"|\.?([^/]+[_-])?(api[_-]?keys?|passwords?|passwd)(\.(txt|json|ya?ml|csv))?"
    r"|kaggle\.json|credentials(\.(json|ya?ml|toml|ini|csv|txt))?|client_secrets?[^/]*\.json"
    r"|service[-_]?account[^/]*\.json|secrets?\.(json|ya?ml|toml|ini|env|txt)"
    r"|(hf_?|hugging_?face_?)?token(s)?(\.txt)?|stored_tokens|\.\w+_history|\.lesshst|\.viminfo)$"
)
_RUN_DIRECTORY = re.compile(
    r"(^|/)(wandb/|mlruns/|lightning_logs/)|(^|/)events\.out\.tfevents\.|(^|/)run-[\w-]+\.wandb$"
)


def is_secret_file(path: str) -> bool:
    """True if the name is one that secrets are kept under."""
    return _SECRET_FILE.search(path) is not None


def _secret_file(subject: Subject) -> Iterator[Observation]:
    """Files of that name hold credentials, and what was public for a minute must be revoked."""
    for path in sorted(subject.artifact.paths):
        if is_secret_file(path) and not in_repository(path):
            yield Observation(Location(path))


def leaks_of(code: str, why: str) -> Callable[[Subject], Iterator[Observation]]:
    """The check of a rule whose findings the look into the files has made."""

    def check(subject: Subject) -> Iterator[Observation]:
        for leak in subject.artifact.contents.leaks:
            if leak.code == code:
                where = Location(leak.path, leak.place)
                yield Observation(where, {"what": leak.what, "masked": leak.masked})

    check.__doc__ = why
    return check


def _runs(subject: Subject) -> Iterator[Observation]:
    """Logs and names of runs tell who trained what, when and on which machine."""
    yield from leaks_of("SC005", "")(subject)
    for path in sorted(subject.artifact.paths):
        if _RUN_DIRECTORY.search(path):
            yield Observation(Location(path), {"what": "a log of training", "masked": "not shown"})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_SAYS = "holds {what} ({masked})"
RULES = (
    Rule("SC001", "secret-file", _E, "has a name that secrets are kept under",
         "delete it, and revoke what it holds if it was ever uploaded", _secret_file),
    Rule("SC002", "secret", _E, _SAYS,
         "delete it here, and revoke it where it was issued",
         leaks_of("SC002", "Bots read every upload within minutes, and use what they find.")),
    Rule("SC003", "home-path", _W, _SAYS, "write a name on the Hub or a relative path",
         leaks_of("SC003", "The path tells a person's or a machine's name, and exists nowhere "
                "else.")),
    Rule("SC004", "personal-address", _I, _SAYS, "delete it unless it is meant to be public",
         leaks_of("SC004", "Addresses of persons and of machines inside a network stay public.")),
    Rule("SC005", "run-identity", _I, _SAYS, "delete it unless it is meant to be public", _runs),
)  # fmt: skip
