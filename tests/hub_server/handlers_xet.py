"""Endpoints that hand out tokens for the Xet store.

Decides who may write to the store; a server without Xet answers as if it had never heard of it.
"""

from __future__ import annotations

import secrets
import time

from tests.hub_server.errors import ApiError
from tests.hub_server.hub import Hub, Need
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.routes import API, route

_LIFETIME = 3600


def write_token(hub: Hub, request: Request) -> Response:
    """``GET .../xet-write-token/{revision}``."""
    return _token(hub, request, hub.change(request))


def read_token(hub: Hub, request: Request) -> Response:
    """``GET .../xet-read-token/{revision}``."""
    return _token(hub, request, "read")


def _token(hub: Hub, request: Request, need: Need) -> Response:
    """Where the store is, in the body for ``hf_xet`` and in headers for ``huggingface_hub``."""
    if not hub.can.xet:
        raise ApiError(404, f"Cannot {request.method} {request.path}")
    hub.open(request, need)
    token, expires = secrets.token_hex(8), int(time.time()) + _LIFETIME
    headers = {
        "X-Xet-Cas-Url": hub.xet.url,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
    }
    body = {"accessToken": token, "exp": expires, "casUrl": hub.xet.url}
    return json_response(body, headers=headers)


ROUTES = (
    route("GET", f"{API}/xet-write-token/{{rev}}", write_token),
    route("GET", f"{API}/xet-read-token/{{rev}}", read_token),
)
