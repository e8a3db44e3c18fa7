"""What ``plan`` and ``publish`` are told of where a model goes and under which names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.entrypoints.cli.arguments import (
    PATH,
    as_option,
    base_model_option,
    base_option,
    checkpoint_option,
    profile_option,
    require_option,
    scale_option,
    up_to_option,
)

if TYPE_CHECKING:
    from weighbridge.entrypoints.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])

name_option = click.option("--name", metavar="ORG/NAME[@REV]", help="Name in a directory registry.")


def asking() -> Settings:
    """The surroundings' settings; in a terminal the passphrase of a key is asked for."""
    from attrs import evolve

    from weighbridge.entrypoints.settings import Settings

    settings = Settings.from_environment()
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        return settings
    return evolve(settings, ask_passphrase=_typed)


def _typed(key: str) -> str:
    from weighbridge.entrypoints.render.escape import visible

    typed: str = click.prompt(f"Passphrase of {visible(key)}", hide_input=True, err=True)
    return typed


def publication_options(function: _F) -> _F:
    """All of them, and what a conversion is told."""
    for option in (
        click.option("-m", "--message", default="Publish with Weighbridge",
                     help="Commit message."),
        click.option("--sign-key", type=PATH,
                     help="Private key (PEM or OpenSSH, elliptic curve) to sign with."),
        click.option("--license", "licence", metavar="ID",
                     help="Licence for a card written here."),
        checkpoint_option,
        as_option,
        up_to_option,
        require_option,
        profile_option,
        scale_option,
        base_option,
        base_model_option,
        click.option("--pull-request", is_flag=True,
                     help="Propose it, where the registry has pull requests."),
        click.option("--move-tag", is_flag=True, help="Let a tag leave the revision it names."),
        click.option("--tag", "tags", multiple=True, metavar="NAME",
                     help="Tag what was published; may be repeated."),
        click.option("--branch", metavar="NAME", help="Publish to this branch, not to main."),
        click.option("--public", is_flag=True, help="Allow that everybody may see it."),
        name_option,
    ):  # fmt: skip
        function = option(function)
    return function
