"""Repairing a PEFT adapter that a script made wrong, as a plan: what is wrong, the LoRA that is
meant, and the adapter that it makes. Decides everything; moves no byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from weighbridge.domain.base_names import looks_quantised
from weighbridge.domain.conversion import is_local_path
from weighbridge.domain.findings import Subject, ValidationReport, judge
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.config import TASK_TYPES
from weighbridge.domain.repairing.defects import Defect, Means, matters, seen_alone
from weighbridge.domain.repairing.recovery import Move, Recovered
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.tensor_plan import ConversionPlan

_OTHER_RULES = ("FS013", "AD009", "AD010", "AD011")
_RULES = tuple(r for r in CATALOGUE if r.code.startswith("PE") or r.code in _OTHER_RULES)


@frozen
class BaseName:
    """The base model's Hub id, or why there is none."""

    value: str | None
    reason: str = ""


@frozen
class RepairStep:
    """One tensor of the repaired adapter: ``source`` is in the broken one unless it was lost."""

    target: str
    source: str
    move: Move


@frozen
class RepairPlan:
    """What is wrong and what will be written. ``unknown`` says what nothing at hand proves.

    ``tensors`` make up the LoRA as MLX would store it, and ``conversion`` what becomes of that.
    """

    report: ValidationReport
    defects: tuple[Defect, ...]
    tensors: tuple[Recovered, ...]
    conversion: ConversionPlan
    unknown: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """False if the adapter is sound as it is."""
        return any(matters(defect) for defect in self.defects)

    @property
    def steps(self) -> tuple[RepairStep, ...]:
        """What each tensor of the output is made of."""
        made_of = {r.target.name: r for r in self.tensors}
        steps = []
        for planned in self.conversion.tensors:
            recovered = made_of[planned.sources[0].name]
            steps.append(RepairStep(planned.target.name, recovered.source.name, recovered.move))
        return tuple(steps)


def examine(subject: Subject) -> ValidationReport:
    """What validation has to say of the adapter; the layout, the weights' values and the JSON of
    other files are not repaired."""
    return judge(subject, _RULES)


def choose_base(wanted: str | None, candidates: Iterable[str | None]) -> BaseName:
    """``wanted``, else the first candidate that transformers could load from the Hub."""
    if wanted is not None:
        if is_local_path(wanted):
            return BaseName(None, f"--base-model {wanted!r} is a path, not a Hub id")
        return BaseName(wanted)
    listed = [name for name in candidates if name]
    for name in listed:
        if not is_local_path(name) and not looks_quantised(name):
            return BaseName(name)
    if not listed:
        return BaseName(None, "no base model is named; give --base-model org/name")
    what = "a path of one machine" if is_local_path(listed[0]) else "quantised by MLX"
    reason = f"the base model {listed[0]!r} is {what}; give --base-model and the original's id"
    return BaseName(None, reason)


def named_bases(model: PeftModel) -> tuple[str | None, ...]:
    """Every base model that the adapter's config names, PEFT's key first."""
    names = (model.config.get(k) for k in ("base_model_name_or_path", "model", "model_name"))
    return tuple(name if isinstance(name, str) else None for name in names)


def tidy(plan: ConversionPlan, broken: Mapping[str, Any], *, keep_task: bool) -> ConversionPlan:
    """The plan with what its config cannot know from the LoRA alone.

    An alpha that was taken apart into scale and rank is put together to the integer that it was;
    with ``keep_task`` the adapter keeps its task, and the revision of a base that it keeps.
    """
    config = dict(plan.config)
    alpha = config["lora_alpha"]
    if isinstance(alpha, float) and math.isclose(alpha, round(alpha), rel_tol=1e-12):
        config["lora_alpha"] = round(alpha)
    if keep_task and broken.get("task_type") in TASK_TYPES:
        config["task_type"] = broken["task_type"]
    base, revision = broken.get("base_model_name_or_path"), broken.get("revision")
    if base == config["base_model_name_or_path"] and isinstance(revision, str):
        config["revision"] = revision
    return evolve(plan, config=config)


def uncorrected(defects: Iterable[Defect]) -> tuple[str, ...]:
    """What stays as it is, in words for whoever uses the result."""
    return tuple(
        f"{d.name}: {d.places[0]} {d.what}" for d in defects if d.correction is None and matters(d)
    )


def found(report: ValidationReport, means: Means, more: Iterable[Defect]) -> tuple[Defect, ...]:
    """All defects, the worst first."""
    listed = (*more, *seen_alone(report, means))
    return tuple(sorted(listed, key=lambda d: (d.severity.rank, d.name)))
