"""The binding level of a proof: does PEFT attach every tensor, to the base it is meant for?

Runs PEFT in a worker process on a model without weights, so the base's config.json is enough.
Judges names, shapes and PEFT's own scaling; what the numbers in the tensors do is for the
algebra and logits levels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.adapters.workers import (
    TIMEOUT_SECONDS,
    Steps,
    WorkerFailed,
    missing_peft,
    run_worker,
)
from weighbridge.application.ports import no_progress
from weighbridge.domain.peft.selection import NotPeft, pair_scale
from weighbridge.domain.proof import Figure, ProofLevel, ProofStep

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress, ProofRequest

_STAGES = 3
_LISTED = 20
# lora_alpha / r is computed in double precision on both sides.
_SCALE_TOLERANCE = 1e-6


@frozen
class BindingProver:
    """Proves that PEFT binds the converted LoRA. ``timeout`` is in seconds.

    ``prove`` raises StorageError if a temporary directory is taken away from it, else nothing of
    its own: whatever goes wrong in the worker is a failed step.
    """

    level = ProofLevel.BINDING

    timeout: float = TIMEOUT_SECONDS

    def obstacle(self, request: ProofRequest) -> str | None:
        """Why PEFT cannot be asked here; None if it can. Imports no vendor."""
        if missing := missing_peft():
            return missing
        if request.base is None:
            return "needs the base model's config.json, and no base directory was given"
        if not (Path(request.base) / "config.json").is_file():
            return "needs the base model's config.json, and the base directory has none"
        return None

    def prove(self, request: ProofRequest, progress: Progress = no_progress) -> ProofStep:
        """Bind, and judge what PEFT did."""
        if reason := self.obstacle(request):
            return ProofStep(self.level, passed=False, problems=(reason,))
        asked = {
            "base": str(Path(str(request.base)).absolute()),
            "converted": str(Path(request.converted).absolute()),
        }
        steps = Steps(progress, "proving binding", _STAGES)
        try:
            answer = run_worker("binding_worker", asked, timeout=self.timeout, listener=steps)
            config = json.loads(Path(request.converted, "adapter_config.json").read_bytes())
        except WorkerFailed as failure:
            return ProofStep(self.level, passed=False, problems=(f"PEFT: {failure}",))
        except (OSError, ValueError) as failure:
            return ProofStep(self.level, passed=False, problems=(f"adapter_config: {failure}",))
        finally:
            steps.end()
        problems = tuple(_problems(answer, config))
        return ProofStep(self.level, not problems, _figures(answer), problems)


def _figures(answer: dict[str, Any]) -> tuple[tuple[str, Figure], ...]:
    strays = len(answer["unexpected"]) + len(answer["replaced"])
    return (
        ("tensors", len(answer["tensors"])),
        ("tensors_bound", len(answer["tensors"]) - strays),
        ("modules_adapted", len(answer["scalings"])),
        ("missing", len(answer["missing"])),
        ("unexpected", len(answer["unexpected"])),
        ("replaced", len(answer["replaced"])),
        ("seconds", round(answer["seconds"], 3)),
        *sorted(answer["versions"].items()),
    )


def _problems(answer: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    if not answer["tensors"]:
        yield "the converted file holds no tensor"
    if missing := answer["missing"]:
        yield f"PEFT misses {_listed('tensor', missing)}"
    if unexpected := answer["unexpected"]:
        yield f"PEFT binds to nothing {_listed('tensor', unexpected)}"
    if replaced := answer["replaced"]:
        yield f"PEFT would replace weights of the base: {_listed('tensor', replaced)}"
    yield from _scaling_problems(answer["scalings"], config)


def _scaling_problems(scalings: dict[str, float], config: dict[str, Any]) -> Iterator[str]:
    """PEFT must multiply by what its config says, which the algebra level compares with MLX's."""
    try:
        expected = {name: pair_scale(name, config) for name in scalings}
    except NotPeft as problem:
        yield str(problem)
        return
    wrong = sorted(
        name
        for name, found in scalings.items()
        if not math.isclose(found, expected[name], rel_tol=_SCALE_TOLERANCE)
    )
    if wrong:
        found = ", ".join(f"{value:g}" for value in sorted({scalings[name] for name in wrong}))
        wanted = ", ".join(f"{value:g}" for value in sorted({expected[name] for name in wrong}))
        yield f"PEFT scales by {found} where the config says {wanted}: {_listed('module', wrong)}"


def _listed(noun: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}: {shown}{more}"
