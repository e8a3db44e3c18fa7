"""``weighbridge validate``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import (
    as_option,
    base_model_option,
    base_option,
    checkpoint_option,
    run_argument,
    scale_option,
)
from weighbridge.entrypoints.cli.output import common_options, emit, progress, setting


@click.command("validate")
@run_argument
@as_option
@checkpoint_option
@base_option
@base_model_option
@scale_option
@common_options
def command(
    run: str,
    kind: str | None,
    checkpoint: int | None,
    base: str | None,
    base_model: str | None,
    scale: float | None,
) -> int:
    """Judge RUN: findings with code, place, reason and remedy.

    Exit code 1 if anything blocks publication, 3 if RUN is no model at all.
    """
    from weighbridge.entrypoints import api, exit_codes
    from weighbridge.entrypoints.render import json, report_text

    judged = api.validate(
        run,
        kind=kind,
        checkpoint=checkpoint,
        base=base,
        base_model=base_model,
        scale=scale,
        progress=progress(),
    )
    emit(
        lambda: report_text.report(judged, everything=bool(setting("verbose"))),
        lambda: json.report(judged),
    )
    if judged.kind is None:
        return exit_codes.UNREADABLE
    return exit_codes.GOOD if judged.overall_valid else exit_codes.BLOCKED
