"""``weighbridge validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weighbridge.entrypoints.cli.arguments import (
    as_option,
    base_model_option,
    base_option,
    checkpoint_option,
    run_argument,
    scale_option,
)
from weighbridge.entrypoints.cli.output import hint, progress, report_options, setting
from weighbridge.entrypoints.cli.policy_options import chosen_policy, policy_options
from weighbridge.entrypoints.cli.report_output import emit_report

if TYPE_CHECKING:
    from weighbridge.domain.findings import ValidationReport


@click.command("validate")
@run_argument
@as_option
@checkpoint_option
@base_option
@base_model_option
@scale_option
@click.option("--weights/--no-weights", default=None,
              help="Read the weights' values, too; the default but for hf://.")  # fmt: skip
@policy_options
@click.option("--write-baseline", type=click.Path(), metavar="FILE",
              help="Make all that is found now known, for --baseline.")  # fmt: skip
@click.option("--statistics", is_flag=True, help="Count the findings of each rule.")
@click.option("-o", "--output-file", type=click.Path(), metavar="FILE",
              help="Write the report there.")  # fmt: skip
@report_options
def command(
    run: str,
    kind: str | None,
    checkpoint: int | None,
    base: str | None,
    base_model: str | None,
    scale: float | None,
    weights: bool | None,
    write_baseline: str | None,
    statistics: bool,
    output_file: str | None,
    **policy: Any,
) -> int:
    """Judge RUN: findings with code, place, reason and remedy.

    Exit code 1 if anything blocks publication, 3 if RUN is no model at all, 5 if nothing bad was
    found but not everything could be checked.
    """
    from weighbridge.entrypoints import api, exit_codes
    from weighbridge.entrypoints.policy_files import require_writable

    if statistics and setting("format", "text") != "text":
        raise click.UsageError("--statistics is for the format text; other formats count anyway")
    for path in filter(None, (output_file, write_baseline)):
        require_writable(path, run)
    judged = api.validate(
        run,
        kind=kind,
        checkpoint=checkpoint,
        base=base,
        base_model=base_model,
        scale=scale,
        weights=weights,
        policy=chosen_policy(run, **policy),
        progress=progress(),
    )
    emit_report(judged, output_file, statistics=statistics)
    if write_baseline is not None:
        judged = _made_known(judged, write_baseline)
    return exit_codes.report_code(judged)


def _made_known(judged: ValidationReport, path: str) -> ValidationReport:
    """What is left of the report, now that the baseline has the rest."""
    from attrs import evolve

    from weighbridge.domain.policy.baseline import may_be_known
    from weighbridge.entrypoints.policy_files import write_baseline
    from weighbridge.entrypoints.render.layout import counted

    known = counted(write_baseline(judged, path), "finding")
    hint(f"{path} is written: {known}")
    left = tuple(f for f in judged.findings if not may_be_known(f))
    return evolve(judged, findings=left)
