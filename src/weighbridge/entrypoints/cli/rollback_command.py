"""``weighbridge rollback``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.destination_options import name_option
from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("rollback")
@click.argument("dest")
@click.option("--to", required=True, metavar="REV", help="Revision, tag or branch to go back to.")
@name_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("-m", "--message", default="", help="Commit message.")
@common_options
def command(dest: str, to: str, name: str | None, dry_run: bool, message: str) -> None:
    """Make DEST hold again what it held at a former revision, in one step, and read it back.

    Nothing of the history is lost, and no large file is sent. DEST is hf://org/name[@branch], or a
    directory with --name org/name; log shows its revisions.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    done = api.rollback(dest, to, name=name, message=message, dry_run=dry_run)
    emit(lambda: publication_text.rolled_back(done), lambda: publication_json.rolled_back(done))
