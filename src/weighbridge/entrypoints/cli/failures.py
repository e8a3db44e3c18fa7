"""From an error to words on stderr, JSON on stdout if that was asked for, and an exit code.

A bug is not handled here: it keeps its traceback.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from weighbridge.entrypoints.cli.output import reader_left

if TYPE_CHECKING:
    from weighbridge.domain.errors import WeighbridgeError


def _asked_for_json(arguments: list[str]) -> bool:
    """Whether the last ``--format`` of the line, which is the one that counts, is json."""
    joined = "\0".join(arguments).replace("--format\0", "--format=").split("\0")
    formats = [each for each in joined if each.startswith("--format=")]
    return formats[-1:] == ["--format=json"]


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
    except (click.Abort, KeyboardInterrupt) as stop:
        click.echo("interrupted; nothing half-written was left", err=True)
        first = stop if isinstance(stop, KeyboardInterrupt) else stop.__cause__
        number = first.args[0] if isinstance(first, KeyboardInterrupt) and first.args else 0
        return 128 + (number or signal.SIGINT)
    except BrokenPipeError:
        reader_left()
        return 0
    except Exception as error:
        return _known(error, as_json)


def _known(error: Exception, as_json: bool) -> int:
    from weighbridge.domain.errors import WeighbridgeError
    from weighbridge.entrypoints.exit_codes import exit_code

    if isinstance(error, OSError):
        return _unwritable(error, as_json)
    if not isinstance(error, WeighbridgeError):
        raise error
    code = exit_code(error)
    _explain(error)
    _print_json(error, code, as_json)
    return code


def _unwritable(error: OSError, as_json: bool) -> int:
    """Of the adapters' own nothing comes here untranslated: it is the output that failed."""
    from weighbridge.entrypoints.exit_codes import STORAGE

    with suppress(OSError):
        click.echo(f"error: {error}", err=True)
        _print_json(error, STORAGE, as_json)
    reader_left()
    return STORAGE


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
