"""Results as text for people: aligned, escaped, coloured by click (which strips it for pipes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import click

from weighbridge.domain.models import Kind
from weighbridge.domain.proof import Figure, Proof, ProofLevel, ProofStep
from weighbridge.entrypoints.render.escape import human_bytes, visible
from weighbridge.entrypoints.render.layout import dim, item, pairs, ranges, sizes
from weighbridge.entrypoints.render.report_text import COLOURS

if TYPE_CHECKING:
    from weighbridge.application.convert import Converted
    from weighbridge.application.dequantise import Dequantised
    from weighbridge.application.fuse import Fused
    from weighbridge.application.inspect import Inspection
    from weighbridge.application.verify_release import ReleaseVerdict
    from weighbridge.domain.artifact import ManifestEntry
    from weighbridge.domain.checkpoints.checkpoint import CheckpointPlan
    from weighbridge.domain.findings import Rule
    from weighbridge.domain.tensor_plan import ConversionPlan

_SIGNED = {
    "valid": "valid, by whom you named",
    "invalid": "INVALID",
    "unverified": "there is one; verify it with --key or --identity",
    "none": "none",
}
_STATED = (("base model", "baseModel"), ("made from", "kind"))
#: What a proof that passed says in one line, out of its figures.
_HEADLINES = {
    ProofLevel.ALGEBRA: "{modules} modules, "
    "largest relative difference {largest_relative_difference:.2g}",
    ProofLevel.BINDING: "{tensors_bound} of {tensors} tensors bound, {modules_adapted} modules",
    ProofLevel.LOGITS: "logits differ by {lora_difference_relative:.2g} of the largest, "
    "the LoRA moves them by {lora_effect_relative:.2g}",
}


def _whole_model(found: Inspection) -> Iterator[tuple[str, str]]:
    if found.model_type is not None:
        yield "model type", found.model_type
    if found.conversion is not None:
        standing, reason = found.conversion.standing, found.conversion.reason
        yield "LoRA on it", standing.value + (f": {reason}" if reason else "")
    if found.quantised:
        stated = ", ".join(f"{name} {value}" for name, value in (found.quantisation or {}).items())
        yield "quantised", "by MLX, " + (stated or "config.json does not say how")


def _adapter(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "training", f"{found.training}, in the form of {found.dialect}"
    yield "base model", found.base_model or "not named"
    yield "rank", ", ".join(map(str, found.rank)) or "unknown"
    alpha = "" if found.alpha is None else f" (lora_alpha {found.alpha:g})"
    known = f"unknown: {found.scale_reason}" if found.scale is None else f"{found.scale:g}"
    yield "scale", known + alpha
    if found.experts is not None:
        yield "experts", str(found.experts)
    if found.embeddings:
        yield "embeddings", ", ".join(found.embeddings)
    if found.checkpoints:
        yield "checkpoints", ", ".join(map(str, found.checkpoints))


def inspection(found: Inspection) -> str:
    """The answer of ``inspect``."""
    rows = [("kind", found.kind.value)]
    if found.kind is Kind.FUSED:
        rows += _whole_model(found)
    else:
        rows += _adapter(found)
    rows += [
        ("layers", f"{len(found.layers)} ({ranges(found.layers)})" if found.layers else "none"),
        ("modules", _modules(found.modules)),
        ("tensors", f"{found.tensors}, {found.parameters:,} parameters"),
        ("dtypes", ", ".join(f"{d} {human_bytes(n)}" for d, n in found.dtypes.items())),
        ("weights", human_bytes(found.weight_bytes)),
    ]
    head = click.style(visible(found.location), bold=True)
    return "\n".join([head, *pairs(rows), f"  {dim('files')}", *sizes(found.files, "    ")])


def _modules(counts: Mapping[str, int]) -> str:
    """The names by how often they are there: what each layer has comes first."""
    names: dict[int, list[str]] = {}
    for name, count in counts.items():
        names.setdefault(count, []).append(name)
    return "; ".join(f"{count} x {', '.join(names[count])}" for count in sorted(names)[::-1])


def _figure(name: str, value: Figure) -> str:
    if name == "bytes" and isinstance(value, int):
        return human_bytes(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _headline(step: ProofStep) -> str:
    try:
        return _HEADLINES[step.level].format(**dict(step.figures))
    except (KeyError, ValueError):  # another prover, with figures of its own
        return ""


def proof(proved: Proof, *, figures: bool = True) -> str:
    """The proof; with ``figures``, all of them, else the foremost, or all of a failed level."""
    lines = []
    for step in proved.steps:
        word, colour = ("proved", "green") if step.passed else ("FAILED", "red")
        brief = step.passed and not figures
        said = f"{step.level.label:<7}  {_headline(step)}" if brief else step.level.label
        lines.append(f"{click.style(word, fg=colour, bold=True)} {said}".rstrip())
        lines += [item(f"- {problem}", "    ") for problem in step.problems]
        if not brief:
            rows = ((name.replace("_", " "), _figure(name, value)) for name, value in step.figures)
            lines += pairs(rows, "    ")
    for missed in proved.unattempted:
        lines.append(dim(item(f"not attempted {missed.level.label}: {missed.reason}", "")))
    return "\n".join(lines)


def release(found: ReleaseVerdict) -> str:
    """The answer of ``verify-release``."""
    word, colour = ("as published", "green") if found.sound else ("NOT AS PUBLISHED", "red")
    at = f" at {found.revision}" if found.revision else ""
    lines = [f"{click.style(word, fg=colour, bold=True)} {visible(found.location)}{at}"]
    lines += [item(f"- {problem}", "    ") for problem in found.problems]
    rows = [("files", str(found.files)), ("signature", _SIGNED[found.signature])]
    facts = found.facts
    rows += [(key, str(facts[name])) for key, name in _STATED if isinstance(facts.get(name), str)]
    return "\n".join([*lines, *pairs(rows, "    ")])


def converted(done: Converted, *, figures: bool = False) -> str:
    """The answer of ``convert``."""
    word = click.style("converted", fg="green", bold=True)
    lines = [f"{word} to {visible(done.output)}{_settings(done.plan)}"]
    lines += sizes((str(e.path), e.size) for e in done.entries)
    if done.plan is not None:
        padding = done.plan.padding
        if padding.tensors:
            size = human_bytes(padding.nbytes)
            lines.append(
                f"of these {padding.tensors} tensors ({size}) are zeros that some servers look for"
            )
        lines += [item(f"note: {note}", "") for note in done.plan.notes]
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
    rows = sizes((str(e.path), e.size) for e in entries)
    notes = (item(f"note: {note}", "") for note in written.notes)
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


def catalogue(rules: Iterable[Rule]) -> str:
    """All rules, a line each."""
    return "\n".join(_listed(rules))


def _listed(rules: Iterable[Rule]) -> Iterator[str]:
    for rule in rules:
        severity = click.style(f"{rule.severity.value:<7}", fg=COLOURS[rule.severity])
        yield f"{rule.code}  {severity}  {rule.name}"


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
    return "\n".join([click.style(f"{rule.code} {rule.name}", bold=True), *pairs(rows)])
