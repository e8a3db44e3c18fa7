"""What is planned, published, told of the past and compared, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.entrypoints.render.json import (
    document,
    file_entry,
    json_number,
    proof_body,
    report_body,
)

if TYPE_CHECKING:
    from weighbridge.application.compare import Comparison, TensorChange
    from weighbridge.application.copy import Copied
    from weighbridge.application.history import RolledBack
    from weighbridge.application.publish import PublishOutcome
    from weighbridge.application.pull import Pulled
    from weighbridge.domain.publication import Change, PublicationPlan, Receipt, Revision
    from weighbridge.domain.tensors import TensorSpec
    from weighbridge.entrypoints.saved_plans import SavedPlan


def _plan(planned: PublicationPlan) -> dict[str, Any]:
    return {
        "destination": str(planned.destination),
        "parent": planned.parent,
        "private": planned.private,
        "noop": planned.is_noop,
        "start": planned.start,
        "pull_request": planned.pull_request,
        "tags": [{"name": name, "now": now} for name, now in planned.tags],
        "upload_bytes": planned.upload_bytes,
        "changes": _changes(planned.changes),
        "files": [file_entry(e) for e in planned.manifest.entries],
    }


def _changes(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {
            "action": each.action,
            "path": each.path.text,
            "size": each.size,
            "digest": None if each.digest is None else str(each.digest),
            "before": None if each.before is None else str(each.before),
        }
        for each in changes
    ]


def _receipt(done: Receipt) -> dict[str, Any]:
    return {
        "destination": str(done.destination),
        "revision": done.revision,
        "created": done.created,
        "url": done.url,
    }


def saved_plan(saved: SavedPlan) -> dict[str, Any]:
    """The answer of ``plan``, which ``publish --plan`` reads."""
    from weighbridge.entrypoints.saved_plans import written

    proved = saved.outcome.proof if saved.outcome else None
    level = proved.level if proved else None
    return document(
        "plan",
        {
            "does_nothing": saved.plan.does_nothing,
            "options": written(saved.wishes),
            "source": [file_entry(e) for e in saved.source.entries],
            "proof": level.label if level else None,
            "plan": _plan(saved.plan),
        },
    )


def log(destination: str, told: Sequence[Revision]) -> dict[str, Any]:
    """The answer of ``log``."""
    revisions = [
        {"revision": r.id, "when": r.when, "message": r.message, "tags": list(r.tags)} for r in told
    ]
    return document("log", {"destination": destination, "revisions": revisions})


def comparison(done: Comparison) -> dict[str, Any]:
    """The answer of ``diff``."""
    return document(
        "diff",
        {
            "before": {"destination": str(done.before), "revision": done.revisions[0]},
            "after": {"destination": str(done.after), "revision": done.revisions[1]},
            "changes": _changes(done.changes),
            "tensors": [_tensor_change(each) for each in done.tensors],
            "equal_tensors": done.equal,
            "unread": list(done.unread),
        },
    )


def _tensor_change(change: TensorChange) -> dict[str, Any]:
    distance = change.distance and {
        "changed": change.distance.changed,
        "largest": json_number(change.distance.largest),
        "relative": json_number(change.distance.relative),
    }
    return {
        "name": change.name,
        "before": _spec(change.before),
        "after": _spec(change.after),
        "distance": distance,
    }


def _spec(spec: TensorSpec | None) -> dict[str, Any] | None:
    return None if spec is None else {"dtype": spec.dtype, "shape": list(spec.shape)}


def rolled_back(done: RolledBack) -> dict[str, Any]:
    """The answer of ``rollback``."""
    return document(
        "rollback",
        {
            "destination": str(done.destination),
            "before": done.before,
            "to": done.to,
            "changes": _changes(done.changes),
            "receipt": _receipt(done.receipt) if done.receipt else None,
        },
    )


def outcome(done: PublishOutcome) -> dict[str, Any]:
    """The answer of ``publish``."""
    return document(
        "publication",
        {
            "report": report_body(done.report),
            "proof": proof_body(done.proof) if done.proof else None,
            "plan": _plan(done.plan),
            "receipt": _receipt(done.receipt) if done.receipt else None,
        },
    )


def pulled(done: Pulled) -> dict[str, Any]:
    """The answer of ``pull``."""
    return document(
        "pull",
        {
            "source": str(done.source),
            "revision": done.revision,
            "output": done.output,
            "files": [file_entry(e) for e in done.entries],
        },
    )


def copied(done: Copied) -> dict[str, Any]:
    """The answer of ``copy``."""
    return document(
        "copy",
        {
            "source": str(done.source),
            "revision": done.revision,
            "plan": _plan(done.plan),
            "receipt": None if done.receipt is None else _receipt(done.receipt),
        },
    )
