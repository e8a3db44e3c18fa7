"""``python -m tests.matrix``: run all cases, or those of the architectures named, for the page.

Lines of architectures that are not named stay as they are. Fails if a case is neither green nor
refused as it should be; the page says so as well.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .cases import CASES, Case
from .run import Row, run
from .table import PAGE, line_of, lines_on, page


def main(names: list[str]) -> int:
    """Write the page; the number of cases that went wrong is what a shell is told of."""
    unknown = set(names) - {case.model_type for case in CASES}
    if unknown:
        print(f"no case of {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    lines = dict(lines_on(PAGE.read_text(encoding="utf-8"))) if PAGE.exists() else {}
    wrong = 0
    for case in CASES:
        if names and case.model_type not in names:
            continue
        row = _row(case)
        lines[case.key] = line_of(row)
        print(lines[case.key], flush=True)
        wrong += row.verdict != ("refused" if case.refused else "green")
        PAGE.write_text(page(lines[c.key] for c in CASES if c.key in lines), encoding="utf-8")
    return bool(wrong)


def _row(case: Case) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return run(case, Path(scratch))
        except Exception as failure:  # the other lines are still wanted
            told = f"{type(failure).__name__}: {failure}".splitlines()[0]
            return Row.of(case, "failed", note=told[:200])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
