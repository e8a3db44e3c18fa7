"""What is wrong with a broken PEFT adapter, cause by cause, and what repairing does about it.

The rules of ``validate`` see what the directory shows by itself. The original shows more: bytes
that are not where the header says, a scale that is another, tensors that were lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.findings import Finding, Severity, ValidationReport
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.config import same_scale, stated_alpha, stated_rank, stated_scale
from weighbridge.domain.repairing.recovery import Move, Recovered, unmatched


@frozen
class Defect:
    """One cause. ``code`` is the rule's, None if only the original shows it; ``places`` are the
    tensors or keys concerned. ``correction`` is None if nothing at hand corrects it."""

    code: str | None
    name: str
    severity: Severity
    what: str
    why: str
    places: tuple[str, ...]
    correction: str | None = None


_RENAMED = "renamed as PEFT names it"
_WRITTEN = "written anew from the tensors"
_LEFT_OUT = "left out"
_CORRECTIONS: Mapping[str, str] = {
    "FS013": "only the repaired adapter is written",
    "PE001": "written as LORA", "PE002": _RENAMED, "PE004": _WRITTEN, "PE005": "transposed",
    "PE006": _RENAMED, "PE007": _RENAMED, "PE008": _RENAMED, "PE009": _RENAMED, "PE010": _RENAMED,
    "PE012": "written as adapter_model.safetensors", "PE013": _WRITTEN, "PE014": _WRITTEN,
    "PE015": _WRITTEN, "PE016": _WRITTEN, "PE018": "written as an integer",
    "PE021": "written as CAUSAL_LM",
    "PE022": _LEFT_OUT, "PE023": _LEFT_OUT, "PE024": _LEFT_OUT,
}  # fmt: skip
_ABOUT_SCALE = frozenset({"PE019", "PE020"})


@frozen
class Means:
    """What is at hand to correct defects with."""

    original: bool
    scale: bool
    base_model: str | None


def seen_alone(report: ValidationReport, means: Means) -> tuple[Defect, ...]:
    """The findings of the report, one defect for each rule.

    What the rules say of the scale is dropped if it is known: ``seen_in_scale`` then knows better.
    """
    by_code: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if not (means.scale and finding.code in _ABOUT_SCALE):
            by_code.setdefault(finding.code, []).append(finding)
    return tuple(_of(found, means) for found in by_code.values())


def _of(found: list[Finding], means: Means) -> Defect:
    first = found[0]
    places = tuple(dict.fromkeys(map(_finding_place, found)))
    return Defect(first.code, first.name, first.severity, first.message, first.why, places,
                  _correction(first.code, means))  # fmt: skip


def _finding_place(finding: Finding) -> str:
    """The tensor or key; of a selection, the module that it is about."""
    if finding.location.inside == "target_modules":
        for fact in ("module", "target"):
            if fact in finding.facts:
                return str(finding.facts[fact])
    return finding.location.inside or finding.location.path


def _correction(code: str, means: Means) -> str | None:
    match code:
        case "PE003":
            return "taken from the original" if means.original else None
        case "PE011":
            return _LEFT_OUT if means.original else None
        case "PE025" | "PE026" | "PE027":
            return _WRITTEN if means.original else None
        case "PE017":
            return "computed from the scale that is known" if means.scale else None
        case "AD009" | "AD010" | "AD011":
            return f"replaced by {means.base_model}" if means.base_model else None
    return _CORRECTIONS.get(code)


def seen_in_bytes(recovered: Iterable[Recovered]) -> Iterator[Defect]:
    """What only a comparison with the original's bytes shows."""
    listed = tuple(recovered)
    rules = (
        (Move.REREAD, "bytes-not-transposed",
         "has the transposed shape, but the bytes of MLX's tensor as it was",
         "safetensors.numpy 0.8.0 writes the bytes of a transposed view in their old order, "
         "without an error. The shapes fit, so that PEFT loads it and computes something else.",
         "read by its real shape, then transposed"),
        (Move.RESHAPED, "shape-not-transposed",
         "has MLX's shape, but the bytes of its transpose",
         "The shape in the header was not changed with the bytes, so that they mean other numbers.",
         "read by its real shape"),
        (Move.FROM_ORIGINAL, "tensor-lost", "is in the original and not here",
         "The module does less than it was trained to do, or nothing.",
         "taken from the original"),
    )  # fmt: skip
    for move, name, what, why, correction in rules:
        places = tuple(_place(r) for r in listed if r.move is move)
        if places:
            yield Defect(None, name, Severity.ERROR, what, why, places, correction)
    yield from _square(listed)


def _place(recovered: Recovered) -> str:
    return recovered.target.name if recovered.lost else recovered.source.name


def _square(recovered: Iterable[Recovered]) -> Iterator[Defect]:
    """A square factor looks transposed and is not: no rule can see it."""
    places = tuple(
        r.source.name
        for r in recovered
        if r.move is Move.TRANSPOSED and r.header[0] == r.header[1] > 1
    )
    if places:
        yield Defect("PE005", "factor-not-transposed", Severity.ERROR,
                     "is square, with the bytes of MLX's tensor as it was",
                     "PEFT loads it and computes something else.", places,
                     "transposed")  # fmt: skip


def seen_beside(
    model: PeftModel, recovered: Iterable[Recovered], named: Iterable[str]
) -> Iterator[Defect]:
    """Tensors that are not the original's, but for those that a rule ``named`` already."""
    known = set(named)
    places = tuple(n for n in unmatched(model.tensors, recovered) if n not in known)
    if places:
        yield Defect(None, "tensor-not-original", Severity.WARNING, "is not in the original",
                     "PEFT passes it over, or it changes what was trained.", places,
                     _LEFT_OUT)  # fmt: skip


#: Settings that change what PEFT computes, or that it loads at all, whatever the tensors are.
_TELLING = ("use_dora", "exclude_modules", "modules_to_save", "rank_pattern", "alpha_pattern",
            "bias", "lora_bias", "layer_replication", "trainable_token_indices", "use_qalora",
            "use_bdlora", "kasa_config", "arrow_config", "alora_invocation_tokens")  # fmt: skip


def seen_in_settings(
    model: PeftModel, right: Mapping[str, Any], named: Iterable[str]
) -> Iterator[Defect]:
    """Settings that what was trained does not have, but for those that a rule ``named`` already."""

    def tells(config: Mapping[str, Any], key: str) -> bool:
        return bool(config.get(key)) and config[key] != "none"

    known = set(named)
    places = tuple(key for key in _TELLING if key not in known and (
        (tells(model.config, key) and not tells(right, key))
        or (key == "use_dora" and tells(right, key) and not tells(model.config, key))
    ))  # fmt: skip
    if places:
        yield Defect(None, "setting-not-original", Severity.ERROR, "is not what was trained",
                     "PEFT computes something else with it, or does not load the adapter.", places,
                     _WRITTEN)  # fmt: skip


def seen_in_scale(model: PeftModel, scale: float, rank: int) -> Iterator[Defect]:
    """``lora_alpha`` and ``r`` against the scale that MLX applied."""
    alpha, stated = stated_alpha(model.config), stated_scale(model.config)
    if alpha is None or (stated is not None and same_scale(stated, scale)):
        return
    if same_scale(alpha, scale * rank) and not model.config.get("use_rslora"):
        return  # only r is wrong, which has a rule of its own
    name, what = "alpha-wrong", f"is {alpha:g}, where the scale {scale:g} needs {scale * rank:g}"
    if same_scale(alpha, scale):
        name, what = "alpha-is-scale", f"is {alpha:g}, MLX's scale; it must be scale x rank"
    elif alpha in (rank, stated_rank(model.config)):
        name, what = "alpha-is-rank", f"is {alpha:g}, the rank, which makes the scale 1"
    effect = 1.0 if stated is None or not math.isfinite(stated / scale) else stated / scale
    why = "PEFT multiplies by lora_alpha / r, MLX by the scale itself" + (
        f"; the LoRA would have {effect:.3g} times its strength." if stated is not None else "."
    )
    yield Defect(None, name, Severity.ERROR, what, why, ("lora_alpha",),
                 f"written as {scale * rank:.10g}")  # fmt: skip


def matters(defect: Defect) -> bool:
    """False for what is only worth knowing."""
    return defect.severity is not Severity.INFO
