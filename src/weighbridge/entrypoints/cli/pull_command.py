"""``weighbridge pull``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import PATH
from weighbridge.entrypoints.cli.output import common_options, emit, progress


@click.command("pull")
@click.argument("source")
@click.option("-o", "--output", required=True, type=PATH, help="Directory to write.")
@click.option("--name", metavar="ORG/NAME[@REV]", help="Name in a directory registry.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@common_options
def command(source: str, output: str, name: str | None, force: bool) -> None:
    """Download what SOURCE holds, verify every digest, and only then let it appear at the output.

    SOURCE is spelled as a destination of publish. A revision may be named by its own name too: a
    commit of the Hub, a digest of an OCI registry. What came whole before a pull broke off is not
    asked for again by the next pull to the same output.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    done = api.pull(source, output, name=name, force=force, progress=progress())
    emit(lambda: publication_text.pulled(done), lambda: publication_json.pulled(done))
