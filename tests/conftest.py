"""The matrix at the end of a run, here since xdist's controller loads no conftest below; and no
deadline for the examples of properties, which a busy machine would miss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "unhurried",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests of the matrix recorded, in whichever process they ran."""
    recorded = sorted(_recorded(terminalreporter.stats), key=lambda row: str(row["model_type"]))
    if not recorded:
        return
    from tests.matrix.run import Row
    from tests.matrix.table import line_of, table

    terminalreporter.section("matrix: MLX against PEFT")
    terminalreporter.write_line(table(line_of(Row(**row)) for row in recorded))


def _recorded(stats: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for reports in stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                yield from (row for name, row in report.user_properties if name == "matrix")
