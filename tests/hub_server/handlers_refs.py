"""Endpoints about branches and tags.

Decides which names may be created and deleted: an existing one is never moved, ``main`` stays.
"""

from __future__ import annotations

from tests.hub_server.errors import ApiError, UnknownRevision
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.routes import API, route
from tests.hub_server.storage import Repository


def refs(hub: Hub, request: Request) -> Response:
    """``GET .../refs``."""
    repository = hub.open(request)
    names = repository.git.refs()
    answer = {
        "branches": _refs(names, "refs/heads/"),
        "tags": _refs(names, "refs/tags/"),
        "converts": [],
    }
    if request.flag("include_prs"):
        answer["pullRequests"] = _refs(names, "refs/pr/")
    return json_response(answer)


def _refs(refs: dict[str, str], prefix: str) -> list[dict[str, str]]:
    """The refs under a prefix, as the Hub lists them."""
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
        for ref, commit in refs.items()
        if ref.startswith(prefix)
    ]


def create_tag(hub: Hub, request: Request) -> Response:
    """``POST .../tag/{revision}``."""
    repository = hub.open(request, "write")
    body = request.json()
    commit = repository.resolve(request.args["rev"])
    repository.create_ref(f"refs/tags/{body['tag']}", commit, message=body.get("message"))
    return json_response({})


def create_branch(hub: Hub, request: Request) -> Response:
    """``POST .../branch/{name}``."""
    repository = hub.open(request, "write")
    commit = repository.resolve(request.json().get("startingPoint", "main"))
    repository.create_ref(f"refs/heads/{request.args['rev']}", commit)
    return json_response({})


def delete_tag(hub: Hub, request: Request) -> Response:
    """``DELETE .../tag/{name}``."""
    return _delete_ref(hub.open(request, "write"), f"refs/tags/{request.args['rev']}")


def delete_branch(hub: Hub, request: Request) -> Response:
    """``DELETE .../branch/{name}``."""
    if request.args["rev"] == "main":
        raise ApiError(403, "The main branch cannot be deleted")
    return _delete_ref(hub.open(request, "write"), f"refs/heads/{request.args['rev']}")


def _delete_ref(repository: Repository, ref: str) -> Response:
    """Remove a ref that must exist."""
    if ref not in repository.git.refs():
        raise UnknownRevision(f"Invalid rev id: {ref}")
    repository.git.run("update-ref", "-d", ref)
    return json_response({})


ROUTES = (
    route("GET", f"{API}/refs", refs),
    route("POST", f"{API}/tag/{{rev}}", create_tag),
    route("DELETE", f"{API}/tag/{{rev}}", delete_tag),
    route("POST", f"{API}/branch/{{rev}}", create_branch),
    route("DELETE", f"{API}/branch/{{rev}}", delete_branch),
)
