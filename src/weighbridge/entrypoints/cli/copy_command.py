"""``weighbridge copy``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.output import common_options, emit, progress


@click.command("copy")
@click.argument("source")
@click.argument("dest")
@click.option("--source-name", metavar="ORG/NAME[@REV]",
              help="Name in the directory registry SOURCE.")  # fmt: skip
@click.option("--name", metavar="ORG/NAME[@REV]", help="Name in the directory registry DEST.")
@click.option("--dry-run", is_flag=True, help="Send nothing; print the plan.")
@click.option("--public", is_flag=True, help="Allow that everybody may see it.")
@click.option("-m", "--message", help="Commit message; else it names SOURCE and its revision.")
@common_options
def command(
    source: str,
    dest: str,
    source_name: str | None,
    name: str | None,
    dry_run: bool,
    public: bool,
    message: str | None,
) -> None:
    """Publish to DEST what SOURCE holds, as it is, as one revision, and read it back.

    Both are spelled as a destination of publish. What is equal there already is not sent again;
    what SOURCE does not hold is removed from DEST.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import publication_json, publication_text

    done = api.copy(
        source, dest, source_name=source_name, name=name, public=public, dry_run=dry_run,
        message=message, progress=progress(),
    )  # fmt: skip
    emit(lambda: publication_text.copied(done), lambda: publication_json.copied(done))
