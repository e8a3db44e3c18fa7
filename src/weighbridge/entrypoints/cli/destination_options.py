"""What ``plan`` and ``publish`` are told of where a model goes and under which names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

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
)

_F = TypeVar("_F", bound=Callable[..., Any])

name_option = click.option("--name", metavar="ORG/NAME[@REV]", help="Name in a directory registry.")


def publication_options(function: _F) -> _F:
    """All of them, and what a conversion is told."""
    for option in (
        click.option("-m", "--message", default="Publish with Weighbridge",
                     help="Commit message."),
        click.option("--sign-key", type=PATH,
                     help="Private key (PEM, elliptic curve) to sign the release with."),
        click.option("--license", "licence", metavar="ID",
                     help="Licence for a card written here."),
        checkpoint_option,
        as_option,
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
