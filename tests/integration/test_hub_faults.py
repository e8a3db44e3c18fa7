"""Every fault that the local Hub can have: what the user sees, what the Hub holds, and that trying
again ends well. A fault of the server without a row here fails the last test."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

import weighbridge
from tests.builders import lora_files, write
from tests.hub_server import Fault, HubServer, clone_with_lfs
from tests.hub_server.hub import Capabilities
from weighbridge.adapters.hub import ParentNotEnforced
from weighbridge.adapters.hub.errors import NotUnderstood
from weighbridge.domain.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RateLimited,
    ReadBackMismatch,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    TooLarge,
    Unsupported,
    VisibilityMismatch,
    WeighbridgeError,
)
from weighbridge.entrypoints.exit_codes import exit_code
from weighbridge.entrypoints.settings import Settings

REPO = "acme/bot"
DEST = f"hf://{REPO}"
COMMIT = "/commit/main"


@frozen
class Row:
    """One fault: what ``raised`` and ``said`` tell the user (nothing if all is well), and whether
    the Hub then holds the ``old`` release, the ``new`` one or something ``else``.

    ``lacks`` is what this Hub cannot do, ``fresh`` means that there is no release yet, and
    ``meanwhile`` that somebody else publishes during the upload.
    """

    fault: Callable[[], Fault] | None = None
    raised: type[WeighbridgeError] | None = None
    said: str = ""
    holds: str = "old"
    lacks: Mapping[str, Any] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    fresh: bool = False
    meanwhile: bool = False


def refused(status: int, raised: type[WeighbridgeError], said: str = "no, and why") -> Row:
    """The Hub answers a commit with that status."""
    return Row(lambda: Fault(path=COMMIT, status=status, message="no, and why"), raised, said)


def _in_two_seconds() -> Fault:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return Fault(path=COMMIT, status=429, headers={"Retry-After": when})


ROWS: dict[str, Row] = {
    "400": refused(400, RegistryRejected),
    "401": refused(401, AuthenticationFailed, "hf auth login"),
    "403": refused(403, PermissionDenied),
    "404": refused(404, RegistryRejected),
    "409": refused(409, RevisionConflict, "refused by the registry: HTTP 409: no, and why"),
    "412": refused(412, RevisionConflict, "refused by the registry: HTTP 412: no, and why"),
    "413": refused(413, TooLarge),
    "507": refused(507, TooLarge),
    "no room left": Row(
        lambda: Fault(path=COMMIT, status=403, message="Private repository storage limit reached"),
        TooLarge, "storage limit reached",
    ),
    "422": refused(422, RegistryRejected),
    "429 without a time": refused(429, RateLimited, "Try again later"),
    "500": refused(500, RegistryUnreachable, "Nothing was published"),
    "503": refused(503, RegistryUnreachable, "Nothing was published"),
    "504, applied": Row(lambda: Fault(path=COMMIT, status=504, applied=True), holds="new"),
    "rate_limit": Row(lambda: Fault.rate_limit(1, COMMIT), holds="new"),
    "a date to come back": Row(_in_two_seconds, holds="new"),
    "a limit in the client": Row(lambda: Fault.rate_limit(1, "/preupload/"), holds="new"),
    "a long limit": Row(
        lambda: Fault.rate_limit(7200, COMMIT), RateLimited, "in 7200 seconds"
    ),
    "slow": Row(lambda: Fault.slow(1, COMMIT), holds="new"),
    "unreachable": Row(
        lambda: Fault.unreachable(COMMIT), RegistryUnreachable, "Nothing was published"
    ),
    "lost_answer": Row(lambda: Fault.lost_answer(COMMIT), holds="new"),
    "late_work": Row(lambda: Fault.late_work(0.4, COMMIT), holds="new"),
    "cut_answer": Row(lambda: Fault.cut_answer(COMMIT), holds="new"),
    "nothing in the answer": Row(lambda: Fault(path=COMMIT, body=b""), holds="new"),
    "an answer without a commit": Row(
        lambda: Fault(path=COMMIT, body=b'{"success": true}'), holds="new"
    ),
    "a page of a proxy": Row(
        lambda: Fault(path="/revision/main", times=None, body=b"<html>Sign in</html>"),
        NotUnderstood, "HF_ENDPOINT must name",
    ),
    "an upload": Row(
        lambda: Fault(path="/_lfs/", method="PUT", status=403, message="no room"),
        PermissionDenied, "no room",
    ),
    "wrong_bytes": Row(
        lambda: Fault.wrong_bytes("adapter_model"), ReadBackMismatch,
        "adapter_model.safetensors: sent", "else",
    ),
    "wrong bytes of a small file": Row(
        lambda: Fault.wrong_bytes("LICENSE", grow=True), ReadBackMismatch, "LICENSE: sent", "else",
    ),
    "refuse": Row(
        lambda: Fault.refuse(403, "/auth-check"), PermissionDenied, "injected fault"
    ),
    "xet": Row(lacks={"xet": False}, holds="new"),
    "enforce_parent": Row(
        lacks={"enforce_parent": False}, meanwhile=True, raised=ParentNotEnforced,
        said="does not enforce the parent", holds="else",
    ),
    "somebody else": Row(
        meanwhile=True, raised=RevisionConflict, said="but the head is now", holds="else"
    ),
    "honour_visibility": Row(
        lacks={"honour_visibility": False}, fresh=True, raised=VisibilityMismatch,
        said="did not make the new repository private", holds="else",
    ),
    "preupload_oid": Row(lacks={"preupload_oid": False}, holds="new"),
    "pull_requests": Row(
        lacks={"pull_requests": False}, options={"pull_request": True}, raised=Unsupported,
        said="no pull requests",
    ),
    "first_commit": Row(lacks={"first_commit": False}, holds="new"),
    "page_size": Row(lacks={"page_size": 1}, holds="new"),
    "part_size": Row(lacks={"part_size": 256}, holds="new"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def surroundings(hub_alone: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "HF_XET_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.mark.parametrize("name", ROWS)
def test_a_fault(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    with HubServer(**({"xet": False} | dict(row.lacks))) as hub:
        settings = Settings(endpoint=hub.url, token=hub.token)
        run = write(tmp_path / "run", lora_files("adapters"))

        def publish(**more: Any) -> Any:
            return weighbridge.publish(run, DEST, settings=settings, **more)

        if not row.fresh:
            publish()
        # Both a large file and a small one are others now.
        weights = run / "adapters" / "adapters.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x3d")
        (run / "LICENSE").write_text("MIT")
        before = len(hub.repo(REPO).commits()) if hub.has_repo(REPO) else 0
        handle = hub.inject(row.fault()) if row.fault else None
        told: list[str] = []

        def progress(stage: str, _done: int, _total: int) -> None:
            if row.meanwhile and stage == "upload" and stage not in told:
                hub.repo(REPO).push({"theirs.txt": b"theirs"})
            told.append(stage)

        error: WeighbridgeError | None = None
        try:
            publish(progress=progress, **row.options)
        except WeighbridgeError as failed:
            error = failed
        assert type(error) is row.raised if row.raised else error is None, error
        assert handle is None or handle.hits
        if error is not None:
            assert row.said in str(error) and exit_code(error) == 4
            assert hub.token not in "".join(traceback.format_exception(error))
        more = len(hub.repo(REPO).commits()) - before
        if row.holds != "else":
            assert more == (row.holds == "new")
            assert ("LICENSE" in hub.repo(REPO).files()) is (row.holds == "new")
        hub.clear_faults()
        # When the fault is gone: the same command again, and once more, which then does nothing.
        if row.fresh:
            hub.repo(REPO).private = True
        publish()
        assert not publish().receipt.created
        if row.holds != "else":
            assert len(hub.repo(REPO).commits()) == before + 1
        assert weighbridge.verify_release(DEST, settings=settings).sound
        assert "theirs.txt" not in hub.repo(REPO).files()
        clone_with_lfs(hub.repo(REPO), tmp_path / "clone")


def test_every_fault_of_the_server_is_here() -> None:
    named = {n for n, value in vars(Fault).items() if isinstance(value, classmethod)}
    able = {f.name for f in fields(Capabilities)} - {"keep_content"}  # spares the disk, no more
    silent = {"hangs", "trickles", "never_begins", "never_reads"}  # in the tests of a silent Hub
    assert named | able <= set(ROWS) | silent
