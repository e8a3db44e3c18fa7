"""A report as Markdown, for a job's summary or a comment.

What comes from the artifact stands in code spans only: there no HTML, link or mention begins. A
pipe would end a cell of a table even there, and is written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from weighbridge.domain.findings import Finding, ValidationReport
from weighbridge.entrypoints.render.escape import visible
from weighbridge.entrypoints.render.layout import counted
from weighbridge.entrypoints.render.places import said
from weighbridge.entrypoints.render.report_text import figures

#: A job's summary holds 1 MiB in UTF-8, and with more it is not shown at all.
_MOST_BYTES = 600_000
_MOST_ROWS = 500
_MOST_UNCHECKED = 100
_LONGEST = 1000


def page(judged: ValidationReport) -> str:
    """The whole page."""
    kind = judged.kind.value if judged.kind else "no known model"
    parts = [
        f"## Weighbridge: {judged.verdict.value}",
        f"{code(judged.location)} ({kind}), {', '.join(figures(judged))}",
        *_unchecked(judged),
    ]
    if judged.findings:
        parts += ["\n".join(_table(judged.findings)), "### How to fix it"]
        parts.append("\n".join(_remedies(judged.findings)))
    return "\n\n".join(parts)


def code(text: str) -> str:
    """``text`` as a code span that is sound in a table, whatever it holds."""
    shown = visible(text)
    shown = shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "..."
    shown = shown.replace("|", "\\x7c") or " "
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}" if longest or shown.startswith(" ") else f"`{shown}`"


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| | rule | file | what |"
    yield "|---|---|---|---|"
    left, shown = _MOST_BYTES, 0
    for finding in findings[:_MOST_ROWS]:
        cells = (
            finding.severity.value,
            f"{finding.code} {finding.name}",
            code(finding.location.path or "."),
            code(said(finding)),
        )
        row = f"| {' | '.join(cells)} |"
        left -= len(row.encode())
        if left < 0:
            break
        shown += 1
        yield row
    if len(findings) > shown:
        yield f"| | | | and {len(findings) - shown} more |"


def _remedies(findings: Sequence[Finding]) -> Iterator[str]:
    for name, why, remedy in dict.fromkeys((f"{f.code} {f.name}", f.why, f.remedy)
                                           for f in findings):  # fmt: skip
        yield f"- **{name}**: {_prose(why)} *Fix:* {_prose(remedy)}"


def _prose(text: str) -> str:
    """A rule's own words, as they are."""
    return re.sub(r"([\\`*_<>\[\]|~@#])", r"\\\1", visible(text))


def _unchecked(judged: ValidationReport) -> Iterator[str]:
    lines = [f"- {code(c.code)} could not be run: {code(c.error)}" for c in judged.crashed]
    lines += [
        f"- not examined: {code(part.what)}, {code(part.reason)}" for part in judged.unexamined
    ]
    if lines:
        more = len(lines) - _MOST_UNCHECKED
        rest = [f"- and {more} more"] if more > 0 else []
        head = f"**{counted(len(lines), 'thing')} not checked**"
        yield "\n".join([head, "", *lines[:_MOST_UNCHECKED], *rest])
