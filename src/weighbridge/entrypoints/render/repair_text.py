"""The answer of ``repair`` as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from weighbridge.entrypoints.render import text
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.layout import pairs, sizes
from weighbridge.entrypoints.render.report_text import COLOURS

if TYPE_CHECKING:
    from weighbridge.application.repair import Repaired
    from weighbridge.domain.repairing.defects import Defect

_SHOWN = 3


def repaired(done: Repaired, *, figures: bool = False) -> str:
    """Every defect, what was done about it, what nothing proves, and the proof."""
    lines = [line for defect in done.plan.defects for line in _defect(defect)]
    lines += _outcome(done)
    if done.proof is not None:
        lines.append(text.proof(done.proof, figures=figures))
    for unknown in done.plan.unknown:
        lines.append(click.style("not known: ", fg="yellow") + visible(unknown))
    return "\n".join(lines)


def _defect(defect: Defect) -> Iterator[str]:
    colour = COLOURS[defect.severity]
    head = f"{defect.severity.value} {defect.code} {defect.name}" if defect.code else (
        f"{defect.severity.value} {defect.name}"
    )  # fmt: skip
    shown = ", ".join(defect.places[:_SHOWN])
    more = len(defect.places) - _SHOWN
    yield (
        f"{click.style(head, fg=colour, bold=True)} {visible(shown)}"
        + (f" and {more} more" if more > 0 else "")
        + f": {visible(defect.what)}"
    )
    repair = defect.correction or "none with what is at hand"
    yield from pairs((("why", defect.why), ("repair", repair)))


def _outcome(done: Repaired) -> Iterator[str]:
    plan, where = done.plan, visible(done.location)
    if not plan.needed:
        yield click.style("nothing to repair", fg="green", bold=True) + f" is seen in {where}"
        return
    config, moves = plan.conversion.config, Counter(s.move.value for s in plan.steps)
    settings = (
        f"r {config['r']}, lora_alpha {config['lora_alpha']} (scale {plan.conversion.scale:g})"
    )
    listed = ", ".join(f"{count} {move}" for move, count in sorted(moves.items()))
    if done.output is None:
        yield click.style("dry run: nothing was written", fg="yellow")
        yield f"would be repaired: {listed}; {settings}"
        return
    word = click.style("repaired", fg="green", bold=True)
    yield f"{word} to {visible(done.output)}: {listed}; {settings}"
    yield from sizes((str(entry.path), entry.size) for entry in done.entries)
