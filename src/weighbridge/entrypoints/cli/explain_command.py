"""``weighbridge explain``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("explain")
@click.argument("code")
@common_options
def command(code: str) -> None:
    """Explain the rule CODE (or its name): what it says, why, and how to fix it."""
    from weighbridge.domain.rules import find_rule
    from weighbridge.entrypoints.render import json, text

    rule = find_rule(code)
    if rule is None:
        raise click.UsageError(f"no rule {code!r}; weighbridge rules lists them")
    emit(lambda: text.explanation(rule), lambda: json.catalogue((rule,)))
