"""Where a policy comes from: weighbridge.toml or pyproject.toml, a baseline, what the caller says.

Never from the artifact: a file in the directory that is to be judged is passed over when found, and
refused when it is named.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from weighbridge.domain.errors import PathConflict, PathMissing, StorageDenied, UsageError
from weighbridge.domain.findings import FailOn, ValidationReport
from weighbridge.domain.policy.baseline import Baseline, baseline_of
from weighbridge.domain.policy.parsing import Parsed, from_table, overridden
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.strict_json import StrictJsonError, parse_object
from weighbridge.entrypoints.rulebook import installed_rulebook

if TYPE_CHECKING:
    from weighbridge.domain.findings import Rule

OWN, SHARED = "weighbridge.toml", "pyproject.toml"


@frozen
class Search:
    """The configuration for a directory, and those that lie in the artifact and do not count."""

    path: str | None = None
    passed_over: tuple[str, ...] = ()


def find_config(artifact: str, start: str = ".") -> Search:
    """The nearest weighbridge.toml, or pyproject.toml with ``[tool.weighbridge]``, from ``start``
    upwards. Raises UsageError if a pyproject.toml on the way is broken."""
    here = Path(start).resolve()
    passed_over = []
    for directory in (here, *here.parents):
        for name in (OWN, SHARED):
            path = directory / name
            if not path.is_file():
                continue
            if is_inside(path, artifact):
                # Not even parsed: what is wrong with it is no fault of ours.
                passed_over += [str(path)] if _may_be_meant(path) else []
                continue
            if name == SHARED and _table(path) is None:
                continue
            return Search(str(path), tuple(passed_over))
    return Search(None, tuple(passed_over))


def _may_be_meant(path: Path) -> bool:
    """Whether to say that a file in the artifact is passed over."""
    try:
        return path.name == OWN or b"weighbridge" in path.read_bytes()
    except OSError:
        return False


def is_inside(path: str | os.PathLike[str], artifact: str) -> bool:
    """True if ``path`` is in the artifact, by whatever links; never for one on the Hub."""
    if "://" in artifact:
        return False
    root, found = os.path.realpath(artifact), os.path.realpath(path)
    lies = os.path.abspath(path)
    return any(os.path.commonpath([root, each]) == root for each in (found, lies))


def load_policy(
    config: str | os.PathLike[str] | None = None,
    *,
    baseline: str | os.PathLike[str] | None = None,
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    fail_on: str | FailOn | None = None,
    severity: str | Sequence[str] = (),
    artifact: str | os.PathLike[str] | None = None,
) -> Policy:
    """The policy of a configuration file, with what is said beside it, for ``validate`` and
    ``publish``. Nothing is looked for: without ``config`` it is the catalogue's own.

    Raises UsageError for unknown keys, unknown rules and wrong types, and for a file that lies in
    ``artifact``; StorageError if a file cannot be read.
    """
    rules = installed_rulebook().all
    parsed = Parsed(Policy()) if config is None else _parsed(Path(config), rules)
    if baseline is None and parsed.baseline is not None and config is not None:
        baseline = Path(config).parent / parsed.baseline
    for path in (config, baseline):
        if path is not None and artifact is not None and is_inside(path, os.fspath(artifact)):
            raise UsageError(
                problem=f"{os.fspath(path)} lies in the artifact, whose author must not decide "
                "what is wrong with it; move it out"
            )
    policy = overridden(
        parsed.policy,
        rules,
        select=_listed(select),
        ignore=_listed(ignore),
        fail_on=fail_on,
        severity=_listed(severity),
    )
    if baseline is None:
        return policy
    return evolve(policy, baseline=_baseline(Path(baseline)))


def _listed(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _parsed(path: Path, rules: Sequence[Rule]) -> Parsed:
    table = _table(path)
    if table is None:
        raise UsageError(problem=f"{path} has no [tool.weighbridge]")
    where = " [tool.weighbridge]" if path.name == SHARED else ""
    return from_table(table, rules, f"{path}{where}")


def _table(path: Path) -> dict[str, Any] | None:
    """Our table of a TOML file; None if a pyproject.toml has none."""
    try:
        # With a byte order mark, as some editors on Windows put there.
        document = tomllib.loads(_read(path).decode("utf-8-sig"))
    # Of no encoding, of no form, a number of thousands of digits, or lists without end.
    except (ValueError, RecursionError) as error:
        raise UsageError(problem=f"{path}: is no TOML: {error}") from error
    if path.name != SHARED:
        return document
    tools = document.get("tool", {})
    table = tools.get("weighbridge") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageError(problem=f"{path}: tool.weighbridge must be a table, not {table!r}")
    return table


def _baseline(path: Path) -> Baseline:
    try:
        return Baseline.parse(parse_object(_read(path)), str(path))
    except StrictJsonError as error:
        raise UsageError(problem=f"{path}: is no JSON: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PathMissing(path=str(path), operation="reading the policy") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageDenied(
            path=str(path), operation="reading the policy", reason=reason
        ) from error


def write_baseline(report: ValidationReport, path: str) -> int:
    """Make everything in ``report`` known; returns how much that is."""
    document = baseline_of(report)
    write_text(path, json.dumps(document, indent=2) + "\n", report.location)
    return len(document["findings"])


def require_writable(path: str, artifact: str) -> None:
    """Raises what ``write_text`` would, as far as it can be seen: before the work of an hour."""
    if is_inside(path, artifact):
        raise UsageError(problem=f"{path} would be in the artifact that is judged; write elsewhere")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise PathConflict(path=path, operation="writing", reason="it is a directory")
    if not target.parent.is_dir():
        reason = f"there is no directory {target.parent}"
        raise PathMissing(path=path, operation="writing", reason=reason)
    written = target.parent if _can_be_replaced(path) else target
    if not os.access(written, os.W_OK):
        raise StorageDenied(path=path, operation="writing", reason=f"{written} is read-only")


def _can_be_replaced(path: str) -> bool:
    """By another file; not so a pipe, nor /dev/stdout, whatever it is."""
    device = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    return not device and (os.path.isfile(path) or not os.path.exists(path))


def write_text(path: str, text: str, artifact: str) -> None:
    """Write a file of our own, whole or not at all; a link stays one. Raises UsageError if that
    would change the artifact, StorageError if it cannot be written."""
    require_writable(path, artifact)
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if _can_be_replaced(path):
            part.write_text(text, encoding="utf-8")
            os.replace(part, target)
        else:
            Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageDenied(path=path, operation="writing", reason=reason) from error
    finally:
        part.unlink(missing_ok=True)
