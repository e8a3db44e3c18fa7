"""``weighbridge completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from weighbridge.entrypoints.cli.output import common_options, emit


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL, to be sourced by its start-up file."""
    found = get_completion_class(shell)
    assert found is not None
    root = context.find_root().command
    script = found(root, {}, "weighbridge", "_WEIGHBRIDGE_COMPLETE").source()
    emit(lambda: script, lambda: {"schema": "weighbridge/completion/1", "script": script})
