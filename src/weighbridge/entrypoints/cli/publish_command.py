"""``weighbridge publish``."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from weighbridge.entrypoints.cli.arguments import PATH
from weighbridge.entrypoints.cli.destination_options import asking, publication_options
from weighbridge.entrypoints.cli.output import common_options, emit, progress, setting
from weighbridge.entrypoints.cli.policy_options import chosen_policy, policy_options

_WITH_A_PLAN = frozenset(
    {"plan_file", "sign_keyless", "select", "ignore", "severity", "fail_on", "baseline", "config",
     "isolated"}
)  # fmt: skip


@click.command("publish")
@click.argument("run", type=PATH, required=False)
@click.argument("dest", required=False)
@click.option("--plan", "plan_file", type=click.Path(), metavar="FILE",
              help="Carry out this plan, exactly; RUN and DEST are in it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Do everything but send; print the plan.")
@click.option("--sign-keyless", is_flag=True,
              help="Sign by Sigstore as whoever runs this, logged for everybody.")  # fmt: skip
@publication_options
@policy_options
@common_options
def command(
    run: str | None,
    dest: str | None,
    plan_file: str | None,
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
) -> None:
    """Validate RUN, convert it, prove it, publish it to DEST and read it back.

    DEST is hf://org/name[@revision], oci://host/repository[:tag], s3://bucket/prefix[@revision],
    or a directory with --name org/name. The directory is in the Hugging Face cache layout:
    HF_HUB_CACHE=DEST HF_HUB_OFFLINE=1 loads from it by name.

    A .weighbridgeignore in RUN, in the syntax of a .gitignore, takes away from what ships.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    saved = None if plan_file is None else api.load_plan(_alone(plan_file))
    if saved is not None:
        run = saved.wishes.location
    if run is None or (dest is None and saved is None):
        raise click.UsageError("RUN and DEST are needed, or --plan FILE")
    policy = chosen_policy(
        run, select=select, ignore=ignore, severity=severity, fail_on=fail_on, baseline=baseline,
        config=config, isolated=isolated,
    )  # fmt: skip
    if saved is not None:
        keyless = bool(options["sign_keyless"])
        done = api.publish(plan=saved, policy=policy, sign_keyless=keyless, progress=progress(),
                           settings=asking())  # fmt: skip
    else:
        done = api.publish(
            run,
            dest,
            require_proof=require,
            prove_up_to=up_to,
            policy=policy,
            progress=progress(),
            settings=asking(),
            **options,
        )
    emit(
        lambda: publication_text.outcome(done, figures=bool(setting("verbose"))),
        lambda: publication_json.outcome(done),
    )


def _alone(plan_file: str) -> str:
    """The plan says everything. Raises UsageError if something of it was said beside it."""
    context = click.get_current_context()
    said = [
        each.opts[0] if isinstance(each, click.Option) else each.human_readable_name
        for each in context.command.params
        if each.expose_value
        and each.name not in _WITH_A_PLAN
        and context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
    ]
    if said:
        raise click.UsageError(f"{', '.join(said)}: the plan says that; make another one")
    return plan_file
