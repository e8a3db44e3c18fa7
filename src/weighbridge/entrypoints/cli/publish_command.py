"""``weighbridge publish``."""

from __future__ import annotations

from typing import Any

import click

from weighbridge.entrypoints.cli.arguments import (
    as_option,
    base_model_option,
    base_option,
    checkpoint_option,
    profile_option,
    require_option,
    run_argument,
    scale_option,
)
from weighbridge.entrypoints.cli.output import common_options, emit, progress, setting
from weighbridge.entrypoints.cli.policy_options import chosen_policy, policy_options


@click.command("publish")
@run_argument
@click.argument("dest")
@click.option("--name", metavar="ORG/NAME[@REV]", help="Name in a directory registry.")
@click.option("--dry-run", is_flag=True, help="Do everything but send; print the plan.")
@click.option("--public", is_flag=True, help="Allow that everybody may see it.")
@base_model_option
@base_option
@scale_option
@profile_option
@require_option
@as_option
@checkpoint_option
@click.option("--license", "licence", metavar="ID", help="Licence for a card written here.")
@click.option("-m", "--message", default="Publish with Weighbridge", help="Commit message.")
@policy_options
@common_options
def command(
    run: str,
    dest: str,
    require: str | None,
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
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import json, text

    policy = chosen_policy(
        run, select=select, ignore=ignore, severity=severity, fail_on=fail_on, baseline=baseline,
        config=config, isolated=isolated,
    )  # fmt: skip
    done = api.publish(
        run, dest, require_proof=require, policy=policy, progress=progress(), **options
    )
    emit(lambda: text.outcome(done, figures=bool(setting("verbose"))), lambda: json.outcome(done))
