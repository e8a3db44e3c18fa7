"""Endpoints of the Git LFS transfer, basic and multipart.

Decides which objects a client has to send, that an upload is kept only when its sha256 and
size are the announced ones, and that the addresses for uploads need no token.
"""

from __future__ import annotations

from typing import Any

from tests.hub_server.errors import ApiError
from tests.hub_server.hub import Hub
from tests.hub_server.lfs import Pointer
from tests.hub_server.messages import Request, Response, json_response, ranged
from tests.hub_server.parts import Parts
from tests.hub_server.routes import SITE, route
from tests.hub_server.storage import Repository

LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}
OBJECT = "/_lfs/{kind}/{ns}/{name}/{oid}"


def batch(hub: Hub, request: Request) -> Response:
    """``POST R.git/info/lfs/objects/batch``."""
    body = request.json()
    upload = body["operation"] == "upload"
    ref = body.get("ref", {}).get("name", "refs/pr/")  # a client that proposes says none
    repository = hub.open(request, hub.change(request, ref) if upload else "read")
    multipart = "multipart" in body.get("transfers", ())
    pointers = [Pointer(each["oid"], each["size"]) for each in body["objects"]]
    make = _upload if upload else _download
    objects = [make(hub, repository, each, multipart) for each in pointers]
    large = any("chunk_size" in _header(each) for each in objects)
    transfer = "multipart" if large else "basic"
    return json_response({"transfer": transfer, "objects": objects}, headers=LFS_JSON)


def _upload(hub: Hub, repository: Repository, item: Pointer, multipart: bool) -> dict[str, Any]:
    """How to send an object; nothing to do when it is here already."""
    shown: dict[str, Any] = {"oid": item.oid, "size": item.size, "authenticated": True}
    if repository.lfs.has(item):
        return shown
    path = _address(repository, item.oid)
    step = hub.can.part_size
    if multipart and item.size > step:
        numbers = range(1, -(-item.size // step) + 1)
        header = {"chunk_size": str(step)}
        header |= {f"{number:05d}": hub.sign(f"{path}/part/{number}") for number in numbers}
        upload = {
            "href": hub.sign(f"{path}/complete"),
            "header": {"chunk_size": str(step)} | header,
        }
    else:
        upload = {"href": hub.sign(path)}
    verify = f"{hub.page(repository.repo_id, repository.kind)}.git/info/lfs/verify"
    return shown | {"actions": {"upload": upload, "verify": {"href": verify}}}


def _download(hub: Hub, repository: Repository, item: Pointer, _multipart: bool) -> dict[str, Any]:
    """Where to get an object from."""
    shown: dict[str, Any] = {"oid": item.oid, "size": item.size, "authenticated": True}
    if not repository.lfs.has(item):
        return shown | {"error": {"code": 404, "message": "Object does not exist"}}
    return shown | {"actions": {"download": {"href": hub.sign(_address(repository, item.oid))}}}


def _header(shown: dict[str, Any]) -> dict[str, str]:
    """The header of an object's upload action, if it has one."""
    header: dict[str, str] = shown.get("actions", {}).get("upload", {}).get("header", {})
    return header


def _address(repository: Repository, oid: str) -> str:
    """The path of an object on this server."""
    return f"/_lfs/{repository.kind}/{repository.repo_id}/{oid}"


def _signed(hub: Hub, request: Request) -> Repository:
    """The repository of a signed address."""
    hub.check_signature(request)
    repo_id = f"{request.args['ns']}/{request.args['name']}"
    repository = hub.find(repo_id, request.args["kind"])
    if repository is None:
        raise ApiError(404, "NoSuchBucket")
    return repository


def put(hub: Hub, request: Request) -> Response:
    """``PUT`` of a whole object."""
    repository = _signed(hub, request)
    oid = request.args["oid"]
    if repository.lfs.put_stream(request.body, oid) is None:
        raise ApiError(400, f"The content does not have the sha256 {oid}")
    return Response(200, headers={"ETag": f'"{oid}"'})


def get(hub: Hub, request: Request) -> Response:
    """``GET`` of an object, or of a range of it."""
    repository = _signed(hub, request)
    oid = request.args["oid"]
    if repository.lfs.size(oid) is None:
        raise ApiError(404, "NoSuchKey")
    return ranged(request, repository.lfs.path(oid), {"ETag": f'"{oid}"'})


def put_part(hub: Hub, request: Request) -> Response:
    """``PUT`` of one part of an object."""
    parts = _parts(_signed(hub, request), request.args["oid"])
    return Response(200, headers={"ETag": parts.put(int(request.args["number"]), request.body)})


def complete(hub: Hub, request: Request) -> Response:
    """``POST`` that joins the parts; each must be named with the ETag it was answered with."""
    repository = _signed(hub, request)
    oid = request.args["oid"]
    named = [(each["partNumber"], each["etag"]) for each in request.json()["parts"]]
    try:
        whole = _parts(repository, oid).join(repository.lfs, named)
    except LookupError as error:
        raise ApiError(400, "InvalidPart") from error
    if whole is None:
        raise ApiError(400, f"The parts do not have the sha256 {oid}")
    return json_response({})


def _parts(repository: Repository, oid: str) -> Parts:
    """The parts of an unfinished upload."""
    return Parts(repository.git_dir / "lfs" / "parts", oid, keep=repository.lfs.keep)


def verify(hub: Hub, request: Request) -> Response:
    """``POST R.git/info/lfs/verify``."""
    repository = hub.open(request, "propose")
    body = request.json()
    if not repository.lfs.has(Pointer(body["oid"], body["size"])):
        raise ApiError(422, f"Object {body['oid']} was not uploaded with {body['size']} bytes")
    return json_response({}, headers=LFS_JSON)


ROUTES = (
    route("POST", f"{SITE}.git/info/lfs/objects/batch", batch),
    route("POST", f"{SITE}.git/info/lfs/verify", verify),
    route("PUT", OBJECT, put),
    route("GET", OBJECT, get),
    route("PUT", f"{OBJECT}/part/{{number}}", put_part),
    route("POST", f"{OBJECT}/complete", complete),
)
