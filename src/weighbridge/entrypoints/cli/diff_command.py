"""``weighbridge diff``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.destination_options import name_option
from weighbridge.entrypoints.cli.output import common_options, emit, progress


@click.command("diff")
@click.argument("old")
@click.argument("new")
@name_option
@common_options
def command(old: str, new: str, name: str | None) -> None:
    """Show what differs between two published revisions, OLD and NEW, in files and weights.

    Each is hf://org/name@revision, or DIRECTORY@revision with --name org/name; a revision is an
    id, a tag or a branch. Of tensors that changed it says in how many elements and by how much;
    only files that differ are read, in chunks.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    done = api.diff(old, new, name=name, progress=progress())
    emit(lambda: publication_text.comparison(done), lambda: publication_json.comparison(done))
