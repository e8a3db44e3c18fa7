"""``weighbridge plan``."""

from __future__ import annotations

from typing import Any

import click

from weighbridge.entrypoints.cli.arguments import run_argument
from weighbridge.entrypoints.cli.destination_options import asking, publication_options
from weighbridge.entrypoints.cli.output import common_options, emit, next_step, progress, setting
from weighbridge.entrypoints.cli.policy_options import chosen_policy, policy_options


@click.command("plan")
@run_argument
@click.argument("dest")
@click.option("-o", "--output", type=click.Path(), metavar="FILE",
              help="Write the plan there, for publish --plan.")  # fmt: skip
@click.option("--detailed-exitcode", is_flag=True,
              help="End with 6 if there is something to do, with 0 if there is not.")  # fmt: skip
@publication_options
@policy_options
@common_options
def command(
    run: str,
    dest: str,
    output: str | None,
    detailed_exitcode: bool,
    require: str | None,
    up_to: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    severity: tuple[str, ...],
    fail_on: str | None,
    baseline: str | None,
    config: str | None,
    isolated: bool,
    **options: Any,
) -> int:
    """Do everything for publishing RUN to DEST but send it, and say what would change.

    The plan has the digest of every file. publish --plan FILE carries out exactly that, or refuses
    if the source or the destination is another by then. RUN, DEST and the options are those of
    publish; needs no right to write.
    """
    from weighbridge.entrypoints import api, exit_codes
    from weighbridge.entrypoints.render import publication_json, publication_text

    policy = chosen_policy(
        run, select=select, ignore=ignore, severity=severity, fail_on=fail_on, baseline=baseline,
        config=config, isolated=isolated,
    )  # fmt: skip
    made = api.plan(
        run, dest, require_proof=require, prove_up_to=up_to, output=output, policy=policy,
        progress=progress(), settings=asking(),
        **options,
    )  # fmt: skip
    emit(
        lambda: publication_text.saved_plan(made, figures=bool(setting("verbose"))),
        lambda: publication_json.saved_plan(made),
    )
    if output is not None and not made.plan.does_nothing:
        next_step("publish", plan=output)
    return exit_codes.plan_code(made.plan) if detailed_exitcode else exit_codes.GOOD
