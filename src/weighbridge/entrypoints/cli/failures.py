"""From an error to words on stderr, JSON on stdout if that was asked for, and an exit code.

A bug is not handled here: it keeps its traceback.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from weighbridge.domain.errors import WeighbridgeError


def _asked_for_json(arguments: list[str]) -> bool:
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(a == "--format=json" or (a, b) == ("--format", "json") for a, b in pairs)


def run(cli: click.Command, arguments: list[str]) -> int:
    """The exit code of that command line."""
    as_json = _asked_for_json(arguments)
    try:
        result = cli.main(arguments, prog_name="weighbridge", standalone_mode=False, obj=as_json)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        _print_json(error, 2, as_json)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing half-written was left", err=True)
        return 130
    except BrokenPipeError:
        # the reader of stdout went away; python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        return _known(error, as_json)


def _known(error: Exception, as_json: bool) -> int:
    from weighbridge.domain.errors import WeighbridgeError
    from weighbridge.entrypoints.exit_codes import exit_code

    if not isinstance(error, WeighbridgeError):
        raise error
    code = exit_code(error)
    _explain(error)
    _print_json(error, code, as_json)
    return code


def _explain(error: WeighbridgeError) -> None:
    from weighbridge.entrypoints.render.escape import visible

    colour = False if os.environ.get("NO_COLOR") else None
    label = click.style("error: ", fg="red", bold=True)
    evidence, message = _evidence(error)
    if evidence:
        click.echo(evidence, err=True, color=colour)
    click.echo(label + visible(message, keep_lines=True), err=True, color=colour)


def _evidence(error: WeighbridgeError) -> tuple[str, str]:
    """What a verdict rests on, as the command that gives it would show it, and the message."""
    from weighbridge.domain.errors import ProofFailed, PublicationBlocked
    from weighbridge.entrypoints.render import report_text, text

    match error:
        case PublicationBlocked(report=report):
            return report_text.report(report), str(error).partition("\n")[0]
        case ProofFailed(proof=proof):
            return text.proof(proof, figures=False), str(error).partition("\n")[0]
        case _:
            return "", str(error)


def _print_json(error: Exception, code: int, as_json: bool) -> None:
    if as_json:
        from weighbridge.entrypoints.render import json

        click.echo(json.dumps(json.error(error, code)))
