"""Results as text for people: aligned, escaped, coloured by click (which strips it for pipes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from weighbridge.application.convert import Converted
from weighbridge.application.dequantise import Dequantised
from weighbridge.application.fuse import Fused
from weighbridge.application.inspect import Inspection
from weighbridge.application.publish import PublishOutcome
from weighbridge.domain.artifact import ManifestEntry
from weighbridge.domain.checkpoint import CheckpointPlan
from weighbridge.domain.findings import Finding, Rule, Severity, ValidationReport
from weighbridge.domain.proof import Figure, Proof
from weighbridge.domain.publication import HubRepo, PublicationPlan
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.entrypoints.render.escape import human_bytes, visible

#: A severity's colour.
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_SIGNS = {
    "add": ("+", "green"),
    "change": ("~", "yellow"),
    "keep": (" ", None),
    "remove": ("-", "red"),
}


def _table(rows: Iterable[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    listed = [tuple(map(visible, row)) for row in rows]
    width = max((len(row[0]) for row in listed), default=0)
    for row in listed:
        yield f"{indent}{row[0]:<{width}}  {'  '.join(row[1:])}".rstrip()


def _ranges(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def inspection(found: Inspection) -> str:
    """The answer of ``inspect``."""
    rows = [("kind", found.kind.value + (" (quantised by MLX)" if found.quantised else ""))]
    if found.model_type is not None:
        rows.append(("model type", found.model_type))
    if found.kind.value != "fused":
        rows.append(("base model", found.base_model or "not named"))
        rows.append(("rank", ", ".join(map(str, found.rank)) or "unknown"))
        rows.append(("scale", "unknown" if found.scale is None else f"{found.scale:g}"))
    rows += [
        ("layers", f"{len(found.layers)} ({_ranges(found.layers)})" if found.layers else "none"),
        ("modules", ", ".join(f"{name} x{count}" for name, count in found.modules.items())),
        ("tensors", f"{found.tensors}, {found.parameters:,} parameters"),
        ("dtypes", ", ".join(f"{d} {human_bytes(n)}" for d, n in found.dtypes.items())),
        ("weights", human_bytes(found.weight_bytes)),
    ]
    files = _table(((name, human_bytes(size)) for name, size in found.files), "    ")
    return "\n".join([visible(found.location), *_table(rows), "  files", *files])


def _finding(finding: Finding) -> list[str]:
    colour = COLOURS[finding.severity]
    head = click.style(f"{finding.severity.value} {finding.code}", fg=colour, bold=True)
    return [
        f"{head} {visible(finding.where)}: {visible(finding.message)}",
        f"  why: {visible(finding.why)}",
        f"  fix: {visible(finding.remedy)}",
    ]


def _skipped(judged: ValidationReport) -> Iterator[str]:
    reasons = dict.fromkeys(s.reason for s in judged.skipped)
    for reason in reasons:
        codes = ", ".join(s.code for s in judged.skipped if s.reason == reason)
        yield f"skipped {codes}: {reason}"


def report(judged: ValidationReport) -> str:
    """The answer of ``validate``."""
    lines = [line for finding in judged.findings for line in _finding(finding)]
    for crash in judged.crashed:
        lines.append(click.style(f"error {crash.code} crashed: ", fg="red") + visible(crash.error))
    lines += _skipped(judged)
    counts = ", ".join(f"{n} {s.value}(s)" for s, n in judged.counts.items() if n)
    verdict = (
        click.style("good", fg="green", bold=True)
        if judged.overall_valid
        else click.style("blocked", fg="red", bold=True)
    )
    kind = judged.kind.value if judged.kind else "no known model"
    lines.append(
        f"{verdict}: {visible(judged.location)} ({kind}), {judged.rules_run} rules run, "
        f"{len(judged.skipped)} skipped" + (f", {counts}" if counts else "")
    )
    return "\n".join(lines)


def _figure(value: Figure) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def proof(proved: Proof, *, figures: bool = True) -> str:
    """The proof; with ``figures``, all of them, else only those of a failed level."""
    lines = []
    for step in proved.steps:
        sign = click.style("proved", fg="green") if step.passed else click.style("FAILED", fg="red")
        lines.append(f"{sign} {step.level.label}")
        if figures or not step.passed:
            lines += _table(((name, _figure(value)) for name, value in step.figures), "    ")
        lines += [f"    problem: {visible(problem)}" for problem in step.problems]
    for missed in proved.unattempted:
        lines.append(f"not attempted {missed.level.label}: {visible(missed.reason)}")
    return "\n".join(lines)


def converted(done: Converted, *, figures: bool = False) -> str:
    """The answer of ``convert``."""
    rows = [(str(e.path), human_bytes(e.size)) for e in done.entries]
    lines = [f"converted to {visible(done.output)}{_settings(done.plan)}", *_table(rows)]
    if done.plan is not None:
        padding = done.plan.padding
        if padding.tensors:
            size = human_bytes(padding.nbytes)
            lines.append(
                f"of these {padding.tensors} tensors ({size}) are zeros that some servers look for"
            )
        lines += [f"note: {visible(note)}" for note in done.plan.notes]
    if done.proof is not None:
        lines.append(proof(done.proof, figures=figures))
    return "\n".join(lines)


def _settings(planned: ConversionPlan | None) -> str:
    """Rank and scale of what was converted, in the target's own terms."""
    if planned is None:
        return ""
    config, count = planned.config, len(planned.tensors)
    if "r" in config:
        alpha = f"lora_alpha {config['lora_alpha']} (MLX scale {planned.scale:g})"
        return f": {count} tensors, r {config['r']}, {alpha}"
    parameters = config["lora_parameters"]
    return f": {count} tensors, rank {parameters['rank']}, scale {parameters['scale']:g}"


def _checkpoint(
    head: str,
    written: CheckpointPlan,
    entries: Iterable[ManifestEntry],
    proved: Proof,
    figures: bool,
) -> str:
    rows = _table((str(e.path), human_bytes(e.size)) for e in entries)
    notes = (f"note: {visible(note)}" for note in written.notes)
    return "\n".join([head, *rows, *notes, proof(proved, figures=figures)])


def fused(done: Fused, *, figures: bool = False) -> str:
    """The answer of ``fuse``."""
    scales = ", ".join(f"{scale:g}" for scale in done.plan.scales)
    head = (
        f"fused to {visible(done.output)}: {done.plan.modules} modules into "
        f"{len(done.plan.changed)} of {len(done.plan.checkpoint.weights)} tensors"
        + (f", MLX scale {scales}" if scales else "")
    )
    return _checkpoint(head, done.plan.checkpoint, done.entries, done.proof, figures)


def dequantised(done: Dequantised, *, figures: bool = False) -> str:
    """The answer of ``dequantize``."""
    plan = done.plan
    made = [f"{count} modules of {packing}" for packing, count in plan.packings]
    made += [f"{plan.renamed} tensors to other names or shapes"] if plan.renamed else []
    verb = "dequantized" if plan.packings else "restored"
    made += [f"{len(plan.checkpoint.weights)} tensors in all"]
    head = f"{verb} to {visible(done.output)}: {'; '.join(made)}"
    return _checkpoint(head, plan.checkpoint, done.entries, done.proof, figures)


def plan(planned: PublicationPlan) -> str:
    """What a publication would change."""
    rows = []
    for change in planned.changes:
        sign, colour = _SIGNS[change.action]
        text = f"  {sign} {visible(str(change.path))}  {human_bytes(change.size)}"
        rows.append(click.style(text, fg=colour) if colour else text)
    on = f"on revision {planned.parent[:12]}" if planned.parent else "as the first revision"
    seen = ""
    if isinstance(planned.destination, HubRepo):
        seen = " (private)" if planned.private else " (may be public)"
    counts = ", ".join(
        f"{len(planned.of(a))} {a}" for a in ("add", "change", "keep", "remove") if planned.of(a)
    )
    head = f"{visible(str(planned.destination))}{seen}, {on}"
    return "\n".join([head, *rows, f"{counts}; {human_bytes(planned.upload_bytes)} to send"])


def outcome(done: PublishOutcome, *, figures: bool = False) -> str:
    """The answer of ``publish``."""
    lines = [report(done.report)]
    if done.proof is not None:
        lines.append(proof(done.proof, figures=figures))
    lines.append(plan(done.plan))
    if done.receipt is None:
        lines.append(click.style("dry run: nothing was sent", fg="yellow"))
    else:
        word = "published" if done.receipt.created else "up to date"
        lines.append(
            click.style(word, fg="green", bold=True)
            + f" {visible(str(done.receipt.destination))} at {done.receipt.revision}"
            + ", read back and equal"
        )
        if done.receipt.url:
            lines.append(f"  {visible(done.receipt.url)}")
    return "\n".join(lines)


def catalogue(rules: Iterable[Rule]) -> str:
    """All rules, a line each."""
    rows = [(r.code, f"{r.severity.value:<7}", r.name) for r in rules]
    return "\n".join(_table(rows, ""))


def explanation(rule: Rule) -> str:
    """One rule: what, why, how to fix it."""
    kinds = ", ".join(sorted(k.value for k in rule.kinds))
    rows = (
        ("severity", rule.severity.value),
        ("applies to", kinds),
        ("needs", rule.need.value),
        ("message", rule.template),
        ("why", rule.why),
        ("fix", rule.remedy),
    )
    return "\n".join([f"{rule.code} {rule.name}", *_table(rows)])
