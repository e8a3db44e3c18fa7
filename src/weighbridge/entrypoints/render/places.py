"""Where a finding is, in words, and as a path below the directory that a report is read in."""

from __future__ import annotations

import os
from urllib.parse import quote

from weighbridge.domain.findings import Finding
from weighbridge.entrypoints.render.escape import visible


def report_root(location: str, cwd: str) -> str:
    """The artifact's directory as seen from ``cwd``; '' if it is not below it, so that no path of
    somebody's machine gets into a report."""
    if "://" in location:
        return ""
    relative = os.path.relpath(os.path.join(cwd, location), cwd)
    return "" if relative in (".", "..") or relative.startswith("../") else relative


def file_path(root: str, path: str) -> str:
    """The path of a file of the artifact, '.' for the directory itself. It leads nowhere else: what
    another package's rule calls a place is not to be trusted."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "/".join([root, *parts] if root else parts) or "."


def uri(path: str) -> str:
    """A relative reference to that path, for any name that a file can have."""
    return quote(path.encode("utf-8", "surrogatepass"), safe="/")


def said(finding: Finding) -> str:
    """Place inside the file, and what is wrong there, on one line."""
    inside = finding.location.inside
    return visible((f"{inside}: " if inside else "") + finding.message)
