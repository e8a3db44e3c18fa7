"""The matrix as a table of Markdown, for the end of a test run and for docs/matrix.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .run import Row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "matrix.md"
_COLUMNS = ("architecture", "training", "profile", "verdict", "base", "LoRA", "merged", "note")
_HEAD = """# Matrix

Each line is a tiny model that transformers built, on which mlx-lm trained a LoRA that Weighbridge
converted and PEFT loaded. The figures are the largest differences between the logits of the two
stacks, in float32 and relative to the largest logit: of the base alone, with the LoRA, and with the
LoRA merged by PEFT. *green*: with the LoRA they differ by no more than 1e-4 and three times what
the bases do. *refused*: there is no exact form, for the reason given. *4-bit base*: MLX trained on
a quantised base, PEFT has the same values unpacked.

`make matrix` writes this page. Which names are mapped how is in
[architectures.md](architectures.md).
"""


def key_of(line: str) -> tuple[str, str, str]:
    """Architecture, training and profile of a line of the table."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return cells[0].strip("`"), cells[1], cells[2]


def line_of(row: Row) -> str:
    """The row as a line."""
    figures = ("" if f is None else f"{f:.0e}" for f in (row.base, row.lora, row.merged))
    cells = (f"`{row.model_type}`", row.training, row.profile, row.verdict, *figures, row.note)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(lines: Iterable[str]) -> str:
    """The lines under a head."""
    return "\n".join(["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|", *lines])


def page(lines: Iterable[str]) -> str:
    """The whole of docs/matrix.md."""
    return f"{_HEAD}\n{table(lines)}\n"


def lines_on(text: str) -> Mapping[tuple[str, str, str], str]:
    """The lines of a page by their keys, in order."""
    return {key_of(line): line for line in text.splitlines() if line.startswith("| `")}
