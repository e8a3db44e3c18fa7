"""Write docs/cli.md from the commands' own help, and docs/rules.md from the catalogue.

With ``--check`` nothing is written; the exit code is 1 if a page is not what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from weighbridge.domain.rules import CATALOGUE
from weighbridge.entrypoints.cli import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"


def _help(command: click.Command, name: str, parent: click.Context | None) -> str:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    context.terminal_width = 100
    return command.get_help(context)


def cli_page() -> str:
    """The reference of the command line."""
    root = click.Context(cli, info_name="weighbridge")
    parts = ["# Command line", "", "```", _help(cli, "weighbridge", None), "```"]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts += ["", f"## {name}", "", "```", _help(command, name, root), "```"]
    return "\n".join([*parts, ""])


def _rules() -> Iterator[str]:
    for rule in CATALOGUE:
        kinds = ", ".join(sorted(kind.value for kind in rule.kinds))
        yield from (
            "",
            f"## {rule.code} {rule.name}",
            "",
            f"{rule.severity.value}; {kinds}; needs {rule.need.value}",
            "",
            f"- says: `{rule.template}`",
            f"- why: {rule.why}",
            f"- fix: {rule.remedy}",
        )


def rules_page() -> str:
    """The catalogue of findings."""
    head = "Errors block publication. `weighbridge explain CODE` prints one of these."
    return "\n".join(["# Rules", "", head, *_rules(), ""])


def main() -> int:
    """Write the pages, or compare them under ``--check``."""
    pages = {DOCS / "cli.md": cli_page(), DOCS / "rules.md": rules_page()}
    if "--check" not in sys.argv[1:]:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [p.name for p, t in pages.items() if not p.is_file() or p.read_text("utf-8") != t]
    if stale:
        print(f"stale: {', '.join(stale)}; run make docs", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
