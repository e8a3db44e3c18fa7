"""Endpoints about discussions and pull requests, and what a pull request does to git.

Decides that a pull request lives under ``refs/pr/N``, and that merging makes one merge commit
or fails without touching ``main``.
"""

from __future__ import annotations

from tests.hub_server.discussions import Discussion
from tests.hub_server.errors import ApiError, MergeConflict
from tests.hub_server.git import GitError
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.routes import API, route
from tests.hub_server.storage import MAIN, Repository


def open_proposal(
    hub: Hub, repository: Repository, title: str, author: str, base: str, status: str = "open"
) -> Discussion:
    """Start a pull request whose ref is at ``base``."""
    if not hub.can.pull_requests:
        raise ApiError(501, "This server has no pull requests")
    opened = hub.discussions.open(repository, title, author, is_pull_request=True, status=status)
    repository.create_ref(opened.ref, base)
    return opened


def create(hub: Hub, request: Request) -> Response:
    """``POST .../discussions``."""
    repository = hub.open(request, "propose")
    author = hub.signed_in(request).name
    body = request.json()
    if body.get("pullRequest"):
        head = repository.head
        opened = open_proposal(hub, repository, body["title"], author, head, status="draft")
    else:
        opened = hub.discussions.open(
            repository, body["title"], author, is_pull_request=False, status="open"
        )
    text = body.get("description", "")
    hub.discussions.change(repository, opened.num, lambda each: each.with_comment(text))
    return json_response({"num": opened.num, "pullRequest": opened.is_pull_request})


def listing(hub: Hub, request: Request) -> Response:
    """``GET .../discussions``, without paging."""
    repository = hub.open(request)
    found = hub.discussions.all(repository) if request.query("p", "0") == "0" else []
    shown = [each.summary(repository) for each in reversed(found)]
    return json_response({"discussions": shown, "count": len(shown), "start": 0})


def details(hub: Hub, request: Request) -> Response:
    """``GET .../discussions/{num}``."""
    repository = hub.open(request)
    found = hub.discussions.get(repository, int(request.args["num"]))
    diff = ""
    if found.is_pull_request and request.flag("diff"):
        diff = repository.git.run("diff", f"{MAIN}...{found.ref}").decode(errors="replace")
    return json_response(found.details(repository, diff))


def comment(hub: Hub, request: Request) -> Response:
    """``POST .../discussions/{num}/comment``."""
    repository = hub.open(request, "propose")
    text = request.json()["comment"]
    num = int(request.args["num"])
    changed = hub.discussions.change(repository, num, lambda each: each.with_comment(text))
    return json_response({"newMessage": changed.events[-1]})


def status(hub: Hub, request: Request) -> Response:
    """``POST .../discussions/{num}/status``, by its author or whoever may write."""
    repository = hub.open(request, "propose")
    wanted = request.json()["status"]
    num = int(request.args["num"])
    if hub.discussions.get(repository, num).author != hub.signed_in(request).name:
        hub.open(request, "write")
    changed = hub.discussions.change(repository, num, lambda each: each.with_status(wanted))
    return json_response({"newStatus": changed.events[-1]})


def merge(hub: Hub, request: Request) -> Response:
    """``POST .../discussions/{num}/merge``."""
    repository = hub.open(request, "write")
    author = hub.signed_in(request).name
    num = int(request.args["num"])
    with repository.lock:
        found = hub.discussions.get(repository, num)
        if not found.is_pull_request or found.status not in ("open", "draft"):
            raise ApiError(400, "This cannot be merged")
        parents = [repository.head, repository.resolve(found.ref)]
        try:
            tree = repository.git.run("merge-tree", "--write-tree", *parents).decode().split()[0]
        except GitError as error:
            raise MergeConflict("The pull request has conflicts") from error
        title = f"{found.title} (#{num})"
        oid = repository.commit_tree(tree, parents, title, MAIN, author)
        hub.discussions.change(repository, num, lambda each: each.merged(oid))
    return json_response({})


ROUTES = (
    route("POST", f"{API}/discussions", create),
    route("GET", f"{API}/discussions", listing),
    route("GET", f"{API}/discussions/{{num}}", details),
    route("POST", f"{API}/discussions/{{num}}/comment", comment),
    route("POST", f"{API}/discussions/{{num}}/status", status),
    route("POST", f"{API}/discussions/{{num}}/merge", merge),
)
