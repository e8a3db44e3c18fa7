"""docs/defects.md, from what was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from weighbridge import __version__

from .kit import DEFECTS, Defect, Twin
from .loaders import LOADERS
from .peers import HANG, PEERS, SECONDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "defects.md"

_HEAD = """\
# Defects, and who sees them

Each line is a model directory with one thing wrong, made from a good one that mlx-lm or
transformers wrote, and what every checker says of it. `make defects` builds all of them
(`tests/defects`), installs the checkers, runs them and writes this page.

● is a finding or an exit code that the good twin does not get. A checker that takes more than
{seconds} seconds of a processor is stopped: *hang*. Under weighbridge are the [rules](rules.md)
that fire; on the good twins none does.

The loader of safetensors reads every file of that ending. That of transformers reads tokenizer
and model, and ● is an error, or weights that it reports missing, unexpected or of another shape;
it cannot load a LoRA without its base (n/a).

What shows beside the base alone is marked *beside base*; weighbridge is given the base for it
(`--base`), which no other checker can be."""

_OUT_OF_SCOPE = """\
## Out of scope

- What a pickle, an archive or a program does. They are refused, not analysed: a benign one is an
  error as well. The same goes for models of other programs (Keras, ONNX, GGUF), whose inside only
  their own scanners judge.
- Addresses in a text or a config, of pages as of wallets, and what lies there.
- How a model behaves: backdoors, bias, quality.
- Memory estimates, and the versions of MLX that a model needs.

Not in the table, though there are rules, each with an example on which it fires and one on which
it does not (`tests/unit`):"""

#: The rules that no defect of the table has to show, by the reason.
WITHOUT_ROW: dict[str, tuple[str, ...]] = {
    "what only some architectures have": ("AD020", "CF032", "CF033", "CF034", "CF036", "CF037"),
    "what no account of the tests can be kept from reading": ("FS005",),
    "what would take 200 GB, or a hundred thousand files": ("FS014",),
    "what is sound as a file, and breaks programs that count layers": ("ST034",),
    "the policy's own": ("PO001", "PO002", "PO003"),
}


@frozen
class Column:
    """What a checker said, by the name of the directory; the twins' under their own."""

    name: str
    version: str
    said: Mapping[str, Sequence[str]]

    def cell(self, defect: Defect) -> str:
        if self.name == "transformers" and defect.twin in {Twin.LORA, Twin.PEFT}:
            return "n/a"
        if HANG in self.said[defect.name]:
            return HANG
        # Nothing to say where the good twin makes it stumble is no finding.
        known = {*self.said[defect.twin.value], "exit code 0"}
        new = set(self.said[defect.name]) - known
        return "●" if new else ""


def page(date: str, ours: Mapping[str, set[str]], columns: Sequence[Column]) -> str:
    """The whole page; ``ours`` has Weighbridge's codes by defect."""
    head = _HEAD.format(seconds=SECONDS)
    return "\n\n".join(
        [head, _versions(date, columns), _counts(ours, columns), _table(ours, columns),
         _OUT_OF_SCOPE, _without_row()]
    ) + "\n"  # fmt: skip


def _without_row() -> str:
    return "\n".join(f"- {reason}: {', '.join(codes)}" for reason, codes in WITHOUT_ROW.items())


def _title(column: Column) -> str:
    return f"loader of {column.name}" if column.name in LOADERS else column.name


def _versions(date: str, columns: Sequence[Column]) -> str:
    ran = ", ".join(f"{column.name} {column.version}" for column in columns)
    absent = {peer.package for peer in PEERS} - {column.name for column in columns}
    left_out = f" Not to be had there: {', '.join(sorted(absent))}." if absent else ""
    return f"Run on {date} with weighbridge {__version__}, {ran}.{left_out}"


def _counts(ours: Mapping[str, set[str]], columns: Sequence[Column]) -> str:
    every = list(DEFECTS.values())
    told = [f"weighbridge {sum(bool(ours[d.name]) for d in every)}"]
    told += [f"{_title(c)} {sum(c.cell(d) == '●' for d in every)}" for c in columns]
    alone = sum(all(c.cell(d) != "●" for c in columns) for d in every)
    return f"Of {len(every)} defects see: {', '.join(told)}. {alone} are seen by weighbridge alone."


def _table(ours: Mapping[str, set[str]], columns: Sequence[Column]) -> str:
    return "\n".join(_lines(ours, columns))


def _lines(ours: Mapping[str, set[str]], columns: Sequence[Column]) -> Iterator[str]:
    yield _line(["defect", "what is wrong", "weighbridge", *map(_title, columns)])
    yield "|---" * (3 + len(columns)) + "|"
    for defect in sorted(DEFECTS.values(), key=lambda d: list(Twin).index(d.twin)):
        what = f"{defect.what} (*beside base*)" if defect.beside_base else defect.what
        cells = [f"`{defect.name}`", what, " ".join(sorted(ours[defect.name]))]
        yield _line([*cells, *(column.cell(defect) for column in columns)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
