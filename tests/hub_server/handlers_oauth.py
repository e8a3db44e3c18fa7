"""Endpoints of trusted publishing: the CI's for identity tokens, and the Hub's for its own.

Decides the form of the exchange (RFC 8693) and that a token is good for one repository only.
"""

from __future__ import annotations

from tests.hub_server.errors import ApiError
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.routes import route

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


def identity(hub: Hub, request: Request) -> Response:
    """``GET /_ci/id-token``: what a CI answers to a job that may ask for its identity."""
    secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return json_response({"value": hub.publishers.vouch(secret, request.query("audience"))})


def exchange(hub: Hub, request: Request) -> Response:
    """``POST /oauth/token``."""
    body = request.json()
    if (body.get("grant_type"), body.get("subject_token_type")) != (_GRANT, _ID_TOKEN):
        raise ApiError(400, "unsupported_grant_type")
    resource = str(body["resource"])
    workflow = hub.publishers.accept(str(body["subject_token"]), resource, hub.url)
    token = hub.accounts.add(workflow, "write", repository=resource, prefix="hf_jwt_eyJ")
    return json_response(
        {
            "access_token": token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "bearer",
            "expires_in": hub.publishers.lifetime,
        }
    )


ROUTES = (
    route("GET", "/_ci/id-token", identity),
    route("POST", "/oauth/token", exchange),
)
