"""``weighbridge rules``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("rules")
@common_options
def command() -> None:
    """List all rules: code, severity, name."""
    from weighbridge.domain.rules import CATALOGUE
    from weighbridge.entrypoints.render import json, text

    emit(lambda: text.catalogue(CATALOGUE), lambda: json.catalogue(CATALOGUE))
