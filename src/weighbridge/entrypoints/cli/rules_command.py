"""``weighbridge rules``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.output import common_options, emit, hint


@click.command("rules")
@common_options
def command() -> None:
    """List all rules, those of installed packages too: code, severity, name."""
    from weighbridge.entrypoints.render import json, text
    from weighbridge.entrypoints.rulebook import installed_rulebook

    known = installed_rulebook()
    for refused in known.refused:
        hint(f"{refused.code}: {refused.error}")
    emit(lambda: text.catalogue(known.all), lambda: json.catalogue(known.all))
