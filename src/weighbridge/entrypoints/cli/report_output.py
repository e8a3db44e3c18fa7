"""A report in the format that was asked for, to stdout or to a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from weighbridge.entrypoints.cli.output import clear, hint, setting, show

if TYPE_CHECKING:
    from weighbridge.domain.findings import ValidationReport


def emit_report(judged: ValidationReport, output: str | None, *, statistics: bool) -> None:
    """Print it, or write it to the file ``output``. Raises UsageError, StorageError."""
    clear()
    form = setting("format", "text")
    shown = _rendered(judged, form, statistics)
    if output is not None:
        from weighbridge.entrypoints.policy_files import write_text

        write_text(output, click.unstyle(shown) + "\n", judged.location)
        hint(f"{judged.verdict.value}: the report is in {output}")
    elif form != "text" or not setting("quiet"):
        show(shown)


def _rendered(judged: ValidationReport, form: str, statistics: bool) -> str:
    from weighbridge.entrypoints.render import json, report_text

    match form:
        case "text" if statistics:
            return report_text.statistics(judged)
        case "text":
            return report_text.report(judged, everything=bool(setting("verbose")))
        case "json":
            return json.dumps(json.report(judged))
        case "markdown":
            from weighbridge.entrypoints.render import markdown

            return markdown.page(judged)
        case _:
            return _for_tools(judged, form)


def _for_tools(judged: ValidationReport, form: str) -> str:
    from weighbridge.entrypoints.render import github, json, junit, places, report_text, sarif
    from weighbridge.entrypoints.rulebook import installed_rulebook

    root = places.report_root(judged.location, os.getcwd())
    if form == "github":
        verdict = click.unstyle(report_text.verdict(judged))
        return "\n".join(filter(None, (github.commands(judged, root), verdict)))
    rules = installed_rulebook().all
    if form == "junit":
        return junit.xml(judged, rules)
    return json.dumps(sarif.document(judged, rules, root))
