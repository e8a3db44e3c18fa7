"""``weighbridge log``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.destination_options import name_option
from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("log")
@click.argument("dest")
@name_option
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True,
              help="At most so many.")  # fmt: skip
@common_options
def command(dest: str, name: str | None, limit: int) -> None:
    """Show what was published to DEST, newest first: revision, time, message, tags.

    DEST is hf://org/name[@branch], or a directory with --name org/name.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    told = api.log(dest, name=name, limit=limit)
    shown = dest if name is None else f"{dest}:{name}"
    emit(lambda: publication_text.log(shown, told), lambda: publication_json.log(shown, told))
