"""Settings: what the surroundings decide, as one typed value. Read once, by the caller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen


@frozen
class Settings:
    """``endpoint`` and ``token`` are of the Hub; None means the client's own defaults.

    ``hub_cache`` is the Hugging Face cache where base models are looked up by name.
    ``transfer`` is auto, xet or lfs; ``converter`` is numpy or mlx. ``docker_config`` is the
    directory with docker's login, ``plain_http`` the registries that have no TLS.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    hub_cache: str | None = None
    transfer: str = "auto"
    converter: str = "numpy"
    docker_config: str | None = None
    plain_http: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """From HF_ENDPOINT, HF_TOKEN, HF_OIDC_RESOURCE, HF_HUB_CACHE, HF_HOME, DOCKER_CONFIG, and
        WEIGHBRIDGE_TRANSFER, WEIGHBRIDGE_CONVERTER, WEIGHBRIDGE_PLAIN_HTTP (host:port,...)."""
        env = os.environ if environ is None else environ
        home = env.get("HF_HOME") or os.path.join(
            env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"), "huggingface"
        )
        return cls(
            endpoint=env.get("HF_ENDPOINT") or None,
            # The client's own order: who asks for trusted publishing gets that, or an error.
            token=None if env.get("HF_OIDC_RESOURCE") else _clean(env.get("HF_TOKEN")),
            hub_cache=env.get("HF_HUB_CACHE") or os.path.join(home, "hub"),
            transfer=env.get("WEIGHBRIDGE_TRANSFER") or "auto",
            converter=env.get("WEIGHBRIDGE_CONVERTER") or "numpy",
            docker_config=env.get("DOCKER_CONFIG") or str(Path.home() / ".docker"),
            plain_http=tuple(env.get("WEIGHBRIDGE_PLAIN_HTTP", "").replace(",", " ").split()),
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


def _clean(token: str | None) -> str | None:
    """Without the line end that a secret from a file or a CI's settings has."""
    return "".join((token or "").split()) or None
