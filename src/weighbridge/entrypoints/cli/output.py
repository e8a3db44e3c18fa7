"""What all commands share: the global options, where output goes, and progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.entrypoints.cli.help import show_help

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress

_F = TypeVar("_F", bound=Callable[..., Any])
_KEY = "weighbridge.output"
_BAR = f"{_KEY}.bar"
PLAIN_FORMATS = ("text", "json")
REPORT_FORMATS = (*PLAIN_FORMATS, "sarif", "junit", "github", "markdown")


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, 0, False):
        context.find_root().meta[f"{_KEY}.{parameter.name}"] = value


def _remember_format(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """A format that was said before the command's name must be one of the command's own."""
    _remember(context, parameter, value)
    said, known = setting_of(context, "format", "text"), parameter.type
    if isinstance(known, click.Choice) and said not in known.choices:
        raise click.BadParameter(
            f"{said!r} is not one of {', '.join(known.choices)}", context, parameter
        )


def common_options(function: _F) -> _F:
    """``--format``, ``-q``, ``-v`` and ``-h``, accepted before and after the command's name."""
    return _common_options(function, PLAIN_FORMATS)


def report_options(function: _F) -> _F:
    """The same, with the formats of a report."""
    return _common_options(function, REPORT_FORMATS)


def _common_options(function: _F, formats: tuple[str, ...]) -> _F:
    said = "text for people, or JSON"
    if formats == REPORT_FORMATS:
        said = "text for people, or a report for programs"
    for option in (
        click.option("-h", "--help", is_flag=True, is_eager=True, expose_value=False,
                     callback=show_help, help="Show this message and exit."),
        click.option("-v", "--verbose", count=True, expose_value=False, callback=_remember,
                     help="Show every figure of a proof, every finding."),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_remember,
                     help="No text, hints or progress; the exit code tells."),
        click.option("--format", type=click.Choice(formats), expose_value=False,
                     callback=_remember_format, help=f"Output on stdout: {said}."),
    ):  # fmt: skip
        function = option(function)
    return function


def setting_of(context: click.Context, name: str, default: Any = None) -> Any:
    """A global option's value, wherever it was given."""
    return context.find_root().meta.get(f"{_KEY}.{name}", default)


def setting(name: str, default: Any = None) -> Any:
    """A global option's value in the command that runs."""
    context = click.get_current_context(silent=True)
    return default if context is None else setting_of(context, name, default)


def wants_json() -> bool:
    """True under ``--format json``."""
    return bool(setting("format") == "json")


def emit(text: Callable[[], str], document: Callable[[], dict[str, Any]]) -> None:
    """Print a result on stdout in the format that was asked for."""
    clear()
    if wants_json():
        from weighbridge.entrypoints.render.json import dumps

        show(dumps(document()))
    elif not setting("quiet"):
        show(text())


def show(text: str) -> None:
    """Print on stdout. A reader that went away, as ``head`` does, changes no verdict."""
    try:
        click.echo(text, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        reader_left()


def reader_left() -> None:
    """Write to nowhere from now on; python would complain of the rest once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def hint(text: str) -> None:
    """A hint for people, on stderr."""
    if not setting("quiet"):
        from weighbridge.entrypoints.render.escape import visible

        click.echo(visible(text), err=True)


def next_step(*words: str, **options: object) -> None:
    """The command that comes next, as a shell takes it; options that are None are left out."""
    import shlex

    given = [(f"--{name}", str(value)) for name, value in options.items() if value is not None]
    hint("next: " + shlex.join(["weighbridge", *words, *(word for pair in given for word in pair)]))


def progress() -> Progress:
    """A progress callback: a line on stderr for what takes over a second, none when piped.

    Warnings of what goes on are printed in either case.
    """
    from weighbridge.application.ports import no_progress

    context = click.get_current_context()
    if setting("quiet") or sys.stderr is None or not sys.stderr.isatty():
        context.call_on_close(_warnings_of(lambda: None))
        return no_progress
    from weighbridge.entrypoints.cli.bar import Bar

    bar = Bar()
    context.find_root().meta[_BAR] = bar
    # Also on the way of an error, whose words come after.
    context.call_on_close(bar.close)
    context.call_on_close(_warnings_of(bar.close))
    return bar


def _warnings_of(make_room: Callable[[], object]) -> Callable[[], None]:
    """Have warnings printed as hints are, after ``make_room``; call the answer when it is over."""
    import logging
    import warnings

    from weighbridge.entrypoints.render.escape import visible

    class Printed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            make_room()
            hint(visible(record.getMessage()))

    def shown(message: Warning | str, *_: Any, **__: Any) -> None:
        make_room()
        hint(visible(" ".join(str(message).split())))

    log, handler = logging.getLogger("weighbridge"), Printed(logging.WARNING)
    log.addHandler(handler)
    # Of packages that are used: their words, without the place in their source.
    theirs, warnings.showwarning = warnings.showwarning, shown

    def over() -> None:
        log.removeHandler(handler)
        warnings.showwarning = theirs

    return over


def clear() -> None:
    """Take the progress bar away, before something is printed."""
    context = click.get_current_context(silent=True)
    bar = context and context.find_root().meta.get(_BAR)
    if bar is not None:
        bar.close()
