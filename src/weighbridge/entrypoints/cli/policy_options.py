"""The options that make a policy, and the policy that they and the nearest configuration make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.entrypoints.cli.output import hint

if TYPE_CHECKING:
    from weighbridge.domain.policy.policy import Policy

_F = TypeVar("_F", bound=Callable[..., Any])


def policy_options(function: _F) -> _F:
    """``--select``, ``--ignore`` and what else decides which findings count."""
    for option in (
        click.option("--isolated", is_flag=True, help="Look for no configuration file."),
        click.option("--config", type=click.Path(), metavar="FILE",
                     help="Configuration; else the nearest weighbridge.toml or pyproject.toml "
                     "from the current directory upwards, outside of RUN."),
        click.option("--baseline", type=click.Path(), metavar="FILE",
                     help="Known findings; only new ones count."),
        click.option("--fail-on", type=click.Choice(["error", "warning", "info", "never"]),
                     help="Mildest severity that blocks; never is for the exit code of validate."),
        click.option("--severity", multiple=True, metavar="RULE=LEVEL",
                     help="Count a rule as error, warning or info."),
        click.option("--ignore", multiple=True, metavar="RULES",
                     help="Rules to leave out, as for --select; adds to the configuration."),
        click.option("--select", multiple=True, metavar="RULES",
                     help="Rules to run: codes, beginnings of codes, names or ALL, by commas."),
    ):  # fmt: skip
        function = option(function)
    return function


def chosen_policy(run: str, *, config: str | None, isolated: bool, **said: Any) -> Policy:
    """The policy for judging ``run``. Raises UsageError, StorageError."""
    from weighbridge.domain.errors import UsageError
    from weighbridge.entrypoints.policy_files import find_config, load_policy

    if isolated and config is not None:
        raise UsageError(problem="--isolated and --config contradict each other")
    if config is None and not isolated:
        search = find_config(run)
        config = search.path
        for path in search.passed_over:
            hint(f"{path} lies in the artifact, and is not followed")
    return load_policy(config, artifact=run, **said)
