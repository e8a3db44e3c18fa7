"""Endpoints about accounts and whole repositories.

Decides what a client learns about itself and about a repository, and who may create, change
the visibility of, or delete one.
"""

from __future__ import annotations

from typing import Any

from tests.hub_server.errors import ApiError
from tests.hub_server.hub import Hub, wants_private
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.records import Entry, hub_time
from tests.hub_server.routes import API, route


def whoami(hub: Hub, request: Request) -> Response:
    """``GET /api/whoami-v2``."""
    account = hub.signed_in(request)
    orgs = sorted(account.namespaces or ())
    token = {"displayName": "test", "role": account.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return json_response(
        {
            "type": "user",
            "id": account.name,
            "name": account.name,
            "fullname": account.name,
            "email": f"{account.name}@hub.test",
            "orgs": [{"type": "org", "name": org, "roleInOrg": "admin"} for org in orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def create(hub: Hub, request: Request) -> Response:
    """``POST /api/repos/create``."""
    repo_id, kind, body = _named(hub, request)
    private = wants_private(body) and hub.can.honour_visibility
    repository = hub.create(repo_id, kind, private=private)
    url = hub.page(repo_id, kind)
    return json_response({"url": url, "name": repo_id, "private": repository.private})


def delete(hub: Hub, request: Request) -> Response:
    """``DELETE /api/repos/delete``."""
    repo_id, kind, _body = _named(hub, request)
    repository = hub.find(repo_id, kind)
    if repository is None:
        raise ApiError(404, "Repository not found", "RepoNotFound")
    hub.delete(repository)
    return json_response({})


def _named(hub: Hub, request: Request) -> tuple[str, str, dict[str, Any]]:
    """The repository that a body names, once the caller may write to its namespace."""
    account = hub.signed_in(request)
    body = request.json()
    namespace = body.get("organization") or account.name
    kind = f"{body.get('type') or 'model'}s"
    if not account.may_write(namespace) or not account.may_use(f"{namespace}/{body['name']}"):
        raise ApiError(
            403,
            f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"',
        )
    return f"{namespace}/{body['name']}", kind, body


def settings(hub: Hub, request: Request) -> Response:
    """``PUT .../settings``: visibility and gating."""
    repository = hub.open(request, "write")
    body = request.json()
    if hub.can.honour_visibility and ("visibility" in body or "private" in body):
        repository.private = wants_private(body)
    if "gated" in body:
        repository.gated = body["gated"]
    return json_response({"private": repository.private, "gated": repository.gated})


def info(hub: Hub, request: Request) -> Response:
    """``GET /api/models/R`` and ``GET /api/models/R/revision/X``."""
    repository = hub.open(request)
    begun = repository.begun
    commit = repository.resolve(request.args.get("rev", "main")) if begun else None
    latest = repository.log(commit, limit=1)[0].date if commit else None
    entries = repository.entries(commit) if commit else []
    files = [each for each in entries if not each.is_folder]
    return json_response(
        {
            "id": repository.repo_id,
            "modelId": repository.repo_id,
            "author": request.args["ns"],
            "sha": commit,
            "lastModified": latest,
            "createdAt": hub_time(repository.created_at),
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "usedStorage": sum(each.size for each in files),
            "siblings": [_sibling(each, blobs=request.flag("blobs")) for each in files],
        }
    )


def _sibling(entry: Entry, *, blobs: bool) -> dict[str, Any]:
    """One file in the information about a repository."""
    if not blobs:
        return {"rfilename": entry.path}
    shown: dict[str, Any] = {"rfilename": entry.path, "size": entry.size, "blobId": entry.oid}
    if entry.lfs:
        size = entry.lfs.size
        shown["lfs"] = {"sha256": entry.lfs.oid, "size": size, "pointerSize": entry.blob_size}
    return shown


def auth_check(hub: Hub, request: Request) -> Response:
    """``GET .../auth-check`` and ``.../auth-check/write``."""
    repository = hub.open(request, "write" if request.path.endswith("/write") else "read")
    hub.let_in(request, repository)
    return json_response({})


ROUTES = (
    route("GET", "/api/whoami-v2", whoami),
    route("POST", "/api/repos/create", create),
    route("DELETE", "/api/repos/delete", delete),
    route("GET", API, info),
    route("GET", f"{API}/revision/{{rev}}", info),
    route("PUT", f"{API}/settings", settings),
    route("GET", f"{API}/auth-check", auth_check),
    route("GET", f"{API}/auth-check/write", auth_check),
)
