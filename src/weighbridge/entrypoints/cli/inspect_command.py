"""``weighbridge inspect``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import as_option, checkpoint_option, run_argument
from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("inspect")
@run_argument
@as_option
@checkpoint_option
@common_options
def command(run: str, kind: str | None, checkpoint: int | None) -> None:
    """Say what RUN is: kind, base model, rank, scale, layers, modules, sizes, dtypes.

    Reads file names, small documents and tensor headers, never the weights.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import json, text

    found = api.inspect(run, kind=kind, checkpoint=checkpoint)
    emit(lambda: text.inspection(found), lambda: json.inspection(found))
