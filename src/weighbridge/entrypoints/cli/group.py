"""A click group whose commands are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Command ``a-b`` is the object ``command`` of module ``<package>.a_b_command``."""

    def __init__(
        self, *args: Any, commands_help: Mapping[str, str], package: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.help_of = commands_help
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the work."""
        return list(self.help_of)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in self.help_of:
            return None
        command = import_module(f"{self._package}.{cmd_name.replace('-', '_')}_command").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; of a misspelt name it is said what was meant, which takes no import."""
        from difflib import get_close_matches

        meant = get_close_matches(args[0], self.help_of, n=1)
        if args[0] not in self.help_of and meant:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.help_of.items()))
