"""``weighbridge explain``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("explain")
@click.argument("code")
@common_options
def command(code: str) -> None:
    """Explain the rule CODE (or its name): what it says, why, and how to fix it."""
    from weighbridge.entrypoints.render import json, text
    from weighbridge.entrypoints.rulebook import installed_rulebook

    rule = installed_rulebook().find(code)
    if rule is None:
        raise click.UsageError(f"no rule {code!r}; weighbridge rules lists them")
    emit(lambda: text.explanation(rule), lambda: json.catalogue((rule,)))
