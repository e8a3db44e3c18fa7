"""Settings: what the surroundings decide, as one typed value. Read once, by the caller."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from weighbridge.domain.errors import UsageError

_MOST_SECONDS = 86400
_ENCRYPTION = re.compile(r"(AES256|aws:kms(?::dsse)?)(?::(?!dsse$)(.+))?")


@frozen
class Settings:
    """``endpoint`` and ``token`` are of the Hub; None means the client's own defaults.

    ``hub_cache`` is the Hugging Face cache where base models are looked up by name.
    ``transfer`` is auto, xet or lfs; ``converter`` is numpy or mlx. ``registry_logins`` are the
    files where docker and podman keep logins, ``registry_certificates`` the directories where they
    keep certificates, ``plain_http`` the registries that have no TLS.
    ``timeout`` is the seconds that the Hub, an OCI registry, S3 or Sigstore may be silent.
    ``s3`` is what requests to S3 say besides, by boto3's names.
    ``passphrase`` opens the key to sign with; without it ``ask_passphrase`` is asked, with the path
    of a key that needs one. ``identity_token`` is what Sigstore knows the signer by, None to look
    for it; ``sigstore_config`` the file with the trust config of another Sigstore than the public
    one.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    hub_cache: str | None = None
    transfer: str = "auto"
    converter: str = "numpy"
    registry_logins: tuple[str, ...] = ()
    plain_http: tuple[str, ...] = ()
    registry_certificates: tuple[str, ...] = ()
    timeout: float = 60.0
    s3: Mapping[str, str] = field(factory=dict)
    passphrase: str | None = field(default=None, repr=False)
    ask_passphrase: Callable[[str], str | None] | None = field(default=None, repr=False)
    identity_token: str | None = field(default=None, repr=False)
    sigstore_config: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """From HF_ENDPOINT, HF_TOKEN, HF_OIDC_RESOURCE, HF_HUB_CACHE, HF_HOME, DOCKER_CONFIG,
        REGISTRY_AUTH_FILE, SIGSTORE_IDENTITY_TOKEN, SIGSTORE_ID_TOKEN, and
        WEIGHBRIDGE_TRANSFER, WEIGHBRIDGE_CONVERTER, WEIGHBRIDGE_PLAIN_HTTP (host:port,...),
        WEIGHBRIDGE_TIMEOUT, WEIGHBRIDGE_S3_ENCRYPTION (AES256, aws:kms or aws:kms:KEY),
        WEIGHBRIDGE_S3_REQUEST_PAYER, WEIGHBRIDGE_SIGN_PASSPHRASE, WEIGHBRIDGE_SIGSTORE_CONFIG.
        Raises UsageError."""
        env = os.environ if environ is None else environ
        home = env.get("HF_HOME") or os.path.join(
            env.get("XDG_CACHE_HOME") or _home(".cache"), "huggingface"
        )
        return cls(
            endpoint=env.get("HF_ENDPOINT") or None,
            # The client's own order: who asks for trusted publishing gets that, or an error.
            token=None if env.get("HF_OIDC_RESOURCE") else _clean(env.get("HF_TOKEN")),
            hub_cache=env.get("HF_HUB_CACHE") or os.path.join(home, "hub"),
            transfer=env.get("WEIGHBRIDGE_TRANSFER") or "auto",
            converter=env.get("WEIGHBRIDGE_CONVERTER") or "numpy",
            registry_logins=_logins(env),
            registry_certificates=_certificates(env),
            plain_http=tuple(env.get("WEIGHBRIDGE_PLAIN_HTTP", "").replace(",", " ").split()),
            timeout=_seconds(env.get("WEIGHBRIDGE_TIMEOUT") or "60"),
            s3=_s3(env),
            # The line end of a secret that came from a file is no part of it; spaces may be.
            passphrase=env.get("WEIGHBRIDGE_SIGN_PASSPHRASE", "").rstrip("\r\n") or None,
            # As sigstore's own command has it, and as cosign.
            identity_token=_clean(
                env.get("SIGSTORE_IDENTITY_TOKEN") or env.get("SIGSTORE_ID_TOKEN")
            ),
            sigstore_config=env.get("WEIGHBRIDGE_SIGSTORE_CONFIG") or None,
        )

    def cached_base(self, name: str | None) -> str | None:
        """The snapshot directory of the base model ``name`` in the cache, if it is complete enough
        to hold a config.json; None otherwise."""
        if not name or self.hub_cache is None or name.startswith(("/", ".", "~")):
            return None
        folder = Path(self.hub_cache, "models--" + name.replace("/", "--"))
        try:
            revision = (folder / "refs" / "main").read_text().strip()
        except OSError:
            return None
        snapshot = folder / "snapshots" / revision
        return str(snapshot) if (snapshot / "config.json").is_file() else None


def _home(name: str) -> str:
    """A directory of the user's; in a container the user may have no home at all."""
    home = os.path.expanduser("~")
    return os.path.join(home if os.path.isabs(home) else "/nonexistent", name)


def _seconds(said: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < _MOST_SECONDS:
        raise UsageError(problem=f"WEIGHBRIDGE_TIMEOUT={said!r} is not a number of seconds")
    return seconds


def _s3(env: Mapping[str, str]) -> dict[str, str]:
    said = env.get("WEIGHBRIDGE_S3_ENCRYPTION", "")
    found = _ENCRYPTION.fullmatch(said)
    if said and not found:
        problem = f"WEIGHBRIDGE_S3_ENCRYPTION={said!r} is not AES256, aws:kms or aws:kms:KEY"
        raise UsageError(problem=problem)
    how, key = found.groups() if found else (None, None)
    payer = env.get("WEIGHBRIDGE_S3_REQUEST_PAYER")
    told = {"ServerSideEncryption": how, "SSEKMSKeyId": key, "RequestPayer": payer}
    return {name: value for name, value in told.items() if value}


def _clean(token: str | None) -> str | None:
    """Without the line end that a secret from a file or a CI's settings has."""
    return "".join((token or "").split()) or None


def _logins(env: Mapping[str, str]) -> tuple[str, ...]:
    """Docker's file and then podman's; only podman's if REGISTRY_AUTH_FILE names it."""
    if named := env.get("REGISTRY_AUTH_FILE"):
        return (named,)
    theirs = [env.get("XDG_RUNTIME_DIR"), _config(env)]
    podman = (os.path.join(each, "containers", "auth.json") for each in theirs if each)
    return (os.path.join(_docker(env), "config.json"), *podman)


def _certificates(env: Mapping[str, str]) -> tuple[str, ...]:
    """A user's before the system's, docker's and podman's."""
    config = _config(env)
    homes = [_docker(env), f"{config}/docker", f"{config}/containers", "/etc/docker",
             "/etc/containers"]  # fmt: skip
    return tuple(os.path.join(each, "certs.d") for each in homes)


def _docker(env: Mapping[str, str]) -> str:
    return env.get("DOCKER_CONFIG") or _home(".docker")


def _config(env: Mapping[str, str]) -> str:
    return env.get("XDG_CONFIG_HOME") or _home(".config")
