"""Who is spoken to by TLS, and whose certificates are believed.

Decides that this machine is asked for TLS first, as docker does; and that certificates count there
too: whoever has made one wants to be known by it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from weighbridge.domain.errors import StorageError

# Whoever does not answer on this machine within that is not asked for long.
_SECONDS = 5.0


def is_loopback(host: str) -> bool:
    """Whether that host, with or without port, is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def speaks_tls(host: str) -> bool | None:
    """Whether what listens there begins a TLS connection; None if nothing listens.

    Nothing is told to it, and what it shows is not believed.
    """
    parts = urlsplit(f"//{host}")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), _SECONDS) as peer:
            try:
                context.wrap_socket(peer, server_hostname=parts.hostname).close()
            except ssl.SSLError as error:
                return "ALERT" in (error.reason or "")  # which only TLS has
            except OSError:
                return False
    except OSError:
        return None
    return True


def context_for(host: str, folders: Sequence[str]) -> ssl.SSLContext:
    """Whom to believe that it is ``host``: the system's authorities or those of SSL_CERT_FILE, and
    those that ``folders`` have for it as docker's certs.d does: HOST:PORT/*.crt, with *.cert and
    *.key of our own for a registry that wants them.

    Raises StorageError for one that cannot be read.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    for folder in (Path(each, host) for each in folders):
        for file in sorted(folder.glob("*.crt")) + sorted(folder.glob("*.cert")):
            try:
                if file.suffix == ".crt":
                    context.load_verify_locations(file)
                else:  # with the password that asks nobody for one
                    context.load_cert_chain(file, file.with_suffix(".key"), password="")
            except OSError as error:
                raise StorageError(
                    path=str(file), operation="reading the certificate",
                    reason=error.strerror or str(error),
                ) from error  # fmt: skip
    return context
