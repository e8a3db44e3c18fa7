"""Endpoints that read a revision: listings, history and file contents.

Decides how long listings are split into pages, which digests a listing shows (sha256 for large
files, git's own for the rest), and where the bytes of a file are served from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from tests.hub_server.errors import ApiError, UnknownEntry
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Request, Response, json_response, ranged
from tests.hub_server.records import Commit, Entry
from tests.hub_server.routes import API, SITE, route
from tests.hub_server.storage import Repository

Item = TypeVar("Item")


def tree(hub: Hub, request: Request) -> Response:
    """``GET .../tree/{revision}[/{path}]``."""
    repository = hub.open(request)
    commit = repository.resolve(request.args["rev"])
    folder = request.args.get("path", "").strip("/")
    entries = repository.entries(commit)
    if folder and not any(each.is_folder and each.path == folder for each in entries):
        raise UnknownEntry(f"{folder} does not exist on {request.args['rev']}")
    inside = [each for each in entries if _below(each.path, folder, request.flag("recursive"))]
    page, headers = _page(hub, request, inside)
    shown = _shown(hub, repository, page, commit if request.flag("expand") else None)
    return json_response(shown, headers=headers)


def _below(path: str, folder: str, recursive: bool) -> bool:
    """Whether a path belongs to the listing of a folder."""
    prefix = f"{folder}/" if folder else ""
    return path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])


def paths_info(hub: Hub, request: Request) -> Response:
    """``POST .../paths-info/{revision}``: the listed paths that exist."""
    repository = hub.open(request)
    commit = repository.resolve(request.args["rev"])
    form = request.form()
    wanted = {path.strip("/") for path in form.get("paths", [])}
    expand = form.get("expand", ["false"])[0].lower() == "true"
    found = [each for each in repository.entries(commit) if each.path in wanted]
    return json_response(_shown(hub, repository, found, commit if expand else None))


def _shown(
    hub: Hub, repository: Repository, entries: Sequence[Entry], dated_by: str | None
) -> list[dict[str, Any]]:
    """Files and folders as listings show them, with their last commit when asked for."""
    listing = [_plain(each) for each in entries]
    xet = hub.xet.index() if hub.can.xet else {}
    for shown, entry in zip(listing, entries, strict=True):
        if entry.lfs and entry.lfs.oid in xet:
            shown["xetHash"] = xet[entry.lfs.oid]
        if dated_by:
            last = repository.log(dated_by, limit=1, path=entry.path)[0]
            shown["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return listing


def _plain(entry: Entry) -> dict[str, Any]:
    """What every listing shows of a file or folder."""
    kind = "directory" if entry.is_folder else "file"
    shown: dict[str, Any] = {"type": kind, "oid": entry.oid, "size": entry.size, "path": entry.path}
    if entry.lfs:
        size = entry.lfs.size
        shown["lfs"] = {"oid": entry.lfs.oid, "size": size, "pointerSize": entry.blob_size}
    return shown


def _page(
    hub: Hub, request: Request, items: Sequence[Item]
) -> tuple[Sequence[Item], dict[str, str]]:
    """One page of a listing, and the header that leads to the next."""
    start = int(request.query("cursor", "0"))
    end = start + hub.can.page_size
    if end >= len(items):
        return items[start:end], {}
    pairs = parse_qsl(urlsplit(request.target).query)
    query = urlencode([pair for pair in pairs if pair[0] != "cursor"] + [("cursor", str(end))])
    return items[start:end], {"Link": f'<{hub.url}{request.path}?{query}>; rel="next"'}


def commits(hub: Hub, request: Request) -> Response:
    """``GET .../commits/{revision}``."""
    history = hub.open(request).commits(request.args["rev"])
    page, headers = _page(hub, request, history)
    return json_response([_commit(each) for each in page], headers=headers)


def _commit(commit: Commit) -> dict[str, Any]:
    """One commit of a history."""
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": commit.date,
    }


def resolve(hub: Hub, request: Request) -> Response:
    """``HEAD`` and ``GET .../resolve/{revision}/{path}``."""
    repository = hub.open(request)
    hub.let_in(request, repository)
    commit = repository.resolve(request.args["rev"])
    path = request.args["path"]
    found = [each for each in repository.entries(commit) if each.path == path]
    headers = {"X-Repo-Commit": commit}
    if not found or found[0].is_folder:
        raise ApiError(404, "Entry not found", "EntryNotFound", headers)
    if found[0].lfs is None:
        content = repository.read(found[0])
        return ranged(request, content, headers | {"ETag": f'"{found[0].oid}"'})
    return _redirect(hub, repository, commit, found[0].lfs.oid, found[0].size, headers)


def _redirect(
    hub: Hub, repository: Repository, commit: str, oid: str, size: int, headers: dict[str, str]
) -> Response:
    """Send the client to the store for a large file, as the Hub sends it to its CDN."""
    located = {
        "Location": hub.sign(f"/_lfs/{repository.kind}/{quote(repository.repo_id)}/{oid}"),
        "ETag": f'"{oid}"',
        "X-Linked-Etag": f'"{oid}"',
        "X-Linked-Size": str(size),
    }
    xet_hash = hub.xet.index().get(oid) if hub.can.xet else None
    if xet_hash:
        api = f"{hub.url}/api/{repository.kind}/{repository.repo_id}"
        located["X-Xet-Hash"] = xet_hash
        located["Link"] = f'<{api}/xet-read-token/{commit}>; rel="xet-auth"'
    return Response(302, b"", headers | located)


ROUTES = (
    route("GET", f"{API}/tree/{{rev}}", tree),
    route("GET", f"{API}/tree/{{rev}}/{{path*}}", tree),
    route("POST", f"{API}/paths-info/{{rev}}", paths_info),
    route("GET", f"{API}/commits/{{rev}}", commits),
    route("GET", f"{SITE}/resolve/{{rev}}/{{path*}}", resolve),
)
