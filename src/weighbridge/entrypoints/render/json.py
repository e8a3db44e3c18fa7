"""Results as JSON. Each document names its schema; the schemas are in ``schemas/``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import fields

from weighbridge.domain.errors import WeighbridgeError
from weighbridge.domain.findings import Finding, Rule, Severity, ValidationReport
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.proof import Proof
from weighbridge.domain.tensor_plan import Padding

if TYPE_CHECKING:
    from weighbridge.application.convert import Converted
    from weighbridge.application.copy import Copied
    from weighbridge.application.dequantise import Dequantised
    from weighbridge.application.fuse import Fused
    from weighbridge.application.inspect import Inspection
    from weighbridge.application.publish import PublishOutcome
    from weighbridge.application.pull import Pulled
    from weighbridge.application.repair import Repaired
    from weighbridge.domain.artifact import ManifestEntry
    from weighbridge.domain.publication import PublicationPlan, Receipt
    from weighbridge.domain.repairing.defects import Defect


def dumps(document: dict[str, Any]) -> str:
    """``document`` as text, in ASCII, so that any terminal and encoding takes it."""
    return json.dumps(document, indent=2, allow_nan=False)


def _document(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"schema": f"weighbridge/{name}/1", **body}


def inspection(found: Inspection) -> dict[str, Any]:
    """The answer of ``inspect``."""
    body = {f.name: getattr(found, f.name) for f in fields(type(found))}
    body |= {
        "kind": found.kind.value,
        "rank": list(found.rank),
        "layers": list(found.layers),
        "files": [{"path": path, "size": size} for path, size in found.files],
        "embeddings": list(found.embeddings),
        "checkpoints": list(found.checkpoints),
        "conversion": None
        if found.conversion is None
        else {
            "standing": found.conversion.standing.name.lower().replace("_", "-"),
            "reason": found.conversion.reason,
        },
        "quantisation": None if found.quantisation is None else dict(found.quantisation),
    }
    return _document("inspection", body)


def _finding(finding: Finding, mark: str) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "path": finding.location.path,
        "inside": finding.location.inside,
        "message": finding.message,
        "why": finding.why,
        "remedy": finding.remedy,
        "facts": {name: _json_number(fact) for name, fact in finding.facts.items()},
        "fingerprint": mark,
    }


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return list(map(_finding, findings, fingerprints(findings)))


def _report(judged: ValidationReport) -> dict[str, Any]:
    return {
        "location": judged.location,
        "kind": judged.kind.value if judged.kind else None,
        "overall_valid": judged.overall_valid,
        "counts": {s.value: judged.counts[s] for s in Severity},
        "rules_run": judged.rules_run,
        "verdict": judged.verdict.value,
        "fail_on": judged.fail_on.value,
        "complete": judged.complete,
        "findings": _findings(judged.findings),
        "skipped": [{"code": s.code, "reason": s.reason} for s in judged.skipped],
        "crashed": [{"code": c.code, "error": c.error} for c in judged.crashed],
        "waived": [
            {"finding": found, "by": w.by.value, "reason": w.reason}
            for w, found in zip(
                judged.waived, _findings([w.finding for w in judged.waived]), strict=True
            )
        ],
        "unexamined": [
            {"what": part.what, "reason": part.reason, "chosen": part.chosen}
            for part in judged.unexamined
        ],
        "ignored": list(judged.ignored),
        "files": [_entry(entry) for entry in judged.manifest.entries],
        "fingerprint": judged.manifest.fingerprint,
    }


def report(judged: ValidationReport) -> dict[str, Any]:
    """The answer of ``validate``."""
    return _document("report", _report(judged))


def _proof(proved: Proof) -> dict[str, Any]:
    return {
        "passed": proved.passed,
        "level": proved.level.label if proved.level else None,
        "steps": [
            {
                "level": step.level.label,
                "passed": step.passed,
                "figures": {name: _json_number(value) for name, value in step.figures},
                "problems": list(step.problems),
            }
            for step in proved.steps
        ],
        "unattempted": [
            {"level": missed.level.label, "reason": missed.reason} for missed in proved.unattempted
        ],
    }


def _json_number(value: Any) -> Any:
    finite = not isinstance(value, float) or value - value == 0
    return value if finite else str(value)


def proof(proved: Proof) -> dict[str, Any]:
    """The answer of ``verify``."""
    return _document("proof", _proof(proved))


def _entry(entry: ManifestEntry) -> dict[str, Any]:
    digests = {d.algorithm: d.value for d in entry.digests}
    return {"path": entry.path.text, "size": entry.size, "digests": digests}


def converted(done: Converted) -> dict[str, Any]:
    """The answer of ``convert``."""
    planned = done.plan
    padding = planned.padding if planned else Padding()
    return _document(
        "conversion",
        {
            "output": done.output,
            "scale": planned.scale if planned else None,
            "tensors": len(planned.tensors) if planned else 0,
            "config": dict(planned.config) if planned else None,
            "padding": {"tensors": padding.tensors, "bytes": padding.nbytes},
            "notes": list(planned.notes) if planned else [],
            "files": [_entry(e) for e in done.entries],
            "proof": _proof(done.proof) if done.proof else None,
        },
    )


def repaired(done: Repaired) -> dict[str, Any]:
    """The answer of ``repair``."""
    plan = done.plan
    return _document(
        "repair",
        {
            "location": done.location,
            "weights": done.weights,
            "output": done.output,
            "needed": plan.needed,
            "defects": [_defect(d) for d in plan.defects],
            "tensors": [
                {"target": s.target, "source": s.source, "operation": s.move.value}
                for s in plan.steps
            ],
            "scale": plan.conversion.scale,
            "config": dict(plan.conversion.config),
            "unknown": list(plan.unknown),
            "files": [_entry(e) for e in done.entries],
            "proof": _proof(done.proof) if done.proof else None,
        },
    )


def fused(done: Fused) -> dict[str, Any]:
    """The answer of ``fuse``."""
    return _document(
        "fusion",
        {
            "output": done.output,
            "scales": list(done.plan.scales),
            "modules": done.plan.modules,
            "tensors": len(done.plan.checkpoint.weights),
            "changed": list(done.plan.changed),
            "weight_bytes": done.plan.checkpoint.total_bytes,
            "notes": list(done.plan.checkpoint.notes),
            "files": [_entry(e) for e in done.entries],
            "proof": _proof(done.proof),
        },
    )


def _defect(defect: Defect) -> dict[str, Any]:
    return {
        "code": defect.code,
        "name": defect.name,
        "severity": defect.severity.value,
        "what": defect.what,
        "why": defect.why,
        "places": list(defect.places),
        "correction": defect.correction,
    }


def dequantised(done: Dequantised) -> dict[str, Any]:
    """The answer of ``dequantize``."""
    packings = [
        {"mode": p.mode.value, "bits": p.bits, "group_size": p.group_size, "modules": count}
        for p, count in done.plan.packings
    ]
    return _document(
        "dequantization",
        {
            "output": done.output,
            "packings": packings,
            "tensors": len(done.plan.checkpoint.weights),
            "renamed": done.plan.renamed,
            "weight_bytes": done.plan.checkpoint.total_bytes,
            "notes": list(done.plan.checkpoint.notes),
            "files": [_entry(e) for e in done.entries],
            "proof": _proof(done.proof),
        },
    )


def _plan(planned: PublicationPlan) -> dict[str, Any]:
    return {
        "destination": str(planned.destination),
        "parent": planned.parent,
        "private": planned.private,
        "noop": planned.is_noop,
        "upload_bytes": planned.upload_bytes,
        "changes": [
            {"action": c.action, "path": c.path.text, "size": c.size} for c in planned.changes
        ],
        "files": [_entry(e) for e in planned.manifest.entries],
    }


def _receipt(answered: Receipt | None) -> dict[str, Any] | None:
    if answered is None:
        return None
    return {
        "destination": str(answered.destination),
        "revision": answered.revision,
        "created": answered.created,
        "url": answered.url,
    }


def pulled(done: Pulled) -> dict[str, Any]:
    """The answer of ``pull``."""
    return _document(
        "pull",
        {
            "source": str(done.source),
            "revision": done.revision,
            "output": done.output,
            "files": [_entry(e) for e in done.entries],
        },
    )


def copied(done: Copied) -> dict[str, Any]:
    """The answer of ``copy``."""
    return _document(
        "copy",
        {
            "source": str(done.source),
            "revision": done.revision,
            "plan": _plan(done.plan),
            "receipt": _receipt(done.receipt),
        },
    )


def outcome(done: PublishOutcome) -> dict[str, Any]:
    """The answer of ``publish``."""
    return _document(
        "publication",
        {
            "report": _report(done.report),
            "proof": _proof(done.proof) if done.proof else None,
            "plan": _plan(done.plan),
            "receipt": _receipt(done.receipt),
        },
    )


def rule(described: Rule) -> dict[str, Any]:
    """One rule, as in the answers of ``rules`` and ``explain``."""
    return {
        "code": described.code,
        "name": described.name,
        "severity": described.severity.value,
        "kinds": sorted(k.value for k in described.kinds),
        "needs": described.need.value,
        "message": described.template,
        "why": described.why,
        "remedy": described.remedy,
    }


def catalogue(rules: tuple[Rule, ...]) -> dict[str, Any]:
    """The answer of ``rules`` and of ``explain``."""
    return _document("rules", {"rules": [rule(r) for r in rules]})


def error(problem: Exception, code: int) -> dict[str, Any]:
    """Any command that failed."""
    report_of = getattr(problem, "report", None)
    proof_of = getattr(problem, "proof", None)
    message = str(problem) if isinstance(problem, WeighbridgeError) else problem_text(problem)
    return _document(
        "error",
        {
            "error": type(problem).__name__,
            "message": message,
            "exit_code": code,
            "report": _report(report_of) if isinstance(report_of, ValidationReport) else None,
            "proof": _proof(proof_of) if isinstance(proof_of, Proof) else None,
        },
    )


def problem_text(problem: Exception) -> str:
    """The words of an error that is not ours (click's own)."""
    formatted = getattr(problem, "format_message", None)
    return str(formatted()) if callable(formatted) else str(problem)
