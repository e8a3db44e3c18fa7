"""``weighbridge verify-release``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import PATH
from weighbridge.entrypoints.cli.output import common_options, emit, progress


@click.command("verify-release")
@click.argument("dest")
@click.option("--name", metavar="ORG/NAME[@REV]", help="Name in a directory registry.")
@click.option("--key", type=PATH, help="Public key (PEM) that must have signed it.")
@click.option(
    "--identity",
    metavar="WHO",
    help="Who must have signed it: an e-mail address, or a CI job's workflow.",
)
@click.option("--identity-issuer", metavar="URL", help="Identity provider that vouches for WHO.")
@common_options
def command(
    dest: str,
    name: str | None,
    key: str | None,
    identity: str | None,
    identity_issuer: str | None,
) -> int:
    """Check a release against the statement, and the signature, that it carries.

    DEST is what it was published to, or a directory that it was downloaded to.
    """
    from weighbridge.entrypoints import api, exit_codes
    from weighbridge.entrypoints.render import json, text

    found = api.verify_release(
        dest, name=name, key=key, identity=identity, identity_issuer=identity_issuer,
        progress=progress(),
    )  # fmt: skip
    emit(lambda: text.release(found), lambda: json.release(found))
    return exit_codes.GOOD if found.sound else exit_codes.BLOCKED
