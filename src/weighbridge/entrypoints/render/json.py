"""Results as JSON. Each document names its schema; the schemas are in ``schemas/``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import fields

from weighbridge.domain.errors import WeighbridgeError
from weighbridge.domain.findings import (
    Finding,
    Rule,
    Severity,
    ValidationReport,
    Waived,
    first_of_each,
)
from weighbridge.domain.fingerprints import fingerprints
from weighbridge.domain.proof import Proof
from weighbridge.domain.tensor_plan import Padding

if TYPE_CHECKING:
    from weighbridge.application.convert import Converted
    from weighbridge.application.dequantise import Dequantised
    from weighbridge.application.fuse import Fused
    from weighbridge.application.inspect import Inspection
    from weighbridge.application.repair import Repaired
    from weighbridge.application.verify_release import ReleaseVerdict
    from weighbridge.domain.artifact import ManifestEntry
    from weighbridge.domain.repairing.defects import Defect


def dumps(document: dict[str, Any]) -> str:
    """``document`` as text, in ASCII, so that any terminal and encoding takes it."""
    # A runner takes what follows two of them, anywhere in a line, for a command to itself.
    return json.dumps(document, indent=2, allow_nan=False).replace("##", "#\\u0023")


def document(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """A document that names its schema."""
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
    return document("inspection", body)


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
        "facts": {name: json_number(fact) for name, fact in finding.facts.items()},
        "fingerprint": mark,
    }


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return list(map(_finding, findings, fingerprints(findings)))


def _waived(waived: Sequence[Waived]) -> list[dict[str, Any]]:
    found = _findings([w.finding for w in waived])
    return [
        {"finding": finding, "by": w.by.value, "reason": w.reason}
        for w, finding in zip(waived, found, strict=True)
    ]


def _first_waived(waived: Sequence[Waived]) -> tuple[list[Waived], Mapping[str, int]]:
    shown, more = first_of_each(w.finding for w in waived)
    listed = {id(finding) for finding in shown}
    return [w for w in waived if id(w.finding) in listed], more


def report_body(judged: ValidationReport) -> dict[str, Any]:
    """A report, as it is in several documents."""
    listed, more = first_of_each(judged.findings)
    waived, more_waived = _first_waived(judged.waived)
    return {
        "location": judged.location,
        "kind": judged.kind.value if judged.kind else None,
        "overall_valid": judged.overall_valid,
        "counts": {s.value: judged.counts[s] for s in Severity},
        "rules_run": judged.rules_run,
        "verdict": judged.verdict.value,
        "fail_on": judged.fail_on.value,
        "complete": judged.complete,
        "findings": _findings(listed),
        "more_findings": dict(more),
        "skipped": [{"code": s.code, "reason": s.reason} for s in judged.skipped],
        "crashed": [{"code": c.code, "error": c.error} for c in judged.crashed],
        "waived": _waived(waived),
        "more_waived": dict(more_waived),
        "unexamined": [
            {"what": part.what, "reason": part.reason, "chosen": part.chosen}
            for part in judged.unexamined
        ],
        "ignored": list(judged.ignored),
        "files": [file_entry(entry) for entry in judged.manifest.entries],
        "fingerprint": judged.manifest.fingerprint,
    }


def report(judged: ValidationReport) -> dict[str, Any]:
    """The answer of ``validate``."""
    return document("report", report_body(judged))


def proof_body(proved: Proof) -> dict[str, Any]:
    """A proof, as it is in several documents."""
    return {
        "passed": proved.passed,
        "level": proved.level.label if proved.level else None,
        "steps": [
            {
                "level": step.level.label,
                "passed": step.passed,
                "figures": {name: json_number(value) for name, value in step.figures},
                "problems": list(step.problems),
            }
            for step in proved.steps
        ],
        "unattempted": [
            {"level": missed.level.label, "reason": missed.reason} for missed in proved.unattempted
        ],
    }


def json_number(value: Any) -> Any:
    """A number that JSON has, or its name."""
    finite = not isinstance(value, float) or value - value == 0
    return value if finite else str(value)


def proof(proved: Proof) -> dict[str, Any]:
    """The answer of ``verify``."""
    return document("proof", proof_body(proved))


def release(found: ReleaseVerdict) -> dict[str, Any]:
    """The answer of ``verify-release``."""
    body = {f.name: getattr(found, f.name) for f in fields(type(found))}
    return document("release", {**body, "sound": found.sound, "problems": list(found.problems)})


def file_entry(entry: ManifestEntry) -> dict[str, Any]:
    """A file with its digests."""
    digests = {d.algorithm: d.value for d in entry.digests}
    return {"path": entry.path.text, "size": entry.size, "digests": digests}


def converted(done: Converted) -> dict[str, Any]:
    """The answer of ``convert``."""
    planned = done.plan
    padding = planned.padding if planned else Padding()
    return document(
        "conversion",
        {
            "output": done.output,
            "scale": planned.scale if planned else None,
            "tensors": len(planned.tensors) if planned else 0,
            "config": dict(planned.config) if planned else None,
            "padding": {"tensors": padding.tensors, "bytes": padding.nbytes},
            "notes": list(planned.notes) if planned else [],
            "files": [file_entry(e) for e in done.entries],
            "proof": proof_body(done.proof) if done.proof else None,
        },
    )


def repaired(done: Repaired) -> dict[str, Any]:
    """The answer of ``repair``."""
    plan = done.plan
    return document(
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
            "files": [file_entry(e) for e in done.entries],
            "proof": proof_body(done.proof) if done.proof else None,
        },
    )


def fused(done: Fused) -> dict[str, Any]:
    """The answer of ``fuse``."""
    return document(
        "fusion",
        {
            "output": done.output,
            "scales": list(done.plan.scales),
            "modules": done.plan.modules,
            "tensors": len(done.plan.checkpoint.weights),
            "changed": list(done.plan.changed),
            "weight_bytes": done.plan.checkpoint.total_bytes,
            "notes": list(done.plan.checkpoint.notes),
            "files": [file_entry(e) for e in done.entries],
            "proof": proof_body(done.proof),
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
    return document(
        "dequantization",
        {
            "output": done.output,
            "packings": packings,
            "tensors": len(done.plan.checkpoint.weights),
            "renamed": done.plan.renamed,
            "weight_bytes": done.plan.checkpoint.total_bytes,
            "notes": list(done.plan.checkpoint.notes),
            "files": [file_entry(e) for e in done.entries],
            "proof": proof_body(done.proof),
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
    return document("rules", {"rules": [rule(r) for r in rules]})


def error(problem: Exception, code: int) -> dict[str, Any]:
    """Any command that failed."""
    report_of = getattr(problem, "report", None)
    proof_of = getattr(problem, "proof", None)
    message = str(problem) if isinstance(problem, WeighbridgeError) else problem_text(problem)
    return document(
        "error",
        {
            "error": type(problem).__name__,
            "message": message,
            "exit_code": code,
            "report": report_body(report_of) if isinstance(report_of, ValidationReport) else None,
            "proof": proof_body(proof_of) if isinstance(proof_of, Proof) else None,
        },
    )


def problem_text(problem: Exception) -> str:
    """The words of an error that is not ours (click's own)."""
    formatted = getattr(problem, "format_message", None)
    return str(formatted()) if callable(formatted) else str(problem)
