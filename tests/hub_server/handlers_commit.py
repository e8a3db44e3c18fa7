"""Endpoints that publish: what has to be sent how, and the commit itself.

Decides which files go through LFS and which a ``.gitignore`` keeps out, that a commit is all
or nothing, and why one is refused: a stale parent, an object that was never uploaded, a path
that is missing or not allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.hub_server.changes import read_changes
from tests.hub_server.errors import ApiError
from tests.hub_server.git import run_git
from tests.hub_server.handlers_discussions import open_proposal
from tests.hub_server.hub import Hub
from tests.hub_server.lfs import is_large
from tests.hub_server.messages import Request, Response, json_response
from tests.hub_server.routes import API, route
from tests.hub_server.storage import Repository


def preupload(hub: Hub, request: Request) -> Response:
    """``POST .../preupload/{revision}``."""
    repository = hub.open(request, hub.change(request))
    body = request.json()
    commit = repository.resolve(request.args["rev"]) if repository.begun else None
    entries = repository.entries(commit) if commit else []
    present = {each.path: each for each in entries if not each.is_folder}
    rules = body.get("gitIgnore")
    if rules is None and ".gitignore" in present:
        rules = repository.read(present[".gitignore"]).decode()
    ignored = ignored_paths(rules or "", [each["path"] for each in body["files"]])
    files: list[dict[str, Any]] = []
    paths = [each["path"] for each in body["files"]]
    told = repository.large_by_attributes(commit, paths) if commit else dict.fromkeys(paths, True)
    for each in body["files"]:
        path = each["path"]
        # A repository's own .gitattributes count, and very large files are never in git.
        large = told.get(path, False) or is_large("", each["size"])
        mode = "lfs" if large and each["size"] else "regular"
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": path in ignored})
        if hub.can.preupload_oid and path in present:
            entry = present[path]
            files[-1]["oid"] = entry.lfs.oid if entry.lfs else entry.oid
    return json_response({"files": files, "commitOid": commit})


def ignored_paths(rules: str, paths: Sequence[str]) -> set[str]:
    """The paths that git itself would ignore under a ``.gitignore``."""
    if not rules.strip():
        return set()
    with TemporaryDirectory() as folder:
        run_git(["init", "--quiet", "--template=", folder])
        Path(folder, ".gitignore").write_text(rules)
        listing = "".join(f"{path}\0" for path in paths).encode()
        args = ["-C", folder, "check-ignore", "-z", "--stdin", "--no-index"]
        found = run_git(args, stdin=listing, ok=(0, 1)).stdout
    return set(found.decode().split("\0")) - {""}


def validate_yaml(_hub: Hub, request: Request) -> Response:
    """``POST /api/validate-yaml``: a rough look at the front matter, not a YAML parser."""
    lines = str(request.json()["content"]).splitlines()
    if not lines or lines[0].strip() != "---":
        warning = {"message": "empty or missing yaml metadata in repo card"}
        return json_response({"errors": [], "warnings": [warning]})
    ends = [number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"]
    errors = [] if ends else ["the metadata section has no end"]
    matter = lines[1 : ends[0]] if ends else []
    errors += [f"line {line!r} is not `key: value`" for line in matter if _odd(line)]
    answer = {"errors": [{"message": each} for each in errors], "warnings": []}
    return json_response(answer, 400 if errors else 200)


def _odd(line: str) -> bool:
    """Whether a line of the front matter cannot be YAML as model cards use it."""
    nested = line.startswith((" ", "-", "#")) or not line.strip()
    return line.startswith("\t") or (not nested and ":" not in line)


def commit(hub: Hub, request: Request) -> Response:
    """``POST .../commit/{revision}``."""
    proposal = request.flag("create_pr")
    repository = hub.open(request, hub.change(request))
    author = hub.signed_in(request).name
    header, operations = _parse(request)
    expected = header.get("parentCommit") if hub.can.enforce_parent or proposal else None
    with repository.lock:
        if proposal:
            ref = ""
            base: str | None = repository.resolve(expected or request.args["rev"])
        else:
            ref = repository.branch_ref(request.args["rev"])
            base = repository.check_parent(ref, expected)
        entries = repository.entries(base) if base else []
        present = [each.path for each in entries if not each.is_folder]
        changes = read_changes(hub, repository, present, operations, request.faults)
        ref = ref or open_proposal(hub, repository, header["summary"], author, base or "").ref
        message = f"{header['summary']}\n\n{header.get('description', '')}".strip()
        oid = repository.commit(changes, message, ref=ref, author=author)
    return _committed(hub, repository, oid, ref)


def _parse(request: Request) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header of a commit, and its operations."""
    lines = list(request.ndjson())
    if not lines or lines[0].get("key") != "header" or not lines[0]["value"].get("summary"):
        raise ApiError(400, "The commit must start with a header that has a summary")
    return lines[0]["value"], lines[1:]


def _committed(hub: Hub, repository: Repository, oid: str, ref: str) -> Response:
    """What the client is told of a commit."""
    page = hub.page(repository.repo_id, repository.kind)
    answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}"}
    if ref.startswith("refs/pr/"):
        answer["pullRequestUrl"] = f"{page}/discussions/{ref.removeprefix('refs/pr/')}"
    return json_response(answer)


ROUTES = (
    route("POST", "/api/validate-yaml", validate_yaml),
    route("POST", f"{API}/preupload/{{rev}}", preupload),
    route("POST", f"{API}/commit/{{rev}}", commit),
)
