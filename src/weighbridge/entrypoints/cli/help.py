"""``--help`` and ``--version``: text for people, or a document under ``--format json``.

Both are asked for on lines that name no command yet, so the format is looked for on the whole line,
by ``failures.run``. Imports nothing that the text does not need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def show_help(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """The callback of ``--help``."""
    if value and not context.resilient_parsing:
        _print(context, context.get_help, lambda: _document(context))


def show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """The callback of ``--version``."""
    if value and not context.resilient_parsing:
        from importlib.metadata import version

        found = version("weighbridge")
        named = {"schema": "weighbridge/version/1", "version": found}
        _print(context, lambda: f"weighbridge {found}", lambda: named)


def _print(
    context: click.Context, text: Callable[[], str], document: Callable[[], dict[str, Any]]
) -> None:
    if context.find_root().obj:
        import json

        click.echo(json.dumps(document(), indent=2))
    else:
        click.echo(text(), color=context.color)
    context.exit()


def _document(context: click.Context) -> dict[str, Any]:
    command = context.command
    return {
        "schema": "weighbridge/help/1",
        "command": context.command_path,
        "usage": " ".join([context.command_path, *command.collect_usage_pieces(context)]),
        "help": command.help or "",
        "arguments": [
            {"name": each.human_readable_name, "required": each.required}
            for each in command.params
            if isinstance(each, click.Argument)
        ],
        "options": [_option(each) for each in command.params if isinstance(each, click.Option)],
        "commands": _commands(command),
    }


def _option(option: click.Option) -> dict[str, Any]:
    kind = option.type
    switch = option.is_flag or option.count
    return {
        "names": option.opts,
        "value": None if switch else option.metavar or kind.name.upper(),
        "choices": list(kind.choices) if isinstance(kind, click.Choice) else None,
        "required": option.required,
        "help": option.help or "",
    }


def _commands(command: click.Command) -> list[dict[str, str]]:
    from weighbridge.entrypoints.cli.group import LazyGroup

    known = command.help_of if isinstance(command, LazyGroup) else {}
    return [{"name": name, "help": text} for name, text in known.items()]
