"""Write docs/cli.md from the commands' own help, and docs/rules.md and docs/architectures.md
from the catalogue and the architecture table.

With ``--check`` nothing is written; the exit code is 1 if a page is not what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from weighbridge.domain.architectures import ARCHITECTURES
from weighbridge.domain.placement import (
    Architecture,
    Experts,
    Impossible,
    Layout,
    Plain,
    Rename,
    RouteForm,
    Rows,
    Standing,
    Stored,
)
from weighbridge.domain.policy.rules import POLICY_RULES
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
    for rule in (*CATALOGUE, *POLICY_RULES):
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


_ARCHITECTURES_HEAD = """\
Which LoRA modules Weighbridge places exactly, for each `model_type` of mlx-lm. *convertible* means
that the tests build the model in both stacks, match every weight that can carry a LoRA by its
values, and merge a LoRA there with PEFT; *needs base* that names follow from mlx-lm's source and
are checked against the base's tensor headers; *refused* that there is no exact form.

Names are "MLX's -> transformers 5's (checkpoints')", as patterns. *By expert* says whether PEFT
0.20 and later load a file that has a LoRA for each expert. What has to be undone in a fused model
is under *fused*.

[matrix.md](matrix.md) has what became of LoRAs that were trained and converted."""

_UNDO = {
    Layout.CONVOLUTION: "axes of convolutions",
    Layout.LATENT: "kv_b_proj, split by head",
    Layout.MINUS_ONE: "norms, one too large",
    Layout.ONE: "scalars, in arrays",
    Layout.TRANSPOSED: "transposed experts",
}


def _rename(rename: Rename) -> str:
    source = rename.pattern.removesuffix("(?=\\.)")
    checkpoint = "" if rename.path == rename.checkpoint else f" (`{rename.checkpoint}`)"
    return f"`{source}` -> `{rename.path}`{checkpoint}"


def _names(entry: Architecture) -> str:
    start = [f"`{entry.inside}` is taken off"] if entry.inside and entry.outside else []
    renamed = [_rename(rename) for rename in (*entry.renames, *entry.outside)]
    return "; ".join([*start, *renamed]) or ("same" if entry.rules else "")


def _forms(entry: Architecture) -> Iterator[str]:
    places = [rule.place for rule in entry.rules]
    if entry.conv1d:
        yield "weights are (in, out)"
    if any(isinstance(place, Plain) and place.parameter for place in places):
        yield "router is a parameter"
    if any(isinstance(place, Rows) for place in places):
        yield "some are rows of a joined matrix"
    stacks = [place for place in places if isinstance(place, Experts)]
    if stacks:
        apart = "apart" if not stacks[0].container else "stacked"
        known = "" if stacks[0].checkpoint else ", in checkpoints too"
        yield f"experts {apart}{known}"


def _by_expert(entry: Architecture) -> str:
    stacks = [rule.place for rule in entry.rules if isinstance(rule.place, Experts)]
    if not stacks or not stacks[0].checkpoint:
        return ""
    return "yes" if entry.rewriting is not RouteForm.NONE or not stacks[0].container else "no"


def _fused(entry: Architecture) -> str:
    kept = [rule.stored for rule in entry.kept]
    layouts = {stored.layout for stored in kept if isinstance(stored, Stored)}
    parts = sorted(_UNDO[layout] for layout in layouts - {Layout.SAME})
    return "; ".join([*parts, *([f"lacks {entry.dropped}"] if entry.dropped else [])])


def _architecture_row(entry: Architecture) -> str:
    notes = [entry.reason] if entry.reason else []
    for rule in entry.rules:
        if isinstance(rule.place, Impossible):
            notes.append(f"`{rule.pattern}` {rule.place.reason}")
    standing = "needs base" if entry.standing is Standing.NEEDS_BASE else entry.standing.value
    cells = (
        f"`{entry.model_type}`",
        standing,
        _names(entry),
        "; ".join(_forms(entry)),
        _by_expert(entry),
        _fused(entry),
        "; ".join(notes),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def architectures_page() -> str:
    """The architecture table, a row for each model type."""
    head = "| model type | standing | names | forms | by expert | fused | why |"
    rows = [_architecture_row(ARCHITECTURES[name]) for name in sorted(ARCHITECTURES)]
    return "\n".join(
        ["# Architectures", "", _ARCHITECTURES_HEAD, "", head, "|---" * 7 + "|", *rows, ""]
    )


def main() -> int:
    """Write the pages, or compare them under ``--check``."""
    pages = {
        DOCS / "architectures.md": architectures_page(),
        DOCS / "cli.md": cli_page(),
        DOCS / "rules.md": rules_page(),
    }
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
